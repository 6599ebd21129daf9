"""Normalisation over batches, features and neighbours. 16-bit floats are computed in float32 and rounded once."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ..dtypes import wide
from ..tensor import Tensor, describe
from .elementwise import sqrt, square
from .fused import fused
from .geometry import pad_axes, taps
from .shape import reshape


def _widely(normalise: Callable) -> Callable:
    """A normalisation that computes 16-bit floats in float32 and gives its result in x's dtype."""

    @functools.wraps(normalise)
    def inside(x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        accumulator = wide(x.dtype)
        if accumulator is None:
            return normalise(x, *args, **kwargs)
        return normalise(x.astype(accumulator), *args, **kwargs).astype(x.dtype)

    return inside


def _standardised(x: Tensor, axes: tuple[int, ...], eps: float) -> tuple[Tensor, Tensor, Tensor]:
    """(x - mean) / sqrt(variance + eps) over axes, the mean and the biased variance, which keep those axes."""
    centre = x.mean(axis=axes, keepdims=True)
    deviation = x - centre
    variance = square(deviation).mean(axis=axes, keepdims=True)
    return deviation / sqrt(variance + eps), centre, variance


def batch_norm(
    x: Tensor, weight: Tensor | None, bias: Tensor | None, eps: float = 1e-5
) -> tuple[Tensor, Tensor, Tensor]:
    """Normalises each channel of x (N, C, ...) over the batch and all later axes (Ioffe and Szegedy 2015).

    weight, bias (C,). Returns the output, the channels' means and their biased variances (C,), the last two
    outside the graph. 16-bit floats are computed in float32.
    """
    accumulator = wide(x.dtype)
    if accumulator is not None:
        out, mean, var = batch_norm(x.astype(accumulator), weight, bias, eps)
        return out.astype(x.dtype), mean, var
    out, mean, var = _batch_norm(x, weight, bias, eps=eps)
    return out, mean.detach(), var.detach()


def _by_batch(x: Tensor, weight: Tensor | None, bias: Tensor | None, *, eps: float) -> tuple[Tensor, Tensor, Tensor]:
    y, centre, variance = _standardised(x, (0, *range(2, x.ndim)), eps)
    return affine(y, weight, bias), reshape(centre, -1), reshape(variance, -1)


_batch_norm = fused("batch_norm", _by_batch)


@_widely
def normalize(
    x: Tensor, mean: Tensor, var: Tensor, weight: Tensor | None, bias: Tensor | None, eps: float = 1e-5
) -> Tensor:
    """Normalises each channel of x (N, C, ...) by given statistics (C,): batch norm after training."""
    shape = (1, -1) + (1,) * (x.ndim - 2)
    return affine((x - reshape(mean, shape)) / sqrt(reshape(var, shape) + eps), weight, bias)


def affine(x: Tensor, weight: Tensor | None, bias: Tensor | None) -> Tensor:
    """x * weight + bias with one value a channel, axis 1."""
    shape = (1, -1) + (1,) * (x.ndim - 2)
    if weight is not None:
        x = x * reshape(weight, shape)
    return x if bias is None else x + reshape(bias, shape)


def _last_axes(name: str, x: Tensor, normalized_shape: int | Sequence[int], *parameters: Tensor | None) -> tuple:
    """The axes that a normalized_shape stands for."""
    shape = (int(normalized_shape),) if isinstance(normalized_shape, (int, np.integer)) else tuple(normalized_shape)
    if not shape or x.shape[-len(shape) :] != shape or 0 in shape:
        raise ValueError(f"{name}: the input {x.shape} does not end in normalized_shape {shape}")
    for p in parameters:
        if p is not None and p.shape != shape:
            raise ValueError(f"{name}: weight and bias have the normalized_shape {shape}; got {p.shape}")
    return tuple(range(x.ndim - len(shape), x.ndim))


@_widely
def layer_norm(
    x: Tensor,
    normalized_shape: int | Sequence[int],
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    eps: float = 1e-5,
) -> Tensor:
    """Normalises each sample of x (..., *normalized_shape) over its last axes (Ba et al. 2016).

    (x - mean) / sqrt(biased variance + eps) * weight + bias; weight, bias: normalized_shape.
    """
    axes = _last_axes("layer_norm", x, normalized_shape, weight, bias)
    if len(axes) > 1:
        lead, features = x.shape[: axes[0]], math.prod(x.shape[axes[0] :])
        flat = [p if p is None else reshape(p, (features,)) for p in (weight, bias)]
        return reshape(_layer_norm(reshape(x, (*lead, features)), *flat, eps=eps), x.shape)
    return _layer_norm(x, weight, bias, eps=eps)


def _by_sample(x: Tensor, weight: Tensor | None, bias: Tensor | None, *, eps: float) -> Tensor:
    y = _standardised(x, (x.ndim - 1,), eps)[0]
    y = y if weight is None else y * weight
    return y if bias is None else y + bias


_layer_norm = fused("layer_norm", _by_sample)


@_widely
def rms_norm(
    x: Tensor, normalized_shape: int | Sequence[int], weight: Tensor | None = None, eps: float | None = None
) -> Tensor:
    """x / sqrt(mean(x^2) + eps) * weight over the last axes (Zhang and Sennrich 2019).

    eps: None is the machine epsilon of the dtype that is computed in, as in PyTorch.
    """
    axes = _last_axes("rms_norm", x, normalized_shape, weight)
    eps = float(np.finfo(x.dtype).eps) if eps is None else eps
    y = x / sqrt(square(x).mean(axis=axes, keepdims=True) + eps)
    return y if weight is None else y * weight


def _per_channel(name: str, x: Tensor, *parameters: Tensor | None) -> None:
    """Raises where a parameter has not one value for each channel."""
    for p in parameters:
        if p is not None and p.shape != (x.shape[1],):
            raise ValueError(f"{name}: weight and bias of an input {x.shape} have {x.shape[1]} values; got {p.shape}")


@_widely
def group_norm(
    x: Tensor, num_groups: int, weight: Tensor | None = None, bias: Tensor | None = None, eps: float = 1e-5
) -> Tensor:
    """Normalises groups of neighbouring channels of each sample of x (N, C, ...) (Wu and He 2018).

    weight, bias (C,). num_groups must divide C: 1 is all channels together, C each on its own.
    """
    if x.ndim < 2 or num_groups < 1 or x.shape[1] % num_groups:
        raise ValueError(f"group_norm wants (N, C, ...) with channels that num_groups={num_groups} divides; "
                         f"got {x.shape}")  # fmt: skip
    _per_channel("group_norm", x, weight, bias)
    if 0 in x.shape[1:]:
        raise ValueError(f"group_norm: there is nothing to normalise in {x.shape}")
    return _group_norm(x, weight, bias, groups=num_groups, eps=eps)[0]


def _by_group(
    x: Tensor, weight: Tensor | None, bias: Tensor | None, *, groups: int, eps: float
) -> tuple[Tensor, Tensor, Tensor]:
    lead = (x.shape[0], groups)
    y, centre, variance = _standardised(reshape(x, (*lead, math.prod(x.shape[1:]) // groups)), (2,), eps)
    return affine(reshape(y, x.shape), weight, bias), reshape(centre, lead), reshape(variance, lead)


_group_norm = fused("group_norm", _by_group)


def instance_norm(x: Tensor, weight: Tensor | None = None, bias: Tensor | None = None, eps: float = 1e-5) -> Tensor:
    """Normalises each channel of each sample of x (N, C, ...) over its spatial axes (Ulyanov et al. 2016).

    weight, bias (C,). Raises ValueError where a channel has one element only: it would become 0.
    """
    out, _, _ = instance_statistics(x, weight, bias, eps)
    return out


def instance_statistics(
    x: Tensor, weight: Tensor | None, bias: Tensor | None, eps: float
) -> tuple[Tensor, Tensor, Tensor]:
    """`instance_norm`, and the mean and biased variance of each channel of each sample (N, C), outside the graph."""
    if x.ndim < 3 or math.prod(x.shape[2:]) < 2:
        raise ValueError(f"instance_norm wants (N, C, ...) with more than one element a channel; got {describe(x)}")
    _per_channel("instance_norm", x, weight, bias)
    accumulator = wide(x.dtype)
    wider = x if accumulator is None else x.astype(accumulator)
    out, mean, var = _group_norm(wider, weight, bias, groups=x.shape[1], eps=eps)
    return out.astype(x.dtype), mean.detach(), var.detach()


@_widely
def local_response_norm(x: Tensor, size: int, alpha: float = 1e-4, beta: float = 0.75, k: float = 1.0) -> Tensor:
    """x / (k + alpha mean of x^2 over `size` channels around)^beta, for x (N, C, ...) (Krizhevsky et al. 2012).

    The mean counts channels beyond the ends as zeros. size // 2 of the channels come before, as in PyTorch; MXNet's
    LRN is the same with an odd size and k = 2 as its default.
    """
    if x.ndim < 3 or size < 1:
        raise ValueError(f"local_response_norm wants (N, C, ...) and size >= 1; got {x.shape}, size {size}")
    n, c, *rest = x.shape
    squares = pad_axes(reshape(square(x), (n, c, math.prod(rest))), [(size // 2, (size - 1) // 2), (0, 0)])
    first, *others = taps(squares, 1, size, 1, 1, c)
    for other in others:
        first = first + other
    return x / reshape((first * (alpha / size) + k) ** beta, x.shape)
