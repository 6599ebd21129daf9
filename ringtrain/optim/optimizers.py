"""The optimisers. Each is given twice: over `xp`, its definition, and as a fused kernel where the backend has one."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from ..backend import of
from .optimizer import Optimizer, fraction, positive

__all__ = ["SGD", "Adam", "AdamW", "RMSprop"]


class SGD(Optimizer):
    """Stochastic gradient descent, as PyTorch and Sutskever et al. 2013 have it.

    g = gradient + weight_decay * p;  v = momentum * v + (1 - dampening) * g, v = g at the first step;
    p = p - lr * v, or p - lr * (g + momentum * v) with nesterov.
    """

    slots = ("momentum_buffer",)

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 0.01,
        momentum: float = 0.0,
        dampening: float = 0.0,
        weight_decay: float = 0.0,
        nesterov: bool = False,
    ) -> None:
        options = {"lr": lr, "momentum": momentum, "dampening": dampening}
        super().__init__(params, {**options, "weight_decay": weight_decay, "nesterov": nesterov})

    def check(self, options: dict[str, Any]) -> None:
        positive("SGD", options, "lr", "momentum", "weight_decay")
        if options["nesterov"] and (options["momentum"] == 0 or options["dampening"] != 0):
            raise ValueError("SGD: nesterov needs a momentum above 0 and no dampening")

    def update(self, p: Any, g: Any, state: Mapping[str, Any], options: Mapping[str, Any], step: int) -> None:
        o = options
        kernel = of(p).kernel("sgd")
        arguments = (o["lr"], o["momentum"], o["dampening"] if step > 1 else 0.0, o["weight_decay"], o["nesterov"])
        (kernel if kernel and kernel.accepts(p) else sgd)(p, g, state["momentum_buffer"], *arguments)


def sgd(p: Any, g: Any, v: Any, lr: float, momentum: float, dampening: float, decay: float, nesterov: bool) -> None:
    """One step over flat arrays; the dampening of the first step is 0."""
    if decay:
        g = g + decay * p
    if momentum:
        v *= momentum
        v += (1.0 - dampening) * g
        g = g + momentum * v if nesterov else v
    p -= lr * g


class Adam(Optimizer):
    """Kingma and Ba 2015. weight_decay is added to the gradient; see AdamW for decay of its own.

    m = b1 m + (1 - b1) g;  v = b2 v + (1 - b2) g^2;  p = p - lr * m' / (sqrt(v') + eps), with m' = m / (1 - b1^t),
    v' = v / (1 - b2^t).
    """

    slots = ("exp_avg", "exp_avg_sq")
    decoupled = False

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
    ) -> None:
        super().__init__(params, {"lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay})

    def check(self, options: dict[str, Any]) -> None:
        positive(type(self).__name__, options, "lr", "eps", "weight_decay")
        if len(options["betas"]) != 2:
            raise ValueError(f"{type(self).__name__}: betas are two fractions; got {options['betas']!r}")
        for beta in options["betas"]:
            fraction(type(self).__name__, "betas", beta)

    def update(self, p: Any, g: Any, state: Mapping[str, Any], options: Mapping[str, Any], step: int) -> None:
        o = options
        b1, b2 = o["betas"]
        m, v = state["exp_avg"], state["exp_avg_sq"]
        rate, root = o["lr"] / (1.0 - b1**step), (1.0 - b2**step) ** 0.5
        kernel = of(p).kernel("adam")
        run = kernel if kernel and kernel.accepts(p) else adam
        run(p, g, m, v, o["lr"], b1, b2, o["eps"], o["weight_decay"], self.decoupled, rate, root)


def adam(
    p: Any,
    g: Any,
    m: Any,
    v: Any,
    lr: float,
    b1: float,
    b2: float,
    eps: float,
    decay: float,
    decoupled: bool,
    rate: float,
    root: float,
) -> None:
    """One step over flat arrays; rate = lr / (1 - b1^t), root = sqrt(1 - b2^t)."""
    if decay and decoupled:
        p *= 1.0 - lr * decay
    elif decay:
        g = g + decay * p
    m *= b1
    m += (1.0 - b1) * g
    v *= b2
    v += (1.0 - b2) * (g * g)
    p -= rate * m / (v**0.5 / root + eps)


class AdamW(Adam):
    """Adam whose weight decay shrinks the parameters by lr * weight_decay directly (Loshchilov and Hutter 2019)."""

    decoupled = True

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 1e-2,
    ) -> None:
        super().__init__(params, lr, betas, eps, weight_decay)


class RMSprop(Optimizer):
    """Hinton's lecture 6e, with PyTorch's options.

    v = alpha v + (1 - alpha) g^2;  p = p - lr * g / (sqrt(v) + eps), or the momentum of these steps. centered takes the
    square of the mean gradient off v.
    """

    slots = ("square_avg", "momentum_buffer", "grad_avg")

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 0.01,
        alpha: float = 0.99,
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        momentum: float = 0.0,
        centered: bool = False,
    ) -> None:
        options = {"lr": lr, "alpha": alpha, "eps": eps, "weight_decay": weight_decay}
        super().__init__(params, {**options, "momentum": momentum, "centered": centered})

    def check(self, options: dict[str, Any]) -> None:
        positive("RMSprop", options, "lr", "eps", "weight_decay", "momentum")
        fraction("RMSprop", "alpha", options["alpha"])

    def update(self, p: Any, g: Any, state: Mapping[str, Any], options: Mapping[str, Any], step: int) -> None:
        o = options
        v, buffer, mean = (state[slot] for slot in self.slots)
        if o["weight_decay"]:
            g = g + o["weight_decay"] * p
        v *= o["alpha"]
        v += (1.0 - o["alpha"]) * (g * g)
        spread = v
        if o["centered"]:
            mean += (1.0 - o["alpha"]) * (g - mean)
            spread = (v - mean * mean).clip(0)  # a variance, but for rounding
        change = g / (spread**0.5 + o["eps"])
        if o["momentum"]:
            buffer *= o["momentum"]
            buffer += change
            change = buffer
        p -= o["lr"] * change
