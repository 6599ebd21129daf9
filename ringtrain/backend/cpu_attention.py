"""Attention on the CPU: block of queries by block of queries, so that no T x S array need exist.

Where all scores together are small, their softmax is kept for backward; else a block's weights are computed again.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from .cpu_rows import by_rows
from .threads import shared

AT_ONCE = 1 << 21  # scores computed at a time, which a last-level cache holds


def _blocks(q: Any, s: int, causal: bool) -> Iterator[tuple[slice, int]]:
    """Ranges of queries, and how many keys they look at."""
    t = q.shape[3]
    rows = max(1, AT_ONCE // max(1, q.shape[0] * q.shape[1] * q.shape[2] * s))
    for start in range(0, t, rows):
        stop = min(t, start + rows)
        yield slice(start, stop), min(s, stop) if causal else s


def _joined(block: Any) -> Any:
    """(B, K, G, rows, n) as (B, K, G * rows, n)."""
    b, k, g, rows, n = block.shape
    return block.reshape(b, k, g * rows, n)


def _of_block(mask: Any, rows: slice, keys: int) -> Any:
    if mask.shape[-2] != 1:
        mask = mask[..., rows, :]
    return mask if mask.shape[-1] == 1 else mask[..., :keys]


def _weights(q: Any, k: Any, mask: Any, rows: slice, keys: int, causal: bool, scale: float) -> Any:
    """The softmax of a block's scores (B, K, G, rows, keys)."""
    from .rows import attend

    b, kv, g, _, _d = q.shape
    block = q[:, :, :, rows]
    n = block.shape[3]
    scores = np.matmul(_joined(block), k[:, :, :keys].swapaxes(-1, -2)).reshape(b, kv, g, n, keys)
    if mask is not None:
        part = _of_block(mask, rows, keys)
        if part.dtype == np.bool_:
            np.copyto(scores, -np.inf, where=~part)
        else:
            scores *= scale
            scores += part
            scale = 1.0
    flat, factor = scores.reshape(-1, keys), scores.dtype.type(scale)
    # ranges of rows begin with a block's first query
    shared(len(flat), n, lambda i, j: attend(flat[i:j], factor, rows.start, n, causal))
    return scores


class _Attention:
    """Kernel `attention`: q (B, K, G, T, D), k (B, K, S, D), v (B, K, S, E), a mask or None; see `ops/fused.py`."""

    keeps_output = False

    def accepts(self, q: Any, k: Any, v: Any, mask: Any, *, causal: bool, scale: float) -> bool:
        return q.dtype in (np.float32, np.float64) and q.dtype == k.dtype == v.dtype and q.size > 0 and k.size > 0

    def forward(self, q: Any, k: Any, v: Any, mask: Any, *, causal: bool, scale: float) -> tuple[Any, Any]:
        b, kv, g, t, _ = q.shape
        s, e = v.shape[2:]
        out = np.empty((b, kv, g, t, e), q.dtype)
        blocks = list(_blocks(q, s, causal))
        kept = None
        for rows, keys in blocks:
            weights = _weights(q, k, mask, rows, keys, causal, scale)
            result = np.matmul(_joined(weights), v[:, :, :keys])
            out[:, :, :, rows] = result.reshape(b, kv, g, -1, e)
            if len(blocks) == 1:
                kept = weights
        return out, kept

    def backward(
        self, grad: Any, needs: Any, residuals: Any, q: Any, k: Any, v: Any, mask: Any, *, causal: bool, scale: float
    ) -> list:
        from .rows import attend_back

        kept = residuals
        b, kv, g, _, d = q.shape
        s = k.shape[2]
        dq, dk, dv = np.empty_like(q), np.zeros_like(k), np.zeros_like(v)
        dmask = np.zeros(mask.shape, q.dtype) if needs[3] else None
        for rows, keys in _blocks(q, s, causal):
            weights = kept if kept is not None else _weights(q, k, mask, rows, keys, causal, scale)
            head = _joined(grad[:, :, :, rows])
            flat = _joined(weights)
            dv[:, :, :keys] += np.matmul(flat.swapaxes(-1, -2), head)
            dscores = np.matmul(head, v[:, :, :keys].swapaxes(-1, -2)).reshape(weights.shape)
            by_rows(attend_back, weights.reshape(-1, keys), dscores.reshape(-1, keys))
            if dmask is not None:
                part = _of_block(dmask, rows, keys)
                part += _summed(dscores, part.shape)
            block = _joined(dscores)
            dq[:, :, :, rows] = np.matmul(block, k[:, :, :keys]).reshape(b, kv, g, -1, d)
            dk[:, :, :keys] += np.matmul(block.swapaxes(-1, -2), _joined(q[:, :, :, rows]))
        dq *= dq.dtype.type(scale)
        dk *= dk.dtype.type(scale)
        return [dq, dk, dv, dmask]


def _summed(x: Any, shape: tuple[int, ...]) -> Any:
    """x summed over the axes along which an array of this shape is broadcast to it."""
    whole = (1,) * (x.ndim - len(shape)) + shape
    axes = tuple(i for i, (n, m) in enumerate(zip(x.shape, whole, strict=True)) if m == 1 and n != 1)
    return (x.sum(axis=axes, keepdims=True) if axes else x).reshape(shape)


KERNEL = _Attention()
