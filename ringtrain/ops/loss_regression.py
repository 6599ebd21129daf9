"""Losses of numbers: squares, absolutes and what lies between, likelihoods, divergences. `reduction`: see `loss.py`."""

from __future__ import annotations

import math
import numbers
from typing import Any

import numpy as np

from ..tensor import Tensor, wrap
from .elementwise import absolute, clip, exp, log, softplus, square, where
from .loss import reduced, same_shape


def mse_loss(prediction: Tensor, target: Any, reduction: str = "mean") -> Tensor:
    """(prediction - target)^2. Shapes must agree: broadcasting here is nearly always a mistake."""
    target = same_shape("mse_loss", prediction, target)
    return reduced(square(prediction - target), reduction)


def l1_loss(prediction: Tensor, target: Any, reduction: str = "mean") -> Tensor:
    """|prediction - target|. Shapes must agree."""
    target = same_shape("l1_loss", prediction, target)
    return reduced(absolute(prediction - target), reduction)


def huber_loss(prediction: Tensor, target: Any, delta: float = 1.0, reduction: str = "mean") -> Tensor:
    """Half the square up to |difference| = delta, then a straight line (Huber 1964). Shapes must agree."""
    if not isinstance(delta, numbers.Real) or not delta > 0:
        raise ValueError(f"huber_loss: delta is > 0; got {delta!r}")
    target = same_shape("huber_loss", prediction, target)
    distance = absolute(prediction - target)
    return reduced(where(distance <= delta, square(distance) * 0.5, distance * delta - 0.5 * delta**2), reduction)


def smooth_l1_loss(prediction: Tensor, target: Any, beta: float = 1.0, reduction: str = "mean") -> Tensor:
    """`huber_loss` with delta = beta, divided by beta; beta 0 is `l1_loss` (Girshick 2015). Shapes must agree."""
    if not isinstance(beta, numbers.Real) or not beta >= 0:
        raise ValueError(f"smooth_l1_loss: beta is a number >= 0; got {beta!r}")
    if beta == 0:
        return l1_loss(prediction, target, reduction)
    target = same_shape("smooth_l1_loss", prediction, target)
    distance = absolute(prediction - target)
    return reduced(where(distance < beta, square(distance) * (0.5 / beta), distance - 0.5 * beta), reduction)


def log_cosh_loss(prediction: Tensor, target: Any, reduction: str = "mean") -> Tensor:
    """log(cosh(prediction - target)), without overflow. Shapes must agree."""
    target = same_shape("log_cosh_loss", prediction, target)
    difference = prediction - target
    return reduced(difference + softplus(difference * -2.0) - math.log(2.0), reduction)


def poisson_nll_loss(
    prediction: Tensor,
    target: Any,
    log_input: bool = True,
    full: bool = False,
    eps: float = 1e-8,
    reduction: str = "mean",
) -> Tensor:
    """exp(x) - t x of counts t and the logarithm x of their rate; log_input=False: x - t log(x + eps) of the rate x.

    full: with Stirling's t log(t) - t + log(2 pi t) / 2 where t > 1. Shapes must agree.
    """
    target = same_shape("poisson_nll_loss", prediction, target)
    losses = exp(prediction) - prediction * target if log_input else prediction - log(prediction + eps) * target
    if full:
        safe = where(target > 1, target, 1.0)
        stirling = safe * log(safe) - safe + log(safe * (2.0 * math.pi)) * 0.5
        losses = losses + where(target > 1, stirling, 0.0)
    return reduced(losses, reduction)


def gaussian_nll_loss(
    prediction: Tensor, target: Any, var: Any, full: bool = False, eps: float = 1e-6, reduction: str = "mean"
) -> Tensor:
    """(log(v) + (prediction - target)^2 / v) / 2 of a normal with variance v; target and variance broadcast.

    A variance of the prediction's shape but for its last axis is one for each row, as in PyTorch. It is held above eps,
    outside the graph. full: with the constant log(2 pi) / 2.
    """
    if prediction.ndim and getattr(var, "shape", ()) == prediction.shape[:-1] != ():
        var = var[..., None]
    if isinstance(var, np.ndarray):
        var = wrap(prediction.backend.asarray(var, prediction.dtype))
    held: Any = None
    if isinstance(var, Tensor):
        if not var.backend.abstract and (var._data < 0).any():
            raise ValueError("gaussian_nll_loss: a variance is negative")
        held = var + (clip(var.detach(), low=eps) - var.detach())
    else:
        held = max(float(var), eps)
    losses = square(prediction - target) / held
    losses = (losses + (log(held) if isinstance(held, Tensor) else math.log(held))) * 0.5
    return reduced(losses + 0.5 * math.log(2.0 * math.pi) if full else losses, reduction)


def kl_div(prediction: Tensor, target: Tensor, log_target: bool = False, reduction: str = "mean") -> Tensor:
    """t (log(t) - x) of log probabilities x and probabilities t, or their logarithms: Kullback and Leibler's.

    reduction: also "batchmean", the sum divided by the length of axis 0, which is the divergence proper.
    """
    target = same_shape("kl_div", prediction, target)
    if log_target:
        losses = exp(target) * (target - prediction)
    else:  # 0 log(0) is 0, and so is its gradient
        losses = (log(where(target == 0, 1.0, target)) - prediction) * target
    if reduction == "batchmean":
        return losses.sum() * (1.0 / max(prediction.shape[0], 1)) if prediction.ndim else losses
    return reduced(losses, reduction)
