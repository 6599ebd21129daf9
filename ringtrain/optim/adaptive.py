"""Rates of each element's own: RMSprop, Adagrad, Adadelta, and Ftrl, which makes parameters sparse."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from .optimizer import Optimizer, fraction, positive
from .stretch import Stretch

__all__ = ["Adadelta", "Adagrad", "Ftrl", "RMSprop"]


def rmsprop(p: Any, g: Any, v: Any, lr: float, decay: float, a: float, b: float, eps: float) -> Any:
    g = g + decay * p
    v = a * v + b * (g * g)
    return p - lr * (g / (np.sqrt(v) + eps)), v


def rmsprop_momentum(p: Any, g: Any, v: Any, buffer: Any, *n: float) -> Any:
    lr, decay, a, b, eps, momentum = n
    g = g + decay * p
    v = a * v + b * (g * g)
    buffer = momentum * buffer + g / (np.sqrt(v) + eps)
    return p - lr * buffer, v, buffer


def centered(p: Any, g: Any, v: Any, mean: Any, *n: float) -> Any:
    lr, decay, a, b, eps, zero = n
    g = g + decay * p
    v = a * v + b * (g * g)
    mean = mean + b * (g - mean)
    spread = np.maximum(v - mean * mean, zero)  # a variance, but for rounding
    return p - lr * (g / (np.sqrt(spread) + eps)), v, mean


def centered_momentum(p: Any, g: Any, v: Any, mean: Any, buffer: Any, *n: float) -> Any:
    lr, decay, a, b, eps, zero, momentum = n
    g = g + decay * p
    v = a * v + b * (g * g)
    mean = mean + b * (g - mean)
    spread = np.maximum(v - mean * mean, zero)
    buffer = momentum * buffer + g / (np.sqrt(spread) + eps)
    return p - lr * buffer, v, mean, buffer


def adagrad(p: Any, g: Any, total: Any, lr: float, decay: float, eps: float) -> Any:
    g = g + decay * p
    total = total + g * g
    return p - lr * (g / (np.sqrt(total) + eps)), total


def adadelta(p: Any, g: Any, v: Any, moved: Any, *n: float) -> Any:
    lr, decay, a, b, eps = n
    g = g + decay * p
    v = a * v + b * (g * g)
    change = np.sqrt(moved + eps) / np.sqrt(v + eps) * g
    return p - lr * change, v, a * moved + b * (change * change)


def ftrl(p: Any, g: Any, z: Any, n: Any, *numbers: float) -> Any:
    per_lr, l1, beta, decay, zero = numbers
    total = n + g * g
    z = z + g - (np.sqrt(total) - np.sqrt(n)) * per_lr * p
    beyond = np.maximum(np.abs(z) - l1, zero)
    return -np.sign(z) * beyond / ((beta + np.sqrt(total)) * per_lr + decay), z, total


class RMSprop(Optimizer):
    """Hinton's lecture 6e, with PyTorch's options.

    v = alpha v + (1 - alpha) g^2;  p = p - lr * g / (sqrt(v) + eps), or the momentum of these steps. centered takes the
    square of the mean gradient off v.
    """

    slots = ("square_avg", "grad_avg", "momentum_buffer")

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 0.01,
        alpha: float = 0.99,
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        momentum: float = 0.0,
        centered: bool = False,
        maximize: bool = False,
    ) -> None:
        options = {"lr": lr, "alpha": alpha, "eps": eps, "weight_decay": weight_decay}
        super().__init__(params, {**options, "momentum": momentum, "centered": centered, "maximize": maximize})

    def check(self, options: dict[str, Any]) -> None:
        positive("RMSprop", options, "lr", "eps", "weight_decay", "momentum")
        fraction("RMSprop", "alpha", options["alpha"])

    def keeps(self, options: Mapping[str, Any]) -> tuple[str, ...]:
        wanted = {"square_avg": True, "grad_avg": options["centered"], "momentum_buffer": options["momentum"]}
        return tuple(slot for slot in self.slots if wanted[slot])

    def update(self, stretch: Stretch) -> None:
        o = stretch.options
        numbers = (o["lr"], o["weight_decay"], o["alpha"], 1.0 - o["alpha"], o["eps"])
        numbers += (0.0,) if o["centered"] else ()
        if o["momentum"]:
            rule: Any = centered_momentum if o["centered"] else rmsprop_momentum
            stretch.apply(rule, self.keeps(o), *numbers, o["momentum"])
        else:
            stretch.apply(centered if o["centered"] else rmsprop, self.keeps(o), *numbers)


class Adagrad(Optimizer):
    """Duchi et al. 2011.

    s = s + g^2, from initial_accumulator_value;  p = p - lr / (1 + (t - 1) lr_decay) * g / (sqrt(s) + eps).
    """

    slots = ("sum",)

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 0.01,
        lr_decay: float = 0.0,
        weight_decay: float = 0.0,
        initial_accumulator_value: float = 0.0,
        eps: float = 1e-10,
        maximize: bool = False,
    ) -> None:
        options = {"lr": lr, "lr_decay": lr_decay, "weight_decay": weight_decay, "eps": eps, "maximize": maximize}
        super().__init__(params, {**options, "initial_accumulator_value": initial_accumulator_value})

    def check(self, options: dict[str, Any]) -> None:
        positive("Adagrad", options, "lr", "lr_decay", "weight_decay", "initial_accumulator_value", "eps")

    def update(self, stretch: Stretch) -> None:
        o = stretch.options
        if stretch.step == 1:
            stretch["sum"][...] = o["initial_accumulator_value"]
        rate = o["lr"] / (1.0 + (stretch.step - 1) * o["lr_decay"])
        stretch.apply(adagrad, self.slots, rate, o["weight_decay"], o["eps"])


class Adadelta(Optimizer):
    """Zeiler 2012: steps in the parameters' own units.

    v = rho v + (1 - rho) g^2;  d = sqrt(u + eps) / sqrt(v + eps) * g;  u = rho u + (1 - rho) d^2;  p = p - lr * d.
    """

    slots = ("square_avg", "acc_delta")

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1.0,
        rho: float = 0.9,
        eps: float = 1e-6,
        weight_decay: float = 0.0,
        maximize: bool = False,
    ) -> None:
        options = {"lr": lr, "rho": rho, "eps": eps, "weight_decay": weight_decay, "maximize": maximize}
        super().__init__(params, options)

    def check(self, options: dict[str, Any]) -> None:
        positive("Adadelta", options, "lr", "eps", "weight_decay")
        fraction("Adadelta", "rho", options["rho"])

    def update(self, stretch: Stretch) -> None:
        o = stretch.options
        stretch.apply(adadelta, self.slots, o["lr"], o["weight_decay"], o["rho"], 1.0 - o["rho"], o["eps"])


class Ftrl(Optimizer):
    """Follow the regularised leader, by coordinate (McMahan et al. 2013, algorithm 1), as MXNet has it.

    z = z + g - (sqrt(n + g^2) - sqrt(n)) / lr * p;  n = n + g^2;
    p = -sign(z) max(|z| - l1, 0) / ((beta + sqrt(n)) / lr + weight_decay).

    l1 makes parameters exactly 0; weight_decay is the paper's lambda_2. What parameters were before the first step
    counts through z alone.
    """

    slots = ("z", "n")

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 0.1,
        l1: float = 0.01,
        beta: float = 1.0,
        weight_decay: float = 0.0,
        maximize: bool = False,
    ) -> None:
        options = {"lr": lr, "l1": l1, "beta": beta, "weight_decay": weight_decay, "maximize": maximize}
        super().__init__(params, options)

    def check(self, options: dict[str, Any]) -> None:
        positive("Ftrl", options, "lr", "l1", "beta", "weight_decay")
        if options["lr"] == 0:
            raise ValueError("Ftrl: lr must be above 0, since it divides")

    def update(self, stretch: Stretch) -> None:
        o = stretch.options
        self.check(o)  # a schedule may have made the rate 0
        stretch.apply(ftrl, self.slots, 1.0 / o["lr"], o["l1"], o["beta"], o["weight_decay"], 0.0)
