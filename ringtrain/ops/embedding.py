"""Rows of a table by number: embeddings, and bags of them."""

from __future__ import annotations

from typing import Any

import numpy as np

from .. import backend as backends
from ..autograd import no_grad
from ..backend.meta import MetaArray
from ..tensor import Tensor, raw, wrap
from .create import zeros
from .elementwise import where
from .index import placed, take
from .norms import vector_norm
from .scatter import scatter_reduce


def embedding(
    indices: Any,
    weight: Tensor,
    padding_idx: int | None = None,
    max_norm: float | None = None,
    norm_type: float = 2.0,
    scale_grad_by_freq: bool = False,
) -> Tensor:
    """The rows of weight (n, d) at `indices`, integers 0 .. n - 1 of any shape: (..., d).

    padding_idx         this row gets no gradient
    max_norm            rows that are looked up are first shortened, in place, to this norm, the p-norm of norm_type
    scale_grad_by_freq  a row's gradient is divided by how often the row is looked up

    Raises IndexError for an index outside the table.
    """
    array = _numbers(indices, weight, "embedding")
    _shorten(weight, array, max_norm, norm_type)
    out = _looked_up(weight, array, scale_grad_by_freq)
    if padding_idx is None:
        return out
    padding = weight.backend.asarray(array == padding_idx % len(weight))[..., None]
    return where(padding, out.detach(), out)


def _shorten(weight: Tensor, array: Any, max_norm: float | None, norm_type: float) -> None:
    """Rows longer than max_norm in place, outside the graph; the 1e-7 is PyTorch's."""
    if max_norm is None or weight.backend.abstract or not array.size:
        return
    with no_grad():
        rows = weight.backend.xp.unique(weight.backend.asarray(array))
        found = take(weight, rows, checked=True)
        lengths = vector_norm(found, norm_type, 1, True)
        weight[rows] = where(lengths > max_norm, found * (max_norm / (lengths + 1e-7)), found)


def _looked_up(weight: Tensor, array: Any, scale_grad_by_freq: bool) -> Tensor:
    out = take(weight, array, checked=True)
    if scale_grad_by_freq and out.requires_grad and not weight.backend.abstract:
        xp = weight.backend.xp
        counts = xp.bincount(weight.backend.asarray(array).reshape(-1), minlength=len(weight))[array]
        shares = wrap((1.0 / counts).astype(weight.dtype)[..., None])
        out.register_hook(lambda g: g * shares)
    return out


def _numbers(indices: Any, weight: Tensor, name: str) -> Any:
    array = raw(indices) if hasattr(raw(indices), "dtype") else np.asarray(indices)
    if weight.ndim != 2 or array.dtype.kind not in "iu":
        raise TypeError(
            f"{name} wants integers and a table (n, d); got {array.dtype} {array.shape} and a table {weight.shape}"
        )
    if isinstance(array, MetaArray):  # any rows give the result's shape
        return np.zeros(array.shape, np.int64)
    if array.size and bool(((array < 0) | (array >= len(weight))).any()):
        raise IndexError(f"{name}: an index lies outside 0 .. {len(weight) - 1}: {array.min()} .. {array.max()}")
    return array


def embedding_bag(
    indices: Any,
    weight: Tensor,
    offsets: Any = None,
    mode: str = "mean",
    per_sample_weights: Tensor | None = None,
    padding_idx: int | None = None,
    include_last_offset: bool = False,
    max_norm: float | None = None,
    norm_type: float = 2.0,
    scale_grad_by_freq: bool = False,
) -> Tensor:
    """Bags of rows of weight (n, d), combined: (bags, d); an empty bag is 0.

    indices  (bags, length), or (m,) with `offsets` (bags,), where each bag begins
    mode     "sum", "mean" or "max"
    per_sample_weights  of the indices' shape: factors of the rows, for "sum"
    padding_idx  rows of this number do not count, and get no gradient
    include_last_offset  offsets have one more at the end, where the last bag ends: as many as there are indices
    max_norm, norm_type, scale_grad_by_freq  as in `embedding`; the last is not for "max"
    """
    if scale_grad_by_freq and mode == "max":
        raise ValueError("embedding_bag: scale_grad_by_freq is for modes 'sum' and 'mean'")
    if mode not in ("sum", "mean", "max"):
        raise ValueError(f"embedding_bag: mode {mode!r} is unknown; use 'sum', 'mean' or 'max'")
    array = _numbers(indices, weight, "embedding_bag")
    bags, count = _bags(array, offsets, include_last_offset)
    _shorten(weight, array, max_norm, norm_type)
    flat = array.reshape(-1)
    factors = None if per_sample_weights is None else per_sample_weights.reshape(-1)
    if factors is not None and (mode != "sum" or factors.size != flat.size):
        raise ValueError("embedding_bag: per_sample_weights are for mode 'sum', one for each index")
    if padding_idx is not None:
        keep = np.flatnonzero(backends.of(flat).to_numpy(flat) != padding_idx % len(weight))
        bags, keep = bags[keep], backends.of(flat).xp.asarray(keep)
        flat = flat[keep]
        factors = None if factors is None else take(factors, keep, checked=True)
    rows = _looked_up(weight, flat, scale_grad_by_freq)
    if factors is not None:
        rows = rows * factors[:, None]
    xp = weight.backend.xp
    shape = (count, weight.shape[1])
    if mode == "max":
        start = zeros(shape, weight.dtype, weight.device)
        return scatter_reduce(start, 0, np.broadcast_to(bags[:, None], rows.shape), rows, "amax", include_self=False)
    total = placed(rows, (xp.asarray(bags),), shape)
    if mode == "sum":
        return total
    sizes = np.maximum(np.bincount(bags, minlength=count), 1)[:, None]
    return total * xp.asarray((1.0 / sizes).astype(weight.dtype))


def _bags(array: Any, offsets: Any, ends: bool) -> tuple[np.ndarray, int]:
    """The bag of each index, and how many bags there are."""
    if offsets is None:
        if array.ndim != 2 or ends:
            raise ValueError(f"embedding_bag: indices (bags, length), or (m,) with offsets; got {array.shape}")
        return np.repeat(np.arange(array.shape[0]), array.shape[1]), array.shape[0]
    starts = np.asarray(offsets.detach().numpy() if isinstance(offsets, Tensor) else offsets)
    if array.ndim != 1 or starts.ndim != 1 or (starts.size and (starts[0] != 0 or (np.diff(starts) < 0).any())):
        raise ValueError(f"embedding_bag: offsets begin with 0 and do not fall, indices are (m,); got {array.shape}")
    if ends:
        if not starts.size or starts[-1] != len(array):
            raise ValueError(f"embedding_bag: the last offset is where the last bag ends, {len(array)}; got {starts}")
        starts = starts[:-1]
    if starts.size and starts[-1] > len(array):
        raise ValueError(f"embedding_bag: a bag begins at {starts[-1]}, after the {len(array)} indices")
    return np.repeat(np.arange(len(starts)), np.diff([*starts, len(array)])), len(starts)
