"""Rotary positions (Su et al. 2021, RoFormer): queries and keys turned by angles that grow with their place."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..backend.meta import MetaArray
from ..ops.define import composed_widely
from ..ops.shape import concatenate, reshape, stack
from ..tensor import Tensor, describe, raw
from .module import Module


@composed_widely
def rotary_embedding(
    x: Tensor,
    positions: Any = None,
    base: float = 10000.0,
    interleaved: bool = False,
    rotary_dim: int | None = None,
    scale: float = 1.0,
) -> Tensor:
    """x (..., T, D) with pairs of features turned: pair i of place p by the angle p scale base^(-2 i / rotary_dim).

    positions    (T,), or what broadcasts to (..., T), of numbers; None: 0 .. T - 1. No gradient
    interleaved  pairs are neighbours, (0, 1), (2, 3), ... (Su et al. 2021); False: feature i goes with feature
                 i + rotary_dim / 2, as in GPT-NeoX and Llama. Weights of one do not fit the other
    rotary_dim   how many of the first features are turned; None: all

    Scores of queries and keys so turned hang on the distance of their places only. 16-bit floats in float32.
    """
    width = x.shape[-1] if rotary_dim is None and x.ndim else rotary_dim or 0
    if x.ndim < 2 or width % 2 or not 0 < width <= x.shape[-1]:
        raise ValueError(
            f"rotary_embedding wants (..., T, D) and an even rotary_dim up to D; got {describe(x)}, {width}"
        )
    places = np.arange(x.shape[-2]) if positions is None else raw(positions)
    if isinstance(places, MetaArray):
        places = np.zeros(places.shape)
    places = np.asarray(places) if isinstance(places, (list, tuple)) else places
    if places.ndim < 1 or places.shape[-1] != x.shape[-2]:
        raise ValueError(f"rotary_embedding: positions (..., {x.shape[-2]}) for {describe(x)}; got {places.shape}")
    numbers = np.asarray(places if isinstance(places, np.ndarray) else places.get(), np.float64)
    angles = numbers[..., None] * (scale * base ** (np.arange(0, width, 2) * (-1.0 / width)))
    cosine, sine = (x.backend.asarray(table.astype(x.dtype)) for table in (np.cos(angles), np.sin(angles)))
    turned = x[..., :width]
    if interleaved:
        a, b = turned[..., 0::2], turned[..., 1::2]
        out = reshape(stack([a * cosine - b * sine, b * cosine + a * sine], -1), turned.shape)
    else:
        a, b = turned[..., : width // 2], turned[..., width // 2 :]
        out = concatenate([a * cosine - b * sine, b * cosine + a * sine], -1)
    return out if width == x.shape[-1] else concatenate([out, x[..., width:]], -1)


class RotaryEmbedding(Module):
    """`rotary_embedding` of (..., T, D) whose places begin at `offset`, as a cache of keys wants it.

    dims         how many features are turned, an even number up to D
    base, interleaved, scale  as there
    """

    def __init__(self, dims: int, base: float = 10000.0, interleaved: bool = False, scale: float = 1.0) -> None:
        if dims < 2 or dims % 2:
            raise ValueError(f"RotaryEmbedding: dims is even and >= 2; got {dims}")
        self.dims, self.base, self.interleaved, self.scale = dims, base, interleaved, scale

    def forward(self, x: Tensor, offset: int = 0) -> Tensor:
        places = None if not offset or x.ndim < 2 else np.arange(offset, offset + x.shape[-2])
        return rotary_embedding(x, places, self.base, self.interleaved, self.dims, self.scale)

    def extra_repr(self) -> str:
        return f"{self.dims}, base={self.base}" + (", interleaved=True" if self.interleaved else "")
