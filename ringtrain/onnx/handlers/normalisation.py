"""Normalisations over batches, layers, groups and channels."""

from __future__ import annotations

from typing import Any

import numpy as np

from ...ops import elementwise as e
from ...ops import norm, reduce, shape
from ...tensor import Tensor
from ..registry import handler


@handler("BatchNormalization", since=9, fixed=(3, 4))
def batch_norm(
    x: Tensor, scale: Tensor, bias: Tensor, mean: Tensor, var: Tensor, *, epsilon: float = 1e-5,
    momentum: float = 0.9, training_mode: int = 0,
) -> Any:  # fmt: skip
    if not training_mode:
        return norm.normalize(x, mean, var, scale, bias, epsilon).astype(x.dtype)
    out, seen, spread = norm.batch_norm(x, scale, bias, epsilon)
    return out, mean * momentum + seen * (1.0 - momentum), var * momentum + spread * (1.0 - momentum)


@handler("InstanceNormalization", since=6)
def instance_norm(x: Tensor, scale: Tensor, bias: Tensor, *, epsilon: float = 1e-5) -> Tensor:
    return norm.instance_norm(x, scale, bias, epsilon)


@handler("GroupNormalization", since=21)
def group_norm(
    x: Tensor, scale: Tensor, bias: Tensor, *, num_groups: int, epsilon: float = 1e-5, stash_type: int = 1
) -> Tensor:
    return norm.group_norm(x, num_groups, scale, bias, epsilon)


@handler("GroupNormalization", since=18)
def group_norm_18(x: Tensor, scale: Tensor, bias: Tensor, *, num_groups: int, epsilon: float = 1e-5) -> Tensor:
    """One scale and bias a group, not a channel."""
    each = x.shape[1] // num_groups
    wide = [shape.reshape(shape.broadcast_to(shape.reshape(p, (-1, 1)), (num_groups, each)), -1) for p in (scale, bias)]
    return norm.group_norm(x, num_groups, *wide, epsilon)


def _over(x: Tensor, axis: int, *parameters: Tensor | None) -> tuple[tuple[int, ...], list[Tensor | None]]:
    """The axes from `axis` on as a shape, and parameters that broadcast to it."""
    ends = x.shape[axis % x.ndim :]
    return ends, [p if p is None or p.shape == ends else shape.broadcast_to(p, ends) for p in parameters]


@handler("LayerNormalization")
def layer_norm(
    x: Tensor, scale: Tensor, bias: Tensor | None = None, *, axis: int = -1, epsilon: float = 1e-5,
    stash_type: int = 1, n_outputs: int = 1,
) -> Any:  # fmt: skip
    ends, (weight, shift) = _over(x, axis, scale, bias)
    out = norm.layer_norm(x, ends, weight, shift, epsilon)
    if n_outputs == 1:
        return out
    over = tuple(range(x.ndim - len(ends), x.ndim))
    stash = x.astype(np.float32) if stash_type == 1 else x
    mean = reduce.mean(stash, over, True)
    return out, mean, e.reciprocal(e.sqrt(reduce.var(stash, over, 0, True) + epsilon))


@handler("RMSNormalization")
def rms_norm(x: Tensor, scale: Tensor, *, axis: int = -1, epsilon: float = 1e-5, stash_type: int = 1) -> Tensor:
    ends, (weight,) = _over(x, axis, scale)
    return norm.rms_norm(x, ends, weight, epsilon)


@handler("LRN")
def lrn(x: Tensor, *, size: int, alpha: float = 1e-4, beta: float = 0.75, bias: float = 1.0) -> Tensor:
    """Of an even size the odd channel comes after, where local_response_norm has it before."""
    if size % 2:
        return norm.local_response_norm(x, size, alpha, beta, bias)
    return shape.flip(norm.local_response_norm(shape.flip(x, 1), size, alpha, beta, bias), 1)
