"""Normalisation over batches and features."""

from __future__ import annotations

from ..dtypes import wide
from ..tensor import Tensor
from .elementwise import sqrt, square
from .shape import reshape


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
    axes = (0, *range(2, x.ndim))
    centre = x.mean(axis=axes, keepdims=True)
    deviation = x - centre
    variance = square(deviation).mean(axis=axes, keepdims=True)
    y = deviation / sqrt(variance + eps)
    return affine(y, weight, bias), reshape(centre, -1).detach(), reshape(variance, -1).detach()


def normalize(
    x: Tensor, mean: Tensor, var: Tensor, weight: Tensor | None, bias: Tensor | None, eps: float = 1e-5
) -> Tensor:
    """Normalises each channel of x (N, C, ...) by given statistics (C,): batch norm after training."""
    accumulator = wide(x.dtype)
    if accumulator is not None:
        return normalize(x.astype(accumulator), mean, var, weight, bias, eps).astype(x.dtype)
    shape = (1, -1) + (1,) * (x.ndim - 2)
    return affine((x - reshape(mean, shape)) / sqrt(reshape(var, shape) + eps), weight, bias)


def affine(x: Tensor, weight: Tensor | None, bias: Tensor | None) -> Tensor:
    """x * weight + bias with one value a channel, axis 1."""
    shape = (1, -1) + (1,) * (x.ndim - 2)
    if weight is not None:
        x = x * reshape(weight, shape)
    return x if bias is None else x + reshape(bias, shape)
