"""Multi-head attention (Vaswani et al. 2017), with PyTorch's arguments, masks and state."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from .. import random
from ..ops.attention import attention_weights, causal_mask, scaled_dot_product_attention
from ..ops.create import zeros
from ..ops.elementwise import where
from ..ops.linalg import linear, matmul
from ..ops.reduce import mean
from ..ops.shape import broadcast_to, concatenate, expand_dims, reshape, split, squeeze, swapaxes
from ..tensor import Tensor, describe, raw, wrap
from .dropout import Dropout
from .init import Xavier, Zeros
from .layers import Linear
from .module import Module, parameter


class MultiHeadAttention(Module):
    """Heads that look at keys and gather values: project, attend by head, join, project.

    embed_dim     features E of queries and results, divided among the heads
    num_heads     H, which must divide embed_dim
    dropout       of the weights, in training; then, and where weights are asked for, T x S of them exist
    bias          of all four projections
    add_bias_kv   a key and a value that are learned, bias_k and bias_v (1, 1, E K / H), after those of every sample
    add_zero_attn  a key and a value of zeros after these; no mask hides what is added
    kdim, vdim    features of keys and values, E unless given
    batch_first   (B, T, E) instead of (T, B, E)
    num_kv_heads  K < H heads of keys and values, each for H / K heads of queries (grouped queries, Ainslie et al. 2023)

    Parameters in_proj_weight (E + 2 E K / H, E), which stacks the projections of queries, keys and values, or, where
    kdim or vdim differ, q_proj_weight, k_proj_weight, v_proj_weight; in_proj_bias; out_proj. They begin as PyTorch's
    do: Xavier's uniform, biases 0. Also known as `MultiheadAttention`.
    """

    def __init__(
        self,
        embed_dim: int,
        num_heads: int,
        dropout: float = 0.0,
        bias: bool = True,
        add_bias_kv: bool = False,
        add_zero_attn: bool = False,
        kdim: int | None = None,
        vdim: int | None = None,
        batch_first: bool = False,
        num_kv_heads: int | None = None,
        dtype: Any = np.float32,
    ) -> None:
        kv_heads = num_heads if num_kv_heads is None else num_kv_heads
        if min(embed_dim, num_heads, kv_heads) < 1 or embed_dim % num_heads or num_heads % kv_heads:
            raise ValueError(
                "MultiHeadAttention: num_heads must divide embed_dim and num_kv_heads must divide num_heads; "
                f"got embed_dim={embed_dim}, num_heads={num_heads}, num_kv_heads={kv_heads}"
            )
        self.embed_dim, self.num_heads, self.num_kv_heads = embed_dim, num_heads, kv_heads
        self.kdim, self.vdim, self.dropout, self.batch_first = (
            kdim or embed_dim,
            vdim or embed_dim,
            dropout,
            batch_first,
        )
        self._drop = Dropout(dropout)
        name = random.next_name("MultiHeadAttention")
        narrow = embed_dim // num_heads * kv_heads
        self._rows = [embed_dim, narrow, narrow]
        if self.kdim == self.vdim == embed_dim:
            shape = (sum(self._rows), embed_dim)
            self.in_proj_weight = parameter(Xavier(), shape, f"{name}.in_proj_weight", dtype)
        else:
            for part, rows, columns in zip("qkv", self._rows, (embed_dim, self.kdim, self.vdim), strict=True):
                path = f"{part}_proj_weight"
                setattr(self, path, parameter(Xavier(), (rows, columns), f"{name}.{path}", dtype))
        self.in_proj_bias = parameter(Zeros(), (sum(self._rows),), f"{name}.in_proj_bias", dtype) if bias else None
        self.bias_k: Any = None
        self.bias_v: Any = None
        if add_bias_kv:
            draw = Xavier("normal", magnitude=1.0)
            self.bias_k = parameter(draw, (1, 1, narrow), f"{name}.bias_k", dtype)
            self.bias_v = parameter(draw, (1, 1, narrow), f"{name}.bias_v", dtype)
        self.add_zero_attn = add_zero_attn
        self.out_proj = Linear(embed_dim, embed_dim, bias, bias_init=Zeros(), dtype=dtype)

    def forward(
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        key_padding_mask: Any = None,
        need_weights: bool = False,
        attn_mask: Any = None,
        average_attn_weights: bool = True,
        is_causal: bool = False,
    ) -> tuple[Tensor, Tensor | None]:
        """Results for the queries, and the weights or None.

        query             (T, B, E), or (B, T, E) with batch_first; key (.., S, kdim) and value (.., S, vdim) likewise;
                          without a batch (T, E), (S, kdim), (S, vdim)
        key_padding_mask  (B, S) of bool, True for keys that are NOT looked at, or of floats added to scores
        attn_mask         (T, S), (B * H, T, S), or what broadcasts to (B, H, T, S): of bool, True for what may NOT be
                          looked at (as in PyTorch's module; in `scaled_dot_product_attention` True is what may), or of
                          floats added to scores; float Tensors get their gradient
        need_weights      also give the weights, (B, T, S) averaged over the heads, or (B, H, T, S). PyTorch's default
                          is True, here False: without weights attention is computed block by block
        is_causal         a query looks at no later key, whether or not there is an attn_mask

        A query that may look at nothing gets zeros before the last projection (NaN in PyTorch).
        """
        single = query.ndim == 2
        self._check(query, key, value)
        same, kv_same = query is key, key is value
        q = self._batched(query)
        k = q if same else self._batched(key)
        v = k if kv_same else self._batched(value)
        q, k, v = self._projected(q, k, v)
        added = int(self.bias_k is not None) + int(self.add_zero_attn)
        q, k, v = (self._heads(t) for t in ((q, *self._more(k, v)) if added else (q, k, v)))
        mask = self._mask(attn_mask, key_padding_mask, q, k, added, is_causal)
        is_causal = is_causal and not added  # where keys are added, the mask says it
        weights = None
        if need_weights or (self.training and self.dropout):
            out, weights = self._attend(q, k, v, mask, is_causal)
        else:
            out = scaled_dot_product_attention(q, k, v, mask, is_causal)
        out = self.out_proj(reshape(swapaxes(out, 1, 2), (q.shape[0], q.shape[2], self.embed_dim)))
        out = squeeze(out, 0) if single else out if self.batch_first else swapaxes(out, 0, 1)
        if not need_weights or weights is None:
            return out, None
        weights = mean(weights, axis=1) if average_attn_weights else weights
        return out, (squeeze(weights, 0) if single else weights)

    def _check(self, query: Tensor, key: Tensor, value: Tensor) -> None:
        shapes = f"query {query.shape}, key {key.shape}, value {value.shape}"
        if query.ndim not in (2, 3) or not query.ndim == key.ndim == value.ndim:
            raise ValueError(f"MultiHeadAttention: {shapes} must have three axes each, or two without a batch")
        features = (query.shape[-1], key.shape[-1], value.shape[-1])
        wanted = (self.embed_dim, self.kdim, self.vdim)
        if features != wanted or key.shape[:-1] != value.shape[:-1]:
            raise ValueError(f"MultiHeadAttention: {shapes} must end in {wanted}, keys being as many as values")
        batch = 0 if self.batch_first else 1
        if query.ndim == 3 and query.shape[batch] != key.shape[batch]:
            order = "batch_first, (B, T, E)" if self.batch_first else "(T, B, E); see batch_first"
            raise ValueError(f"MultiHeadAttention: {shapes} differ in the batch; inputs are {order}")

    def _batched(self, x: Tensor) -> Tensor:
        """(B, T, features)."""
        if x.ndim == 2:
            return expand_dims(x, 0)
        return x if self.batch_first else swapaxes(x, 0, 1)

    def _projected(self, q: Tensor, k: Tensor, v: Tensor) -> list[Tensor]:
        """Queries, keys and values through their projections: in one product where they are the same."""
        bias = self.in_proj_bias
        edges = [self._rows[0], self._rows[0] + self._rows[1]]
        joined = getattr(self, "in_proj_weight", None)
        if joined is not None and q is k and k is v:
            return split(linear(q, joined, bias), edges, axis=2)
        if joined is not None:
            weights = split(joined, edges)
        else:
            weights = [getattr(self, f"{part}_proj_weight") for part in "qkv"]
        biases: list[Any] = [None] * 3 if bias is None else split(bias, edges)
        return [linear(x, w, b) for x, w, b in zip((q, k, v), weights, biases, strict=True)]

    def _more(self, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        """Keys and values (B, S, features) with those that are learned, and those of zeros, after them."""
        batch, _, width = k.shape
        keys, values = [k], [v]
        if self.bias_k is not None:
            keys.append(broadcast_to(self.bias_k, (batch, 1, width)))
            values.append(broadcast_to(self.bias_v, (batch, 1, width)))
        if self.add_zero_attn:
            nothing = zeros((batch, 1, width), k.dtype, k.device)
            keys.append(nothing)
            values.append(nothing)
        return concatenate(keys, 1), concatenate(values, 1)

    def _heads(self, x: Tensor) -> Tensor:
        """(B, T, heads * D) as (B, heads, T, D)."""
        width = self.embed_dim // self.num_heads
        return swapaxes(reshape(x, (*x.shape[:2], x.shape[2] // width, width)), 1, 2)

    def _mask(self, attn_mask: Any, padding: Any, q: Tensor, k: Tensor, added: int, causal: bool) -> Any:
        """Both masks as one: bool, True for what may be looked at, or floats to be added. The last `added` keys may be
        looked at in any case.
        """
        (batch, _, t, _), s = q.shape, k.shape[2] - added
        xp = q.backend.xp
        masks = []
        if padding is not None:
            padding = padding if isinstance(padding, Tensor) else xp.asarray(padding)
            if padding.shape == (s,) and batch == 1:
                padding = padding[None]
            if padding.shape != (batch, s):
                raise ValueError(f"MultiHeadAttention: key_padding_mask is ({batch}, {s}); got {padding.shape}")
            masks.append(padding[:, None, None, :])
        if attn_mask is not None:
            mask = attn_mask if isinstance(attn_mask, Tensor) else xp.asarray(attn_mask)
            if mask.shape == (batch * self.num_heads, t, s) and batch > 1:
                mask = mask.reshape((batch, self.num_heads, t, s))
            masks.append(mask)
        if added:
            masks += [xp.asarray(~causal_mask(t, s))] if causal else []
            masks = [_widened(m, s, added) for m in masks]
        if not masks:
            return None
        if all(m.dtype == np.bool_ for m in masks):
            hidden = raw(masks[0])
            for more in masks[1:]:
                hidden = hidden | raw(more)
            return ~hidden
        bottom, nothing = xp.asarray(-np.inf, q.dtype), xp.asarray(0, q.dtype)
        scores = [where(raw(m), bottom, nothing) if m.dtype == np.bool_ else m.astype(q.dtype) for m in masks]
        total = scores[0]
        for more in scores[1:]:
            total = total + more
        return total

    def _attend(self, q: Tensor, k: Tensor, v: Tensor, mask: Any, causal: bool) -> tuple[Tensor, Tensor]:
        """Results (B, H, T, D) by weights that exist, and the weights, as dropout left them."""
        weights = attention_weights(q, k, mask, causal)
        kept = self._drop(weights) if self.dropout else weights
        b, h, t, s = weights.shape
        grouped = reshape(kept, (b, self.num_kv_heads, h // self.num_kv_heads, t, s))
        out = matmul(grouped, expand_dims(v, 2))
        return reshape(out, (b, h, t, v.shape[-1])), kept

    def extra_repr(self) -> str:
        text = f"{self.embed_dim}, {self.num_heads}"
        return text + (f", num_kv_heads={self.num_kv_heads}" if self.num_kv_heads != self.num_heads else "")


MultiheadAttention = MultiHeadAttention


def _widened(mask: Any, keys: int, added: int) -> Any:
    """A mask (..., S), True or -inf for what may not be looked at, with columns of False or 0 after it."""
    mask = mask if isinstance(mask, Tensor) else wrap(mask)
    mask = broadcast_to(mask, (*mask.shape[:-1], keys))
    return concatenate([mask, zeros((*mask.shape[:-1], added), mask.dtype, mask.device)], -1)


def sinusoids(length: int, features: int, dtype: Any = np.float32) -> np.ndarray:
    """Positional encodings (length, features) of Vaswani et al. (2017).

    Feature 2i of position p is sin(p / 10000^(2i / features)), feature 2i + 1 its cosine.
    """
    angles = np.arange(length)[:, None] * np.exp(np.arange(0, features, 2) * (-math.log(1e4) / features))
    out = np.empty((length, features), dtype)
    out[:, 0::2], out[:, 1::2] = np.sin(angles), np.cos(angles[:, : features // 2])
    return out


class PositionalEncoding(Module):
    """Adds `sinusoids` to (T, B, features), or (B, T, features) with batch_first, then drops out."""

    def __init__(self, features: int, dropout: float = 0.0, max_len: int = 5000, batch_first: bool = False) -> None:
        self.batch_first = batch_first
        self._table = sinusoids(max_len, features, np.float64)
        self._drop = Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        table, steps = self._table, x.shape[-2 if self.batch_first or x.ndim == 2 else 0]
        if x.ndim not in (2, 3) or x.shape[-1] != table.shape[1] or steps > len(table):
            raise ValueError(f"PositionalEncoding is for up to {len(table)} steps of {table.shape[1]} features; "
                             f"got {describe(x)}")  # fmt: skip
        rows = table[:steps].astype(x.dtype)
        if x.ndim == 3 and not self.batch_first:
            rows = rows[:, None]
        x = x + x.backend.asarray(rows)
        if x.ndim == 3 and not self.batch_first:  # dropout is drawn by sample: batch first
            return swapaxes(self._drop(swapaxes(x, 0, 1)), 0, 1)
        return self._drop(x)
