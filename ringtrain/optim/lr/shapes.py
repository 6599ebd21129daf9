"""Schedules that fall, or rise, once. n is the number of steps so far; formulas and defaults are PyTorch's."""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from .schedule import Schedule, each, fractions, whole

__all__ = [
    "ConstantLR",
    "CosineAnnealingLR",
    "ExponentialLR",
    "LambdaLR",
    "LinearLR",
    "MultiStepLR",
    "MultiplicativeLR",
    "PolynomialLR",
    "StepLR",
    "WarmupCosine",
]


class StepLR(Schedule):
    """gamma^(n // step_size): by gamma every step_size steps."""

    def __init__(self, optimizer: Any, step_size: int, gamma: float = 0.1) -> None:
        whole("StepLR", 1, step_size=step_size)
        self.step_size, self.gamma = step_size, gamma
        super().__init__(optimizer)

    def factor(self, step: int) -> float:
        return self.gamma ** (step // self.step_size)


class MultiStepLR(Schedule):
    """By gamma at each milestone, a number of steps; a milestone given twice counts twice."""

    def __init__(self, optimizer: Any, milestones: Iterable[int], gamma: float = 0.1) -> None:
        self.milestones, self.gamma = sorted(milestones), gamma
        for milestone in self.milestones:
            whole("MultiStepLR", 0, milestone=milestone)
        super().__init__(optimizer)

    def factor(self, step: int) -> float:
        return self.gamma ** bisect_right(self.milestones, step)


class ExponentialLR(Schedule):
    """gamma^n."""

    def __init__(self, optimizer: Any, gamma: float) -> None:
        self.gamma = gamma
        super().__init__(optimizer)

    def factor(self, step: int) -> float:
        return self.gamma**step


class ConstantLR(Schedule):
    """factor for the first total_iters steps, then 1."""

    def __init__(self, optimizer: Any, factor: float = 1.0 / 3, total_iters: int = 5) -> None:
        whole("ConstantLR", 0, total_iters=total_iters)
        fractions("ConstantLR", factor=factor)
        self.start, self.total_iters = factor, total_iters
        super().__init__(optimizer)

    def factor(self, step: int) -> float:
        return self.start if step < self.total_iters else 1.0


class LinearLR(Schedule):
    """A straight line from start_factor to end_factor over total_iters steps, then end_factor."""

    def __init__(
        self, optimizer: Any, start_factor: float = 1.0 / 3, end_factor: float = 1.0, total_iters: int = 5
    ) -> None:
        whole("LinearLR", 1, total_iters=total_iters)
        fractions("LinearLR", start_factor=start_factor, end_factor=end_factor)
        self.start, self.end, self.total_iters = start_factor, end_factor, total_iters
        super().__init__(optimizer)

    def factor(self, step: int) -> float:
        return self.start + (self.end - self.start) * min(step, self.total_iters) / self.total_iters


class PolynomialLR(Schedule):
    """(1 - n / total_iters)^power, then 0."""

    def __init__(self, optimizer: Any, total_iters: int = 5, power: float = 1.0) -> None:
        whole("PolynomialLR", 1, total_iters=total_iters)
        self.total_iters, self.power = total_iters, power
        super().__init__(optimizer)

    def factor(self, step: int) -> float:
        return (1.0 - min(step, self.total_iters) / self.total_iters) ** self.power


class CosineAnnealingLR(Schedule):
    """Half a cosine from the initial rate to eta_min over T_max steps (Loshchilov and Hutter 2017).

    eta_min + (base - eta_min) (1 + cos(pi n / T_max)) / 2. It rises again after T_max steps, as PyTorch's does.
    """

    def __init__(self, optimizer: Any, T_max: int, eta_min: float = 0.0) -> None:
        whole("CosineAnnealingLR", 1, T_max=T_max)
        self.T_max, self.eta_min = T_max, eta_min
        super().__init__(optimizer)

    def rate(self, base: float, step: int, group: int) -> float:
        return self.eta_min + (base - self.eta_min) * (1.0 + math.cos(math.pi * step / self.T_max)) / 2.0


class LambdaLR(Schedule):
    """A function of n of the user's own: one for all groups, or one for each. It is not saved."""

    def __init__(self, optimizer: Any, lr_lambda: Callable[[int], float] | Sequence[Callable[[int], float]]) -> None:
        self.functions = each("LambdaLR: lr_lambda", lr_lambda, optimizer)
        super().__init__(optimizer)

    def rate(self, base: float, step: int, group: int) -> float:
        return base * self.functions[group](step)


class MultiplicativeLR(Schedule):
    """The product of the user's function at 1, 2, ... n: one for all groups, or one for each. It is not saved."""

    def __init__(self, optimizer: Any, lr_lambda: Callable[[int], float] | Sequence[Callable[[int], float]]) -> None:
        self.functions = each("MultiplicativeLR: lr_lambda", lr_lambda, optimizer)
        self._products: list[list[float]] = [[1.0] for _ in self.functions]  # of each group after 0, 1, ... steps
        super().__init__(optimizer)

    def rate(self, base: float, step: int, group: int) -> float:
        products = self._products[group]
        while len(products) <= step:
            products.append(products[-1] * self.functions[group](len(products)))
        return base * products[step]


class WarmupCosine(Schedule):
    """A straight rise over `warmup` steps, then half a cosine down to `final` at step `total` and after.

    The rise follows Goyal et al. 2017, the cosine Loshchilov and Hutter 2017. The first step already has 1 / warmup of
    the rate, step number `warmup` has all of it. `final` is a fraction of the initial rate.
    """

    def __init__(self, optimizer: Any, warmup: int, total: int, final: float = 0.0) -> None:
        if not 0 <= warmup <= total or total < 1:
            raise ValueError(f"WarmupCosine wants 0 <= warmup <= total, total >= 1; got {warmup} and {total}")
        self.warmup, self.total, self.final = warmup, total, final
        super().__init__(optimizer)

    def factor(self, step: int) -> float:
        if step < self.warmup:
            return (step + 1) / self.warmup
        done = (step - self.warmup) / (self.total - self.warmup) if step < self.total else 1.0
        return self.final + (1.0 - self.final) * 0.5 * (1.0 + math.cos(math.pi * done))
