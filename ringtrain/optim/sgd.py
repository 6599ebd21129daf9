"""Gradient descent: SGD with and without momentum, and Nesterov's."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from .optimizer import Optimizer, positive
from .stretch import Stretch

__all__ = ["NAG", "SGD"]


def plain(p: Any, g: Any, lr: float, decay: float) -> Any:
    return (p - lr * (g + decay * p),)


def heavy_ball(p: Any, g: Any, v: Any, lr: float, decay: float, momentum: float, scale: float) -> Any:
    v = momentum * v + scale * (g + decay * p)
    return p - lr * v, v


def nesterov(p: Any, g: Any, v: Any, lr: float, decay: float, momentum: float, scale: float) -> Any:
    g = scale * (g + decay * p)
    v = momentum * v + g
    return p - lr * (g + momentum * v), v


class SGD(Optimizer):
    """Stochastic gradient descent, as PyTorch and Sutskever et al. 2013 have it.

    g = gradient + weight_decay * p;  v = momentum * v + (1 - dampening) * g, v = g at the first step;
    p = p - lr * v, or p - lr * (g + momentum * v) with nesterov. Without momentum there is no v.
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
        maximize: bool = False,
    ) -> None:
        options = {"lr": lr, "momentum": momentum, "dampening": dampening, "weight_decay": weight_decay}
        super().__init__(params, {**options, "nesterov": nesterov, "maximize": maximize})

    def check(self, options: dict[str, Any]) -> None:
        positive(type(self).__name__, options, "lr", "momentum", "weight_decay")
        if options["nesterov"] and (options["momentum"] == 0 or options["dampening"] != 0):
            raise ValueError(f"{type(self).__name__}: nesterov needs a momentum above 0 and no dampening")

    def keeps(self, options: Mapping[str, Any]) -> tuple[str, ...]:
        return self.slots if options["momentum"] else ()

    def update(self, stretch: Stretch) -> None:
        descend(stretch)


def descend(stretch: Stretch, scale: float = 1.0) -> None:
    """SGD's step of a stretch, with gradient and weight decay multiplied by scale."""
    o = stretch.options
    if not o["momentum"]:
        stretch.apply(plain, (), o["lr"] * scale, o["weight_decay"])
        return
    keep = 1.0 - o["dampening"] if stretch.step > 1 else 1.0
    rule = nesterov if o["nesterov"] else heavy_ball
    numbers = o["lr"], o["weight_decay"], o["momentum"], keep * scale
    stretch.apply(rule, ("momentum_buffer",), *numbers, flush=True)


class NAG(SGD):
    """Nesterov's accelerated gradient: SGD with a momentum that looks ahead (Sutskever et al. 2013)."""

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 0.01,
        momentum: float = 0.9,
        weight_decay: float = 0.0,
        maximize: bool = False,
    ) -> None:
        super().__init__(params, lr, momentum, 0.0, weight_decay, True, maximize)
