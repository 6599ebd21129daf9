"""Tensors from nothing."""

from __future__ import annotations

from typing import Any

import numpy as np

from .. import backend as backends
from ..backend.meta import MetaArray
from ..tensor import Tensor
from .define import register


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


register("ones_like", ones_like)


def arange(start: int, stop: int | None = None, step: int = 1, dtype: Any = np.int64) -> Tensor:
    """start, start + step, ... below stop; one argument counts from 0."""
    first: Any = 0 if stop is None else start
    end: Any = start if stop is None else stop
    return Tensor(np.arange(first, end, step, dtype=np.dtype(dtype)))


def allclose(a: Any, b: Any, rtol: float = 1e-5, atol: float = 1e-8) -> bool:
    """Whether all elements agree to atol + rtol * |b|, as numpy.allclose."""
    x, y = (v.backend.to_numpy(v._data) if isinstance(v, Tensor) else v for v in (a, b))
    return bool(np.allclose(x, y, rtol=rtol, atol=atol))
