"""Tensors from nothing."""

from __future__ import annotations

from typing import Any

import numpy as np

from .. import backend as backends
from ..backend.meta import MetaArray
from ..tensor import Tensor, raw


def full(shape: Any, value: Any, dtype: Any = np.float32, device: str | None = None) -> Tensor:
    """A tensor with every element equal to value."""
    backend, index = backends.get(device)
    shape = (shape,) if isinstance(shape, int) else tuple(shape)
    if backend.abstract:
        return Tensor(MetaArray(shape, dtype))
    return Tensor(backend.asarray(np.full(shape, value, dtype), None, index))


def zeros(shape: Any, dtype: Any = np.float32, device: str | None = None) -> Tensor:
    """A tensor of zeros."""
    return full(shape, 0, dtype, device)


def ones(shape: Any, dtype: Any = np.float32, device: str | None = None) -> Tensor:
    """A tensor of ones."""
    return full(shape, 1, dtype, device)


def zeros_like(x: Tensor) -> Tensor:
    """Zeros of the shape, dtype and device of x."""
    return full(x.shape, 0, x.dtype, x.device)


def ones_like(x: Tensor) -> Tensor:
    """Ones of the shape, dtype and device of x."""
    return full(x.shape, 1, x.dtype, x.device)


def arange(start: int, stop: int | None = None, step: int = 1, dtype: Any = np.int64) -> Tensor:
    """start, start + step, ... below stop; one argument counts from 0."""
    return Tensor(np.arange(*((0, start) if stop is None else (start, stop)), step, dtype))


def allclose(a: Any, b: Any, rtol: float = 1e-5, atol: float = 1e-8) -> bool:
    """Whether all elements agree to atol + rtol * |b|, as numpy.allclose."""
    return bool(np.allclose(*(backends.of(raw(x)).to_numpy(raw(x)) for x in (a, b)), rtol, atol))
