"""Clipping gradients, by value and by norm."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np

from ..backend import of
from ..tensor import Leaf, Tensor, raw
from .norm import joined, norms
from .optimizer import Optimizer

__all__ = ["clip_grad_norm_", "clip_grad_value_"]


def clip_grad_norm_(
    target: Any, max_norm: float, norm_type: float | str = 2.0, error_if_nonfinite: bool = False
) -> float:
    """Scales gradients down, in place, so that their norm is at most max_norm; returns the norm before.

    target              an optimiser (a DistributedOptimizer's gradients are reduced first), parameters, or one
                        parameter; pass `group["params"]` for each group by itself
    norm_type           p of the p-norm over all gradients as one vector; math.inf or "inf" for the largest magnitude
    error_if_nonfinite  raises RuntimeError for a norm that is inf or nan, and leaves the gradients

    The norm is accumulated in float64. As in PyTorch the factor is min(1, max_norm / (norm + 1e-6)).
    """
    if not max_norm >= 0:
        raise ValueError(f"clip_grad_norm_: max_norm must be >= 0; got {max_norm!r}")
    norm_type = float(norm_type)
    if not norm_type > 0:
        raise ValueError(f"clip_grad_norm_: norm_type must be > 0; got {norm_type!r}")
    gradients = list(_gradients(target))
    each = norms([_flat(g) for _, g in gradients], norm_type)
    total = joined(each, norm_type)
    if error_if_nonfinite and not math.isfinite(total):
        first = next((i for i, n in enumerate(each) if not math.isfinite(n)), None)
        where = "their sum is" if first is None else f"that of gradient number {first}, the first, is {each[first]}"
        raise RuntimeError(
            f"the norm of the gradients is {total}: {where}; skip the step or lower the learning rate, or pass "
            "error_if_nonfinite=False"
        )
    factor = max_norm / (total + 1e-6)
    if not factor >= 1.0:
        for leaf, g in gradients:
            with np.errstate(invalid="ignore"):  # a norm of inf makes infinite gradients nan
                g[...] = g.astype(np.promote_types(g.dtype, np.float32), copy=False) * factor
            leaf.version[0] += 1
    return total


def clip_grad_value_(target: Any, clip_value: float) -> None:
    """Clips every element of the gradients, in place, to [-clip_value, clip_value]. target as for `clip_grad_norm_`."""
    if not clip_value >= 0:
        raise ValueError(f"clip_grad_value_: clip_value must be >= 0; got {clip_value!r}")
    for leaf, g in _gradients(target):
        bound = np.asarray(clip_value, g.dtype)[()]
        of(g).xp.clip(g, -bound, bound, out=g)
        leaf.version[0] += 1


def _flat(g: Any) -> Any:
    """For norms: in one axis, and in numbers that hold their squares."""
    return g.reshape(-1).astype(np.promote_types(g.dtype, np.float32), copy=False)


def _gradients(target: Any) -> Iterator[tuple[Leaf, Any]]:
    """(leaf, raw gradient) of every parameter that has one."""
    for p in _parameters(target):
        leaf = p._node
        if not isinstance(leaf, Leaf) or leaf.grad is None:
            continue
        if isinstance(leaf.grad, Tensor):  # made with create_graph
            leaf.grad = raw(leaf.grad).copy()
        yield leaf, leaf.grad


def _parameters(target: Any) -> Iterable[Tensor]:
    if hasattr(target, "synchronize"):  # a DistributedOptimizer
        target.synchronize()
        target = target.optimizer
    if isinstance(target, Optimizer):
        return [p for group in target.param_groups for p in group["params"]]
    params = [target] if isinstance(target, Tensor) else list(target)
    for i, p in enumerate(params):
        if not isinstance(p, Tensor):
            raise TypeError(f"clipping wants an optimiser or parameters; number {i} is a {type(p).__name__}")
        for hook in p._node.hooks if isinstance(p._node, Leaf) else ():
            if getattr(hook, "under_way", bool)():
                raise RuntimeError(
                    "these gradients are still to be averaged over the ranks; pass the DistributedOptimizer itself, or "
                    "call its synchronize() first"
                )
    return params
