"""Norms of vectors and matrices, with NumPy's orders."""

from __future__ import annotations

import math

from ..tensor import Tensor
from .define import composed_widely
from .elementwise import absolute, where
from .reduce import Axis, count_nonzero, max, min, norm, sum


@composed_widely
def vector_norm(x: Tensor, ord: float = 2, axis: Axis = None, keepdims: bool = False) -> Tensor:
    """(sum |x|^ord)^(1/ord) over `axis`; the largest |x| for inf, the smallest for -inf, the count of others than 0
    for 0. Gradients where the norm is 0, and at elements that are 0, are 0 (as in PyTorch).
    """
    if ord == 2:
        return norm(x, axis, keepdims)
    if ord == 0:
        return count_nonzero(x, axis, keepdims).astype(x.dtype)
    size = absolute(x)
    if ord == math.inf:
        return max(size, axis=axis, keepdims=keepdims)
    if ord == -math.inf:
        return min(size, axis=axis, keepdims=keepdims)
    if ord == 1:
        return sum(size, axis=axis, keepdims=keepdims)
    zero = size.detach() == 0
    powers = where(zero, 0.0 if ord > 0 else math.inf, where(zero, 1.0, size) ** float(ord))
    total = sum(powers, axis=axis, keepdims=keepdims)
    none = total.detach() == 0
    return where(none, 0.0, where(none, 1.0, total) ** (1.0 / ord))
