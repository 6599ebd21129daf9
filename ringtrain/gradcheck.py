"""Checks gradients against finite differences: float64, along one random direction, first and second order.

One direction suffices: a wrong gradient agrees with a random direction's difference quotient with probability 0.
The idea and its economy are Chainer's (`gradient_check`, `numerical_grad` along a direction).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from .backward import grad
from .ops.create import tensor
from .tensor import Tensor

__all__ = ["gradcheck"]


def gradcheck(
    f: Callable[..., Any], *xs: Tensor, eps: float = 1e-5, rtol: float = 1e-6, order: int = 2, seed: int = 0
) -> bool:
    """Compares the gradients of f at xs with central differences along a random direction.

    f      differentiable there, from tensors to a tensor or several
    xs     float64 tensors; those that require a gradient are checked, the others stay as they are
    order  2 also checks the gradient's own gradient, 1 does not

    Returns True; raises AssertionError that says which order differs and by how much, TypeError for inputs that
    are not float64 or that all need no gradient.
    """
    varied = [k for k, x in enumerate(xs) if x.requires_grad]
    if not varied:
        raise TypeError("gradcheck: no input requires a gradient, so there is nothing to check")
    for k in varied:
        if xs[k].dtype != np.float64:
            raise TypeError(f"gradcheck: input {k} is {xs[k].dtype}; finite differences need float64")
    rng = np.random.default_rng(seed)
    _check(f, xs, varied, rng, eps, rtol, "the gradient")
    if order > 1:
        weights: list[np.ndarray] = []

        def first(*points: Tensor) -> list[Tensor]:
            """The gradients of f, themselves functions of the points."""
            value = _scalar(f(*points), weights, rng)
            found = grad(value, [points[k] for k in varied], create_graph=True, allow_unused=True)
            return [g for g in found if g is not None]

        _check(first, xs, varied, rng, eps, rtol * 10, "the second derivative")
    return True


def _fresh(xs: Sequence[Tensor], varied: Sequence[int], steps: Sequence[np.ndarray] | None = None, h: float = 0.0):
    """The inputs as new leaves, moved by h along the steps."""
    points = [x.detach() for x in xs]
    for i, k in enumerate(varied):
        values = xs[k].detach().numpy()
        moved = values + h * steps[i] if steps is not None else values
        points[k] = tensor(moved, moved.dtype, xs[k].device, requires_grad=True)
    return points


def _scalar(result: Any, weights: list[np.ndarray], rng: np.random.Generator) -> Tensor:
    """Outputs weighted and summed; the weights are drawn once, at the first call."""
    outs = list(result) if isinstance(result, (tuple, list)) else [result]
    if not weights:
        weights += [rng.standard_normal(out.shape) for out in outs]
    total: Any = 0.0
    for out, w in zip(outs, weights, strict=True):
        total = (out * w).sum() + total
    return total


def _check(
    f: Callable, xs: Sequence[Tensor], varied: Sequence[int], rng: Any, eps: float, rtol: float, what: str
) -> None:
    weights: list[np.ndarray] = []
    steps = [rng.standard_normal(xs[k].shape) for k in varied]
    length = np.sqrt(sum(float((s * s).sum()) for s in steps)) or 1.0
    steps = [s / length for s in steps]
    points = _fresh(xs, varied)
    value = _scalar(f(*points), weights, rng)
    found: Sequence = ()  # where the value hangs on no point, the differences must be 0 too
    if value.requires_grad:
        found = grad(value, [points[k] for k in varied], allow_unused=True)
    analytic = sum(float((g.numpy() * s).sum()) for g, s in zip(found, steps, strict=False) if g is not None)
    ahead, behind = (_scalar(f(*_fresh(xs, varied, steps, h)), weights, rng).item() for h in (eps, -eps))
    numeric = (ahead - behind) / (2 * eps)
    # the quotient's rounding error grows with the value, its truncation error with the derivative
    allowed = rtol * max(abs(analytic), abs(numeric)) + 1e-10 * max(abs(value.item()), 1.0)
    if not abs(analytic - numeric) <= allowed:
        raise AssertionError(
            f"gradcheck: {what} along a random direction is {analytic!r}, finite differences give {numeric!r} "
            f"(difference {abs(analytic - numeric):.3e}, allowed {allowed:.3e})"
        )
