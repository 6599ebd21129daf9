"""Optimisers that look at a parameter as a matrix: Adafactor and Muon."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

import ml_dtypes

from ..backend import of
from .adam import adam, numbers, unbiased
from .norm import norm
from .optimizer import Optimizer, fraction, positive
from .stretch import Stretch, apply

__all__ = ["Adafactor", "Muon", "orthogonalize"]


class Adafactor(Optimizer):
    """Shazeer and Stern 2018, as PyTorch has it: the squares' means are kept for rows and columns only.

    With w = t^beta2_decay, of a parameter with two or more axes: R and C move by w towards the means of g^2 over its
    last and its last but one axis, v = R C / mean(R); with fewer axes v itself moves towards g^2. Then u = g / sqrt(v),
    p = p - min(lr, 1 / sqrt(t)) * max(eps[1], RMS(p)) * u / max(1, RMS(u) / d). eps[0], the least root of v, is the
    dtype's own if None. weight_decay is decoupled.
    """

    slots = ("row_var", "col_var", "variance")

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 0.01,
        beta2_decay: float = -0.8,
        eps: tuple[float | None, float] = (None, 1e-3),
        d: float = 1.0,
        weight_decay: float = 0.0,
        maximize: bool = False,
    ) -> None:
        options = {"lr": lr, "beta2_decay": beta2_decay, "eps": eps, "d": d}
        super().__init__(params, {**options, "weight_decay": weight_decay, "maximize": maximize})

    def check(self, options: dict[str, Any]) -> None:
        positive("Adafactor", options, "lr", "weight_decay")
        if not options["beta2_decay"] <= 0:
            raise ValueError(f"Adafactor: beta2_decay must be <= 0; got {options['beta2_decay']!r}")
        if not options["d"] >= 1:
            raise ValueError(f"Adafactor: d must be >= 1; got {options['d']!r}")
        eps = options["eps"]
        if len(eps) != 2 or eps[1] is None or not all(e >= 0 for e in (eps[0] or 0.0, eps[1])):
            raise ValueError(f"Adafactor: eps are two numbers >= 0, the first may be None; got {eps!r}")

    def slot_shape(self, slot: str, shape: tuple[int, ...], options: Mapping[str, Any]) -> tuple[int, ...]:
        if len(shape) < 2:
            return shape if slot == "variance" else (0,)
        factors = {"row_var": (*shape[:-1], 1), "col_var": (*shape[:-2], 1, shape[-1])}
        return factors.get(slot, (0,))

    def update(self, stretch: Stretch) -> None:
        for part in stretch.parts():
            if part.p.size:
                self._one(part)

    def _one(self, part: Stretch) -> None:
        o, root = part.options, math.sqrt(part.p.size)
        p, g = part.p.reshape(part.shape), part.g.reshape(part.shape)
        least = o["eps"][0] if o["eps"][0] is not None else float(ml_dtypes.finfo(part.bucket.data.dtype).eps)
        rate = max(o["eps"][1], norm(part.p) / root) * min(o["lr"], part.step**-0.5)
        if o["weight_decay"]:
            p *= 1.0 - o["lr"] * o["weight_decay"]
        u = g / self._spread(part, g * g, least).clip(least * least) ** 0.5
        p -= (rate / max(1.0, norm(u.reshape(-1)) / (root * o["d"]))) * u

    def _spread(self, part: Stretch, squares: Any, least: float) -> Any:
        """The estimate of the mean squares, brought up to date."""
        weight = float(part.step) ** part.options["beta2_decay"]
        state = part.bucket.part(part.first)
        if squares.ndim < 2:
            state["variance"] += weight * (squares - state["variance"])
            return state["variance"]
        row, column = state["row_var"], state["col_var"]
        row += weight * (squares.mean(axis=-1, keepdims=True) - row)
        column += weight * (squares.mean(axis=-2, keepdims=True) - column)
        return row * column / row.mean(axis=-2, keepdims=True).clip(least)


def blend(m: Any, g: Any, momentum: float, rest: float) -> Any:
    return (momentum * m + rest * g,)


def orthogonalize(g: Any, coefficients: tuple[float, float, float], steps: int, eps: float) -> Any:
    """About U V^T of a matrix U S V^T, by Newton and Schulz's iteration x = a x + b (x x^T) x + c (x x^T)^2 x.

    In the dtype of g. With Muon's coefficients the singular values end between 0.7 and 1.2 or so.
    """
    a, b, c = coefficients
    tall = g.shape[0] > g.shape[1]
    x = (g.T if tall else g) / max(norm(g.reshape(-1)), eps)
    for _ in range(steps):
        gram = x @ x.T
        x = a * x + (b * gram + c * (gram @ gram)) @ x
    return x.T if tall else x


class Muon(Optimizer):
    """Momentum, orthogonalised by Newton and Schulz, for matrices (Jordan et al. 2024); AdamW for all other parameters.

    Of a parameter with two axes: m = momentum m + (1 - momentum) g;  d = (1 - momentum) g + momentum m with nesterov,
    else m;  p = p - lr * weight_decay * p - lr * s * orthogonalize(d). s is sqrt(max(1, rows / columns)) for
    adjust_lr_fn "original", which None means, and 0.2 sqrt(max(rows, columns)) for "match_rms_adamw", with which rates
    tuned for AdamW can be kept. Parameters with another number of axes, and those of a group with use_muon=False, such
    as embeddings and the last layer, are AdamW's, with the group's lr and weight_decay, betas and adam_eps.

    Where PyTorch's iteration is in bfloat16, this one is in the parameters' own precision, at least float32.
    """

    slots = ("momentum_buffer", "exp_avg", "exp_avg_sq")

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1e-3,
        weight_decay: float = 0.1,
        momentum: float = 0.95,
        nesterov: bool = True,
        ns_coefficients: tuple[float, float, float] = (3.4445, -4.7750, 2.0315),
        eps: float = 1e-7,
        ns_steps: int = 5,
        adjust_lr_fn: str | None = None,
        use_muon: bool = True,
        betas: tuple[float, float] = (0.9, 0.999),
        adam_eps: float = 1e-8,
        maximize: bool = False,
    ) -> None:
        options = {"lr": lr, "weight_decay": weight_decay, "momentum": momentum, "nesterov": nesterov}
        iteration = {"ns_coefficients": ns_coefficients, "eps": eps, "ns_steps": ns_steps, "adjust_lr_fn": adjust_lr_fn}
        others = {"use_muon": use_muon, "betas": betas, "adam_eps": adam_eps, "maximize": maximize}
        super().__init__(params, {**options, **iteration, **others})

    def check(self, options: dict[str, Any]) -> None:
        positive("Muon", options, "lr", "weight_decay", "eps", "adam_eps", "ns_steps")
        for name, value in (("momentum", options["momentum"]), *(("betas", beta) for beta in options["betas"])):
            fraction("Muon", name, value)
        if options["adjust_lr_fn"] not in (None, "original", "match_rms_adamw"):
            raise ValueError(f"Muon: adjust_lr_fn is 'original' or 'match_rms_adamw'; got {options['adjust_lr_fn']!r}")
        if len(options["ns_coefficients"]) != 3:
            raise ValueError(f"Muon: ns_coefficients are three numbers; got {options['ns_coefficients']!r}")

    def slot_shape(self, slot: str, shape: tuple[int, ...], options: Mapping[str, Any]) -> tuple[int, ...]:
        return shape if (slot == "momentum_buffer") == _is_matrix(shape, options) else (0,)

    def update(self, stretch: Stretch) -> None:
        o = stretch.options
        last = (*unbiased(o, stretch.step), o["adam_eps"])
        for part in stretch.parts():
            if _is_matrix(part.shape, o):
                self._matrix(part)
            else:
                part.apply(adam, ("exp_avg", "exp_avg_sq"), *numbers(o, True), *last)

    def _matrix(self, part: Stretch) -> None:
        o = part.options
        rows, columns = part.shape
        if not rows * columns:
            return
        m, momentum = part["momentum_buffer"], o["momentum"]
        apply(blend, m, part.g, (), (momentum, 1.0 - momentum))
        d = (1.0 - momentum) * part.g + momentum * m if o["nesterov"] else m
        d = orthogonalize(d.reshape(part.shape), o["ns_coefficients"], o["ns_steps"], o["eps"])
        size = 0.2 * math.sqrt(max(rows, columns))
        if o["adjust_lr_fn"] != "match_rms_adamw":
            size = math.sqrt(max(1.0, rows / columns))
        xp, p = of(part.p).xp, part.p.reshape(part.shape)
        p *= 1.0 - o["lr"] * o["weight_decay"]
        p -= o["lr"] * size * xp.ascontiguousarray(d)


def _is_matrix(shape: tuple[int, ...], options: Mapping[str, Any]) -> bool:
    return len(shape) == 2 and options["use_muon"]
