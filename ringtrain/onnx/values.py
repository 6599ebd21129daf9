"""What handlers share: reading numbers out of tensors that steer an op."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..tensor import Tensor, wrap

__all__ = ["array", "axes", "ints", "made", "number"]


def array(t: Any) -> np.ndarray:
    """The values of a tensor on the host, outside the graph."""
    return t.backend.to_numpy(t._data)


def ints(t: Tensor) -> list[int]:
    """A tensor of integers as a flat list."""
    return [int(v) for v in array(t).reshape(-1)]


def number(t: Any) -> Any:
    """The one value of a tensor as a Python number."""
    return array(t).reshape(-1)[0].item()


def made(values: Any, like: Tensor | None = None) -> Tensor:
    """A tensor outside the graph around an array, on the device of `like`."""
    values = np.asarray(values)
    return wrap(values if like is None else like.backend.asarray(values))


def axes(given: Tensor | None, attribute: list[int] | None) -> list[int] | None:
    """Axes that are an input in later opsets and an attribute in earlier ones; None where there are none."""
    return ints(given) if given is not None else attribute
