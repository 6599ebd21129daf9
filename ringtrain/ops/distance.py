"""Distances between vectors, and what makes them of length 1."""

from __future__ import annotations

import numpy as np

from ..tensor import Tensor
from .blocks import broadcast_arrays
from .elementwise import clip
from .index import getitem
from .norms import vector_norm
from .reduce import norm, sum
from .shape import expand_dims


def cosine_similarity(a: Tensor, b: Tensor, axis: int = 1, eps: float = 1e-8) -> Tensor:
    """<a, b> / (|a| |b|) along an axis, each norm held above eps; a and b broadcast."""
    a, b = broadcast_arrays(a, b)
    return sum(a / clip(norm(a, axis, True), low=eps) * (b / clip(norm(b, axis, True), low=eps)), axis=axis)


def pairwise_distance(a: Tensor, b: Tensor, p: float = 2.0, eps: float = 1e-6, keepdims: bool = False) -> Tensor:
    """The p-norm of a - b + eps over the last axis; a and b broadcast."""
    return vector_norm(a - b + eps, p, -1, keepdims)


def normalize(x: Tensor, p: float = 2.0, axis: int = 1, eps: float = 1e-12) -> Tensor:
    """x divided by its p-norm along an axis, the norm held above eps."""
    return x / clip(vector_norm(x, p, axis, True), low=eps)


def cdist(a: Tensor, b: Tensor, p: float = 2.0) -> Tensor:
    """The p-norm distances of all rows of a from all rows of b: (..., m, d), (..., n, d) -> (..., m, n).

    The axes before the last two broadcast. The gradient at a distance of 0 is 0. It holds all m n d differences.
    """
    if a.ndim < 2 or b.ndim < 2 or a.shape[-1] != b.shape[-1]:
        raise ValueError(f"cdist wants rows (..., m, d) and (..., n, d); got {a.shape} and {b.shape}")
    return vector_norm(expand_dims(a, -2) - expand_dims(b, -3), p, -1)


def pdist(x: Tensor, p: float = 2.0) -> Tensor:
    """The p-norm distances of each two rows of x (n, d): (n (n - 1) / 2,), in the order 01, 02, ..., 12, ..."""
    if x.ndim != 2:
        raise ValueError(f"pdist wants rows (n, d); got {x.shape}")
    first, second = (x.backend.xp.asarray(i) for i in np.triu_indices(x.shape[0], 1))
    return vector_norm(getitem(x, first) - getitem(x, second), p, -1)
