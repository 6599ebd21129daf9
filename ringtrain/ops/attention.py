"""Scaled dot-product attention (Vaswani et al. 2017), with grouped key and value heads (Ainslie et al. 2023)."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ..backend import of
from ..tensor import Tensor, raw, wrap
from .elementwise import where
from .fused import fused
from .linalg import matmul
from .reduce import softmax
from .shape import broadcast_to, expand_dims, reshape, swapaxes


def causal_mask(queries: int, keys: int) -> np.ndarray:
    """(queries, keys) of bool: True where a query may look, at keys no later than itself. Both begin at 0."""
    return np.tri(queries, keys, dtype=bool)


def _scores(q: Tensor, k: Tensor, mask: Any, *, causal: bool, scale: float) -> Tensor:
    """Masked scores (B, K, G, T, S) of q (B, K, G, T, D) and k (B, K, S, D)."""
    scores = matmul(q, expand_dims(swapaxes(k, -1, -2), 2)) * scale
    xp = scores.backend.xp
    if causal and scores.device != "meta":
        scores = where(xp.asarray(causal_mask(*scores.shape[-2:])), scores, -math.inf)
    if mask is not None:
        scores = where(mask, scores, -math.inf) if mask.dtype == np.bool_ else scores + mask
    return scores


def _composed(q: Tensor, k: Tensor, v: Tensor, mask: Any, *, causal: bool, scale: float) -> Tensor:
    scores = _scores(q, k, mask, causal=causal, scale=scale)
    return matmul(_softmax(scores, mask is None), expand_dims(v, 2))


def _softmax(scores: Tensor, unmasked: bool) -> Tensor:
    """Softmax over the last axis; 0 in a row in which nothing may be looked at, which only a mask can bring about."""
    backend = scores.backend
    if backend.abstract or (backend.waits and unmasked):
        return softmax(scores, axis=-1)
    xp = backend.xp
    nothing = (raw(scores) == -math.inf).all(axis=-1, keepdims=True)
    if not backend.waits and not bool(nothing.any()):  # to ask would be to wait
        return softmax(scores, axis=-1)
    return where(xp.logical_not(nothing), softmax(where(nothing, 0.0, scores), axis=-1), 0.0)


_grouped = fused("attention", _composed)


def scaled_dot_product_attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attn_mask: Any = None,
    is_causal: bool = False,
    scale: float | None = None,
) -> Tensor:
    """softmax(query @ key.T * scale + mask) @ value, for every head by itself.

    query      (B, H, T, D), key (B, K, S, D), value (B, K, S, E); the result is (B, H, T, E). Leading axes other than
               two, (..., T, D), are taken where key and value have the same.
    H, K       heads; H must be a multiple of K, and each key head serves H / K consecutive query heads
    attn_mask  what may be looked at (bool, True for yes) or what is added to the scores (the query's dtype); anything
               that broadcasts to (B, H, T, S). It gets a gradient if it is a Tensor that wants one
    is_causal  a query looks at no later key than itself; both sequences begin at the same place
    scale      1 / sqrt(D) unless given

    A row in which nothing may be looked at gives zeros (PyTorch gives NaN for a bool mask). For backward a number
    is kept for each query, not T x S weights, which are computed again block by block (Rabe and Staats 2021; Dao et al.
    2022). The result's axes lie in memory as the query's do. Raises ValueError for shapes that do not fit, naming them.
    """
    _check(query, key, value)
    q, k, mask, scale = _in_groups(query, key, attn_mask, scale)
    v = reshape(value, (*k.shape[:3], value.shape[-1]))
    return reshape(_grouped(q, k, v, mask, causal=is_causal, scale=scale), (*query.shape[:-1], value.shape[-1]))


def attention_weights(
    query: Tensor, key: Tensor, attn_mask: Any = None, is_causal: bool = False, scale: float | None = None
) -> Tensor:
    """What `scaled_dot_product_attention` weighs values by, (B, H, T, S), with the same arguments."""
    _check(query, key, key)
    q, k, mask, scale = _in_groups(query, key, attn_mask, scale)
    weights = _softmax(_scores(q, k, mask, causal=is_causal, scale=scale), mask is None)
    return reshape(weights, (*query.shape[:-1], key.shape[-2]))


def _in_groups(query: Tensor, key: Tensor, attn_mask: Any, scale: float | None) -> tuple[Tensor, Tensor, Any, float]:
    """q (B, K, G, T, D), k (B, K, S, D), the mask for their scores, and the scale."""
    lead, (t, d), s = query.shape[:-2], query.shape[-2:], key.shape[-2]
    heads, kv_heads = (query.shape[-3], key.shape[-3]) if query.ndim > 2 else (1, 1)
    batch, groups = math.prod(query.shape[:-3]), heads // kv_heads
    mask = _fitted(attn_mask, (*lead, t, s), (batch, kv_heads, groups, t, s), query)
    q, k = reshape(query, (batch, kv_heads, groups, t, d)), reshape(key, (batch, kv_heads, s, d))
    return q, k, mask, 1 / math.sqrt(d) if scale is None else scale


def _check(query: Tensor, key: Tensor, value: Tensor) -> None:
    shapes = f"query {query.shape}, key {key.shape}, value {value.shape}"
    if min(query.ndim, key.ndim, value.ndim) < 2 or not query.ndim == key.ndim == value.ndim:
        raise ValueError(f"attention: {shapes} must have as many axes each, two at least: (..., length, features)")
    if query.shape[-1] != key.shape[-1] or key.shape[:-1] != value.shape[:-1] or query.shape[:-3] != key.shape[:-3]:
        raise ValueError(f"attention: {shapes} do not fit: want (B, H, T, D), (B, K, S, D) and (B, K, S, E)")
    if query.ndim > 2 and (not key.shape[-3] or query.shape[-3] % key.shape[-3]):
        raise ValueError(f"attention: {query.shape[-3]} query heads cannot share {key.shape[-3]} key heads evenly")


def _fitted(mask: Any, shape: tuple, grouped: tuple, query: Tensor) -> Any:
    """The mask as an array or Tensor of four or five axes that broadcasts to the grouped scores; None without one."""
    if mask is None:
        return None
    data = raw(mask) if isinstance(mask, Tensor) else of(raw(query)).asarray(mask)
    if data.dtype != np.bool_ and data.dtype.kind not in "fV":
        raise TypeError(f"attention: attn_mask must be bool or float; got {data.dtype}")
    try:
        whole = np.broadcast_shapes(data.shape, shape)
    except ValueError:
        whole = ()
    if whole != shape:
        raise ValueError(f"attention: attn_mask {data.shape} does not broadcast to the scores {shape}")
    if not isinstance(mask, Tensor) and data.dtype != np.bool_:
        data = data.astype(query.dtype)
    if data.ndim <= 2:
        return mask if isinstance(mask, Tensor) and mask.dtype != np.bool_ else data
    spread = mask if isinstance(mask, Tensor) and mask.dtype != np.bool_ else wrap(data)
    lead = (1,) * (len(shape) - data.ndim) + data.shape
    batch, kv_heads, groups = grouped[:3]
    outer, heads = lead[:-3], lead[-3]
    spread = reshape(spread, lead)
    if any(n != 1 for n in outer) and outer != shape[:-3]:  # part of several batch axes: no view of them as one
        spread = broadcast_to(spread, (*shape[:-3], *lead[-3:]))
        outer = shape[:-3]
    first = batch if any(n != 1 for n in outer) else 1
    parts = (kv_heads, groups) if heads != 1 else (1, 1)
    spread = reshape(spread, (first, *parts, *lead[-2:]))
    return spread if spread._node is not None else raw(spread)
