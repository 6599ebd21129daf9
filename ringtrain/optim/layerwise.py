"""A rate of each parameter's own, by its norm and that of its step, for large batches: LARS and LAMB."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from .adam import Adam, numbers, unbiased
from .norm import norm
from .optimizer import positive
from .sgd import SGD, descend
from .stretch import Stretch, apply

__all__ = ["LAMB", "LARS"]


class LARS(SGD):
    """SGD with layer-wise rates (You et al. 2017), as MXNet has it.

    A parameter w of two or more axes takes SGD's step with lr * trust_coefficient * |w| / (|g| + weight_decay |w| +
    eps), |.| its Euclidean norm, g its gradient; with plain lr where either norm is 0. Biases and scales, of fewer
    axes, always take plain lr; so does a group whose trust_coefficient is 0, which is SGD.
    """

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 0.01,
        momentum: float = 0.9,
        weight_decay: float = 0.0,
        trust_coefficient: float = 0.001,
        eps: float = 0.0,
        dampening: float = 0.0,
        nesterov: bool = False,
        maximize: bool = False,
    ) -> None:
        options = {"lr": lr, "momentum": momentum, "dampening": dampening, "weight_decay": weight_decay}
        also = {"nesterov": nesterov, "maximize": maximize, "trust_coefficient": trust_coefficient, "eps": eps}
        super(SGD, self).__init__(params, {**options, **also})

    def check(self, options: dict[str, Any]) -> None:
        super().check(options)
        positive("LARS", options, "trust_coefficient", "eps")

    def update(self, stretch: Stretch) -> None:
        if not stretch.options["trust_coefficient"]:
            descend(stretch)
            return
        for part in stretch.parts():
            descend(part, self._trust(part) if len(part.shape) > 1 else 1.0)

    def _trust(self, part: Stretch) -> float:
        o = part.options
        weight, gradient = norm(part.p), norm(part.g)
        if weight == 0 or gradient == 0:
            return 1.0
        return o["trust_coefficient"] * weight / (gradient + o["weight_decay"] * weight + o["eps"])


def direction(d: Any, g: Any, m: Any, v: Any, p: Any, *n: float) -> Any:
    """Adam's step, and decay, for a rate of 1; d is only written."""
    decay, b1, c1, b2, c2, unbias_m, unbias_v, eps = n
    m = b1 * m + c1 * g
    v = b2 * v + c2 * (g * g)
    return unbias_m * m / (np.sqrt(v) * unbias_v + eps) + decay * p, m, v, p


def go(p: Any, d: Any, rate: float) -> Any:
    return (p - rate * d,)


class LAMB(Adam):
    """Adam with layer-wise rates (You et al. 2020, algorithm 2), as MXNet has it.

    d = m' / (sqrt(v') + eps) + weight_decay * p;  p = p - lr * |p| / |d| * d for each parameter, a ratio of 1 where
    either norm is 0. lower_bound and upper_bound clip |p|. bias_correction=False leaves m and v as they are.
    """

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-6,
        weight_decay: float = 0.0,
        lower_bound: float | None = None,
        upper_bound: float | None = None,
        bias_correction: bool = True,
        maximize: bool = False,
    ) -> None:
        options = {"lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay, "maximize": maximize}
        bounds = {"lower_bound": lower_bound, "upper_bound": upper_bound, "bias_correction": bias_correction}
        super(Adam, self).__init__(params, {**options, **bounds})

    def check(self, options: dict[str, Any]) -> None:
        super().check(options)
        positive("LAMB", options, *(b for b in ("lower_bound", "upper_bound") if options[b] is not None))

    def keeps(self, options: Mapping[str, Any]) -> tuple[str, ...]:
        return self.slots[:2]

    def update(self, stretch: Stretch) -> None:
        o = stretch.options
        unbias = unbiased({**o, "lr": 1.0}, stretch.step) if o["bias_correction"] else (1.0, 1.0)
        n = (o["weight_decay"], *numbers(o, False)[2:], *unbias, o["eps"])
        for part in stretch.parts():
            d = part.bucket.scratch(part.p.size)
            apply(direction, d, part.g, (part["exp_avg"], part["exp_avg_sq"], part.p), n)
            apply(go, part.p, d, (), (o["lr"] * self._trust(part, d),))

    def _trust(self, part: Stretch, d: Any) -> float:
        o = part.options
        weight, length = norm(part.p), norm(d)
        weight = weight if o["lower_bound"] is None else max(weight, o["lower_bound"])
        weight = weight if o["upper_bound"] is None else min(weight, o["upper_bound"])
        return weight / length if weight and length else 1.0
