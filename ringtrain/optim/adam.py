"""Adam and its relatives: a mean of the gradients over a root of the mean of their squares."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from .optimizer import Optimizer, fraction, positive
from .stretch import Stretch

__all__ = ["Adam", "AdamW", "Adamax", "NAdam", "RAdam"]

# m and v are the means of gradients and of their squares; b1, b2 their decays, c1 = 1 - b1, c2 = 1 - b2; shrink is what
# decoupled weight decay multiplies parameters by, decay what L2 adds of them to the gradient.


def adam(p: Any, g: Any, m: Any, v: Any, *n: float) -> Any:
    shrink, decay, b1, c1, b2, c2, rate, unbias, eps = n
    p = shrink * p
    g = g + decay * p
    m = b1 * m + c1 * g
    v = b2 * v + c2 * (g * g)
    return p - rate * (m / (np.sqrt(v) * unbias + eps)), m, v


def amsgrad(p: Any, g: Any, m: Any, v: Any, top: Any, *n: float) -> Any:
    shrink, decay, b1, c1, b2, c2, rate, unbias, eps = n
    p = shrink * p
    g = g + decay * p
    m = b1 * m + c1 * g
    v = b2 * v + c2 * (g * g)
    top = np.maximum(top, v)
    return p - rate * (m / (np.sqrt(top) * unbias + eps)), m, v, top


def nadam(p: Any, g: Any, m: Any, v: Any, *n: float) -> Any:
    shrink, decay, b1, c1, b2, c2, rate, unbias, eps, rate_of_g = n
    p = shrink * p
    g = g + decay * p
    m = b1 * m + c1 * g
    v = b2 * v + c2 * (g * g)
    return p - (rate_of_g * g + rate * m) / (np.sqrt(v) * unbias + eps), m, v


def unscaled(p: Any, g: Any, m: Any, v: Any, *n: float) -> Any:
    shrink, decay, b1, c1, b2, c2, rate = n
    p = shrink * p
    g = g + decay * p
    m = b1 * m + c1 * g
    v = b2 * v + c2 * (g * g)
    return p - rate * m, m, v


def adamax(p: Any, g: Any, m: Any, u: Any, *n: float) -> Any:
    shrink, decay, b1, c1, b2, rate, eps = n
    p = shrink * p
    g = g + decay * p
    m = b1 * m + c1 * g
    u = np.maximum(b2 * u, np.abs(g) + eps)
    return p - rate * (m / u), m, u


class _Moments(Optimizer):
    """What the family shares: options that are called the same, and weight decay of either kind."""

    slots: tuple[str, ...] = ("exp_avg", "exp_avg_sq")

    def check(self, options: dict[str, Any]) -> None:
        name = type(self).__name__
        positive(name, options, "lr", "eps", "weight_decay")
        if len(options["betas"]) != 2:
            raise ValueError(f"{name}: betas are two fractions; got {options['betas']!r}")
        for beta in options["betas"]:
            fraction(name, "betas", beta)

    def decoupled(self, options: Mapping[str, Any]) -> bool:
        """Whether weight decay shrinks the parameters directly instead of joining the gradient."""
        return options.get("decoupled_weight_decay", False)

    def _numbers(self, stretch: Stretch) -> tuple[float, ...]:
        return numbers(stretch.options, self.decoupled(stretch.options))


def numbers(options: Mapping[str, Any], decoupled: bool) -> tuple[float, ...]:
    """shrink, decay, b1, c1, b2, c2 of a group's options."""
    decay = options["weight_decay"]
    shrink, added = (1.0 - options["lr"] * decay, 0.0) if decoupled else (1.0, decay)
    b1, b2 = options["betas"]
    return shrink, added, b1, 1.0 - b1, b2, 1.0 - b2


def flushes(options: Mapping[str, Any]) -> bool:
    """Whether squares below the smallest normal number may count as zeros: beside this eps their roots are nothing."""
    return bool(options["eps"] >= 1e-10)


def unbiased(options: Mapping[str, Any], t: int) -> tuple[float, float]:
    """What m and the root of v are multiplied by for step t, for the zeros that they started from; lr included."""
    b1, b2 = options["betas"]
    return options["lr"] / (1.0 - b1**t), (1.0 - b2**t) ** -0.5


class Adam(_Moments):
    """Kingma and Ba 2015. weight_decay is added to the gradient; see AdamW for decay of its own.

    m = b1 m + (1 - b1) g;  v = b2 v + (1 - b2) g^2;  p = p - lr * m' / (sqrt(v') + eps), with m' = m / (1 - b1^t),
    v' = v / (1 - b2^t). amsgrad takes the largest v so far (Reddi et al. 2018).
    """

    slots = ("exp_avg", "exp_avg_sq", "max_exp_avg_sq")

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        amsgrad: bool = False,
        maximize: bool = False,
    ) -> None:
        options = {"lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay}
        super().__init__(params, {**options, "amsgrad": amsgrad, "maximize": maximize})

    def keeps(self, options: Mapping[str, Any]) -> tuple[str, ...]:
        return self.slots if options["amsgrad"] else self.slots[:2]

    def update(self, stretch: Stretch) -> None:
        o = stretch.options
        rule = amsgrad if o["amsgrad"] else adam
        given = *self._numbers(stretch), *unbiased(o, stretch.step), o["eps"]
        stretch.apply(rule, self.keeps(o), *given, flush=flushes(o))


class AdamW(Adam):
    """Adam whose weight decay shrinks the parameters by lr * weight_decay directly (Loshchilov and Hutter 2019)."""

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 1e-2,
        amsgrad: bool = False,
        maximize: bool = False,
    ) -> None:
        super().__init__(params, lr, betas, eps, weight_decay, amsgrad, maximize)

    def decoupled(self, options: Mapping[str, Any]) -> bool:
        return True


class Adamax(_Moments):
    """Adam by the largest gradient, which fades, instead of the mean square (Kingma and Ba 2015, section 7).

    u = max(b2 u, |g| + eps);  p = p - lr / (1 - b1^t) * m / u.
    """

    slots = ("exp_avg", "exp_inf")

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 2e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        maximize: bool = False,
    ) -> None:
        options = {"lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay}
        super().__init__(params, {**options, "maximize": maximize})

    def update(self, stretch: Stretch) -> None:
        o = stretch.options
        rate = o["lr"] / (1.0 - o["betas"][0] ** stretch.step)
        stretch.apply(adamax, self.slots, *self._numbers(stretch)[:5], rate, o["eps"], flush=flushes(o))


class NAdam(_Moments):
    """Adam with Nesterov's momentum (Dozat 2016), as PyTorch and MXNet have it.

    mu_t = b1 (1 - 0.96^(t * momentum_decay) / 2);  p = p - lr * ((1 - mu_t) / (1 - mu_1 ... mu_t) * g
    + mu_(t+1) / (1 - mu_1 ... mu_(t+1)) * m) / (sqrt(v') + eps).
    """

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 2e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        momentum_decay: float = 4e-3,
        decoupled_weight_decay: bool = False,
        maximize: bool = False,
    ) -> None:
        options = {"lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay, "maximize": maximize}
        self._products: dict[tuple[float, float], list[float]] = {}
        also = {"momentum_decay": momentum_decay, "decoupled_weight_decay": decoupled_weight_decay}
        super().__init__(params, {**options, **also})

    def check(self, options: dict[str, Any]) -> None:
        super().check(options)
        positive("NAdam", options, "momentum_decay")

    def _product(self, b1: float, decay: float, t: int) -> float:
        """mu_1 ... mu_t: a function of the step, so that nothing needs saving."""
        products = self._products.setdefault((b1, decay), [1.0])
        while len(products) <= t and products[-1] > 0:
            products.append(products[-1] * _mu(b1, decay, len(products)))
        return products[min(t, len(products) - 1)]

    def update(self, stretch: Stretch) -> None:
        o, t = stretch.options, stretch.step
        (b1, b2), lr, decay = o["betas"], o["lr"], o["momentum_decay"]
        rate_of_g = lr * (1.0 - _mu(b1, decay, t)) / (1.0 - self._product(b1, decay, t))
        rate = lr * _mu(b1, decay, t + 1) / (1.0 - self._product(b1, decay, t + 1))
        unbias = (1.0 - b2**t) ** -0.5
        stretch.apply(nadam, self.slots, *self._numbers(stretch), rate, unbias, o["eps"], rate_of_g, flush=flushes(o))


def _mu(b1: float, decay: float, t: int) -> float:
    return b1 * (1.0 - 0.5 * 0.96 ** (t * decay))


class RAdam(_Moments):
    """Adam that does without the mean square until that is known well enough (Liu et al. 2020).

    With n = 2 / (1 - b2) - 1 and n_t = n - 2 t b2^t / (1 - b2^t): while n_t <= 5 the step is lr * m'; afterwards it is
    lr * r_t * m' * sqrt(1 - b2^t) / (sqrt(v) + eps), r_t^2 = (n_t - 4)(n_t - 2) n / ((n - 4)(n - 2) n_t).
    """

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        decoupled_weight_decay: bool = False,
        maximize: bool = False,
    ) -> None:
        options = {"lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay, "maximize": maximize}
        super().__init__(params, {**options, "decoupled_weight_decay": decoupled_weight_decay})

    def update(self, stretch: Stretch) -> None:
        o, t = stretch.options, stretch.step
        b1, b2 = o["betas"]
        rate = o["lr"] / (1.0 - b1**t)
        longest = 2.0 / (1.0 - b2) - 1.0
        length = longest - 2.0 * t * b2**t / (1.0 - b2**t)
        if length <= 5.0:
            stretch.apply(unscaled, self.slots, *self._numbers(stretch), rate, flush=flushes(o))
            return
        known = (length - 4.0) * (length - 2.0) * longest / ((longest - 4.0) * (longest - 2.0) * length)
        rate *= (known * (1.0 - b2**t)) ** 0.5
        stretch.apply(adam, self.slots, *self._numbers(stretch), rate, 1.0, o["eps"], flush=flushes(o))
