"""Steps by the sign of a gradient: Lion and Rprop."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from .optimizer import Optimizer, fraction, positive
from .stretch import Stretch

__all__ = ["Lion", "Rprop"]


def lion(p: Any, g: Any, m: Any, *n: float) -> Any:
    lr, shrink, b1, c1, b2, c2 = n
    return shrink * p - lr * np.sign(b1 * m + c1 * g), b2 * m + c2 * g


def rprop(p: Any, g: Any, before: Any, size: Any, *n: float) -> Any:
    shorter, longer, least, most, zero = n
    agree = g * before
    size = np.where(agree > zero, size * longer, np.where(agree < zero, size * shorter, size))
    size = np.minimum(np.maximum(size, least), most)
    g = np.where(agree < zero, zero * g, g)
    return p - np.sign(g) * size, g, size


class Lion(Optimizer):
    """Chen et al. 2023. Wants a rate 3 to 10 times smaller than AdamW's, and a weight decay as much larger.

    p = p - lr * (sign(b1 m + (1 - b1) g) + weight_decay * p);  m = b2 m + (1 - b2) g.
    """

    slots = ("exp_avg",)

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1e-4,
        betas: tuple[float, float] = (0.9, 0.99),
        weight_decay: float = 0.0,
        maximize: bool = False,
    ) -> None:
        super().__init__(params, {"lr": lr, "betas": betas, "weight_decay": weight_decay, "maximize": maximize})

    def check(self, options: dict[str, Any]) -> None:
        positive("Lion", options, "lr", "weight_decay")
        if len(options["betas"]) != 2:
            raise ValueError(f"Lion: betas are two fractions; got {options['betas']!r}")
        for beta in options["betas"]:
            fraction("Lion", "betas", beta)

    def update(self, stretch: Stretch) -> None:
        o = stretch.options
        b1, b2 = o["betas"]
        shrink = 1.0 - o["lr"] * o["weight_decay"]
        stretch.apply(lion, self.slots, o["lr"], shrink, b1, 1.0 - b1, b2, 1.0 - b2)


class Rprop(Optimizer):
    """Resilient propagation, for gradients of the whole data set (Riedmiller and Braun 1993; PyTorch's variant).

    Each element has a step size: it grows by etas[1] where the gradient keeps its sign, shrinks by etas[0] where it
    turns (and the element rests for that step), and stays within step_sizes. lr is the first one.
    """

    slots = ("prev", "step_size")

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 0.01,
        etas: tuple[float, float] = (0.5, 1.2),
        step_sizes: tuple[float, float] = (1e-6, 50.0),
        maximize: bool = False,
    ) -> None:
        super().__init__(params, {"lr": lr, "etas": etas, "step_sizes": step_sizes, "maximize": maximize})

    def check(self, options: dict[str, Any]) -> None:
        positive("Rprop", options, "lr")
        shorter, longer = options["etas"]
        if not 0.0 < shorter < 1.0 < longer:
            raise ValueError(f"Rprop: etas are one number in (0, 1) and one above 1; got {options['etas']!r}")
        least, most = options["step_sizes"]
        if not 0.0 <= least <= most:
            raise ValueError(f"Rprop: step_sizes are the least and the largest; got {options['step_sizes']!r}")

    def update(self, stretch: Stretch) -> None:
        o = stretch.options
        if stretch.step == 1:
            stretch["step_size"][...] = o["lr"]
        stretch.apply(rprop, self.slots, *o["etas"], *o["step_sizes"], 0.0)
