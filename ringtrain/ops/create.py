"""Tensors from values, and from nothing."""

from __future__ import annotations

from typing import Any

import numpy as np

from .. import backend as backends
from .. import random
from ..backend.meta import MetaArray
from ..dtypes import BFLOAT16
from ..tensor import Tensor, raw
from .define import register


def tensor(data: Any, dtype: Any = None, device: str | None = None, requires_grad: bool = False) -> Tensor:
    """A new tensor with a copy of the values.

    data    numbers in nested sequences, an array, or a tensor (outside the graph)
    dtype   None: that of the data, except that float64 becomes float32, the dtype networks train in
    device  "cpu" (the default), "cuda", "cuda:1" or "meta"
    """
    target, index = backends.get(device)
    given = raw(data)
    if not backends.knows(given):  # np.array copies, whatever the object shares its memory with
        nested = isinstance(given, (list, tuple)) and any(isinstance(x, Tensor) for x in given)
        data = np.array([_on_host(x) for x in given] if nested else given)
    else:
        source = backends.of(given)
        data = given if source is target or target.abstract else source.to_numpy(given)
    if data.dtype.kind in "OUSV" and data.dtype != BFLOAT16:
        raise TypeError(f"a tensor holds numbers, not {data.dtype}; are the sequences of unequal length?")
    if dtype is None and data.dtype == np.float64:
        dtype = np.float32
    array = target.asarray(data, dtype, index)
    return Tensor(array.copy() if array is given else array, requires_grad)


def _on_host(value: Any) -> Any:
    return value.backend.to_numpy(value._data) if isinstance(value, Tensor) else value


def from_numpy(array: np.ndarray) -> Tensor:
    """A tensor around a NumPy array: its memory, its dtype, no copy."""
    if type(array) is not np.ndarray:
        array = np.asarray(array)
    return Tensor(array)


def _shape(shape: Any, dtype: Any = None) -> tuple[int, ...]:
    """A shape as a tuple; a second length, where the dtype should be, is told so."""
    if isinstance(dtype, (int, np.integer)):
        raise TypeError(f"a shape is one argument, ({shape}, {dtype}, ...); here {dtype} stands where the dtype goes")
    return (int(shape),) if isinstance(shape, (int, np.integer)) else tuple(shape)


def full(shape: Any, value: Any, dtype: Any = np.float32, device: str | None = None) -> Tensor:
    """A tensor with every element equal to value."""
    backend, index = backends.get(device)
    shape = _shape(shape, dtype)
    if backend.abstract:
        return Tensor(MetaArray(shape, dtype))
    return Tensor(backend.full(shape, value, dtype, index))


def zeros(shape: Any, dtype: Any = np.float32, device: str | None = None) -> Tensor:
    """A tensor of zeros."""
    return full(shape, 0, dtype, device)


def ones(shape: Any, dtype: Any = np.float32, device: str | None = None) -> Tensor:
    """A tensor of ones."""
    return full(shape, 1, dtype, device)


def zeros_like(x: Tensor, dtype: Any = None, device: str | None = None) -> Tensor:
    """Zeros of the shape of x, and of its dtype and device unless others are given."""
    return full_like(x, 0, dtype, device)


def ones_like(x: Tensor, dtype: Any = None, device: str | None = None) -> Tensor:
    """Ones of the shape of x, and of its dtype and device unless others are given."""
    return full_like(x, 1, dtype, device)


register("ones_like", ones_like)
register("zeros_like", zeros_like)


def full_like(x: Tensor, value: Any, dtype: Any = None, device: str | None = None) -> Tensor:
    """A tensor of the shape of x with every element equal to value, of x's dtype and device unless others are given."""
    return full(x.shape, value, x.dtype if dtype is None else dtype, device or x.device)


def _placed(values: np.ndarray, device: str | None) -> Tensor:
    backend, index = backends.get(device)
    return Tensor(backend.asarray(values, None, index))


def arange(
    start: float, stop: float | None = None, step: float = 1, dtype: Any = None, device: str | None = None
) -> Tensor:
    """start, start + step, ... below stop; one argument counts from 0. Of integers int64, else float32."""
    if step == 0:
        raise ValueError("arange: the step is 0")
    first, end = (0, start) if stop is None else (start, stop)
    if dtype is None:
        whole = all(isinstance(v, (int, np.integer)) for v in (first, end, step))
        dtype = np.int64 if whole else np.float32
    return _placed(np.arange(first, end, step).astype(dtype), device)


def linspace(
    start: float,
    stop: float,
    num: int = 50,
    endpoint: bool = True,
    dtype: Any = np.float32,
    device: str | None = None,
) -> Tensor:
    """num numbers as far apart from start to stop, which is the last of them where `endpoint`."""
    return _placed(np.linspace(start, stop, num, endpoint).astype(dtype), device)


def logspace(
    start: float,
    stop: float,
    num: int = 50,
    endpoint: bool = True,
    base: float = 10.0,
    dtype: Any = np.float32,
    device: str | None = None,
) -> Tensor:
    """base to the powers that `linspace` gives."""
    return _placed(np.logspace(start, stop, num, endpoint, base).astype(dtype), device)


def eye(n: int, m: int | None = None, k: int = 0, dtype: Any = np.float32, device: str | None = None) -> Tensor:
    """(n, m or n) with ones on diagonal k and zeros elsewhere."""
    return _placed(np.eye(n, m, k, dtype), device)


# --- random: functions of the seed, the step, and how much has been drawn in it ----------------------------
def rand(shape: Any, dtype: Any = np.float32, device: str | None = None) -> Tensor:
    """Uniform in [0, 1), the same on every rank (see `rt.random` for values of other names)."""
    shape = _shape(shape, dtype)
    return _placed(random.uniform(shape, 0.0, 1.0, random.next_draw("rand"), random.state.step, dtype), device)


def randn(shape: Any, dtype: Any = np.float32, device: str | None = None) -> Tensor:
    """Normal with mean 0 and variance 1, the same on every rank."""
    shape = _shape(shape, dtype)
    return _placed(random.normal(shape, 0.0, 1.0, random.next_draw("randn"), random.state.step, dtype), device)


def rand_like(x: Tensor, dtype: Any = None, device: str | None = None) -> Tensor:
    """`rand` of x's shape, and of its dtype and device unless others are given."""
    return rand(x.shape, x.dtype if dtype is None else dtype, device or x.device)


def randn_like(x: Tensor, dtype: Any = None, device: str | None = None) -> Tensor:
    """`randn` of x's shape, and of its dtype and device unless others are given."""
    return randn(x.shape, x.dtype if dtype is None else dtype, device or x.device)


def randint(low: int, high: int, shape: Any, dtype: Any = np.int64, device: str | None = None) -> Tensor:
    """Integers of low .. high - 1, each as likely, the same on every rank."""
    values = random.integers(_shape(shape, dtype), low, high, random.next_draw("randint"), random.state.step)
    return _placed(values.astype(dtype), device)


def permutation(n: int, device: str | None = None) -> Tensor:
    """The integers 0 .. n - 1 in random order, the same on every rank."""
    keys = random.bits((n, 2), random.next_draw("permutation"), random.state.step).astype(np.uint64)
    return _placed(np.argsort((keys[:, 0] << np.uint64(32)) | keys[:, 1], kind="stable"), device)


def bernoulli(p: Any, shape: Any = None, dtype: Any = np.float32, device: str | None = None) -> Tensor:
    """1 with probability p, else 0: a number, or a tensor with a probability for each element. No gradient.

    shape  where p is a number; dtype, device  likewise: those of p where it is a tensor
    """
    if isinstance(p, Tensor):
        if p.backend.abstract:
            return Tensor(p._data)
        shape, dtype, device = p.shape, p.dtype, p.device
        chance = p.backend.to_numpy(p._data).astype(np.float64)
    else:
        chance, shape = np.asarray(p, np.float64), _shape(() if shape is None else shape)
    if not ((chance >= 0) & (chance <= 1)).all():
        raise ValueError("bernoulli: a probability lies outside 0 .. 1")
    drawn = random.bits(shape, random.next_draw("bernoulli"), random.state.step)
    return _placed((drawn < np.round(chance * 2.0**32)).astype(dtype), device)


def multinomial(weights: Tensor, num_samples: int, replacement: bool = False) -> Tensor:
    """Classes drawn as likely as their weights (..., C), which need not sum to 1: int64 (..., num_samples). The same on
    every rank; no gradient.

    replacement  whether a class may be drawn again; without, a row needs num_samples weights above 0, and its classes
                 come in the order in which they were drawn (Efraimidis and Spirakis 2006)
    """
    if weights.backend.abstract:
        return Tensor(MetaArray((*weights.shape[:-1], num_samples), np.int64))
    p = weights.backend.to_numpy(weights._data).astype(np.float64)
    if p.ndim < 1 or num_samples < 1 or not (np.isfinite(p) & (p >= 0)).all() or not p.any(axis=-1).all():
        raise ValueError("multinomial wants num_samples >= 1 and rows of finite weights >= 0, not all of them 0")
    if not replacement and int(np.count_nonzero(p, axis=-1).min(initial=num_samples)) < num_samples:
        raise ValueError(f"multinomial: a row has fewer than {num_samples} weights above 0; or pass replacement=True")
    draws = (*p.shape[:-1], num_samples if replacement else p.shape[-1])
    words = random.bits((*draws, 2), random.next_draw("multinomial"), random.state.step).astype(np.float64)
    unit = (words[..., 0] + (words[..., 1] + 0.5) * 2.0**-32) * 2.0**-32  # in (0, 1)
    if replacement:
        edges = np.cumsum(p, axis=-1)
        rows = zip(edges.reshape(-1, p.shape[-1]), unit.reshape(-1, num_samples), strict=True)
        found = [np.searchsorted(edge, u * edge[-1], side="right") for edge, u in rows]
        out = np.reshape(np.array(found, np.int64), draws)
    else:
        with np.errstate(divide="ignore"):
            out = np.argsort(-np.log(unit) / p, axis=-1, kind="stable")[..., :num_samples]
    return _placed(out, weights.device)


def allclose(a: Any, b: Any, rtol: float = 1e-5, atol: float = 1e-8) -> bool:
    """Whether all elements agree to atol + rtol * |b|, as numpy.allclose."""
    x, y = (v.backend.to_numpy(v._data) if isinstance(v, Tensor) else v for v in (a, b))
    return bool(np.allclose(x, y, rtol=rtol, atol=atol))
