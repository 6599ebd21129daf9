"""Attention on the CPU: block by block of some samples, heads and queries, so that no T x S array need exist.

What is done to a block's scores between the products finds them in the cache. Nothing of their size is kept: backward
computes a block's weights again (Rabe and Staats 2021; Dao et al. 2022).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from . import threads
from .cpu_matmul import add_matmul, matmul
from .cpu_rows import SHARED
from .layout import address
from .threads import together

AT_ONCE = 1 << 18  # scores computed at a time: what a core's own cache holds beside what they are made of
_LEAST = 64  # queries of a causal block: fewer skip more keys, but make for slow products


def _blocks(q: Any, s: int, causal: bool) -> Iterator[tuple[tuple, int]]:
    """Indices of q (B, K, G, T, D) that take some of B, of K and of T, and how many keys those queries look at."""
    b, kv, g, t, _ = q.shape
    rows = min(t, max(1, AT_ONCE // (g * s)))
    if causal:
        rows = min(rows, max(_LEAST, t // 4))
    heads = min(kv, max(1, AT_ONCE // (rows * g * s)))
    samples = min(b, max(1, AT_ONCE // (heads * rows * g * s))) if heads == kv else 1
    for i in range(0, b, samples):
        for j in range(0, kv, heads):
            for start in range(0, t, rows):
                at = (slice(i, i + samples), slice(j, j + heads), slice(None), slice(start, min(t, start + rows)))
                yield at, min(s, start + rows) if causal else s


def _joined(block: Any) -> Any:
    """(B, K, G, rows, n) as (B, K, G * rows, n)."""
    b, k, g, rows, n = block.shape
    return block.reshape(b, k, g * rows, n)


def _five_axes(mask: Any) -> Any:
    return mask.reshape((1,) * (5 - mask.ndim) + mask.shape)


def _of_block(mask: Any, at: tuple, keys: int) -> Any:
    """A block's part of a mask of five axes, each as long as the scores' or 1."""
    cuts = (*at, slice(keys))
    return mask[tuple([cut if n > 1 else slice(None) for n, cut in zip(mask.shape, cuts, strict=True)])]


def _weights(queries: Any, k: Any, mask: Any, at: tuple, causal: bool) -> Any:
    """The softmax of a block's scores (B, K, G, rows, keys); the queries have been scaled."""
    (*_, n, _), keys = queries.shape, k.shape[2]
    scores = matmul(_joined(queries), k.swapaxes(-1, -2)).reshape(*queries.shape[:-1], keys)
    if mask is not None:
        part = _of_block(_five_axes(mask), at, keys)
        if part.dtype == np.bool_:
            np.copyto(scores, -np.inf, where=~part)
        else:
            scores += part
    # ranges of rows begin with a block's first query
    flat = scores.reshape(-1, keys)
    _by_ranges("attend", flat, [address(flat), *flat.shape, at[3].start, n, causal])
    return scores


def _by_ranges(name: str, rows: Any, given: list) -> None:
    """One of the loops over scores."""
    from . import rows as loops

    numbers = np.array([*given, 0], np.int64)
    if rows.size < SHARED or threads.count() == 1:
        getattr(loops, f"{name}_shares")(rows.dtype.type(0), address(numbers))
    else:
        from .tasks import task_for

        together(task_for(name, rows.dtype), numbers)


class _Attention:
    """Kernel `attention`: q (B, K, G, T, D), k (B, K, S, D), v (B, K, S, E), a mask or None; see `ops/fused.py`."""

    keeps_output = False

    def accepts(self, q: Any, k: Any, v: Any, mask: Any, *, causal: bool, scale: float) -> bool:
        return q.dtype in (np.float32, np.float64) and q.dtype == k.dtype == v.dtype and q.size > 0 and k.size > 0

    def forward(self, q: Any, k: Any, v: Any, mask: Any, *, causal: bool, scale: float) -> tuple[Any, Any]:
        out = np.empty_like(q, shape=(*q.shape[:-1], v.shape[-1]))  # axes lie as the queries' do
        for at, keys in _blocks(q, k.shape[2], causal):
            looked = k[at[:2]][:, :, :keys]
            weights = _weights(q[at] * q.dtype.type(scale), looked, mask, at, causal)
            out[at] = matmul(_joined(weights), v[at[:2]][:, :, :keys]).reshape(out[at].shape)
        return out, None

    def backward(
        self, grad: Any, needs: Any, residuals: Any, q: Any, k: Any, v: Any, mask: Any, *, causal: bool, scale: float
    ) -> list:
        grad = np.asarray(grad, q.dtype)  # the loops go by addresses
        dq, dk, dv = np.empty_like(q), np.zeros_like(k), np.zeros_like(v)
        dmask = np.zeros(mask.shape, q.dtype) if needs[3] else None
        for at, keys in _blocks(q, k.shape[2], causal):
            part = at[:2]
            looked, queries, head = k[part][:, :, :keys], q[at] * q.dtype.type(scale), _joined(grad[at])
            weights = _weights(queries, looked, mask, at, causal)
            add_matmul(dv[part][:, :, :keys], _joined(weights).swapaxes(-1, -2), head)
            dscores = matmul(head, v[part][:, :, :keys].swapaxes(-1, -2)).reshape(weights.shape)
            rows = dscores.reshape(-1, keys)
            _by_ranges("attend_back", rows, [address(weights), address(rows), *rows.shape, at[3].stop - at[3].start])
            if dmask is not None:
                place = _of_block(_five_axes(dmask), at, keys)
                place += _summed(dscores, place.shape)
            flat = _joined(dscores)
            dq[at] = matmul(flat, looked).reshape(dq[at].shape)
            add_matmul(dk[part][:, :, :keys], flat.swapaxes(-1, -2), _joined(queries))
        dq *= dq.dtype.type(scale)
        return [dq, dk, dv, dmask]


def _summed(x: Any, shape: tuple[int, ...]) -> Any:
    """x summed over the axes along which an array of this shape is broadcast to it."""
    axes = tuple(i for i, (n, m) in enumerate(zip(x.shape, shape, strict=True)) if m == 1 and n != 1)
    return x.sum(axis=axes, keepdims=True) if axes else x


KERNEL = _Attention()
