"""Schedules that go up and down: restarts, cycles, one cycle. Formulas and defaults are PyTorch's."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from .schedule import Schedule, each, fractions, has_momentum, whole

__all__ = ["CosineAnnealingWarmRestarts", "CyclicLR", "OneCycleLR"]


class CosineAnnealingWarmRestarts(Schedule):
    """Half cosines down to eta_min, the first over T_0 steps, each T_mult times as long as the one before.

    Loshchilov and Hutter 2017 (SGDR).
    """

    def __init__(self, optimizer: Any, T_0: int, T_mult: int = 1, eta_min: float = 0.0) -> None:
        whole("CosineAnnealingWarmRestarts", 1, T_0=T_0, T_mult=T_mult)
        self.T_0, self.T_mult, self.eta_min = T_0, T_mult, eta_min
        super().__init__(optimizer)

    def rate(self, base: float, step: int, group: int) -> float:
        length = self.T_0
        if self.T_mult == 1:
            step %= length
        while step >= length:
            step, length = step - length, length * self.T_mult
        return self.eta_min + (base - self.eta_min) * (1.0 + math.cos(math.pi * step / length)) / 2.0


class _MomentumToo(Schedule):
    """Momentum moves against the rate: where that is largest, the momentum is base_momentum."""

    def __init__(self, optimizer: Any, cycle_momentum: bool, base_momentum: Any, max_momentum: Any) -> None:
        name = type(self).__name__
        if cycle_momentum and not has_momentum(optimizer):
            raise ValueError(f"{name}: a group has neither momentum nor betas; pass cycle_momentum=False")
        self.cycle_momentum = cycle_momentum
        self.base_momentum = each(f"{name}: base_momentum", base_momentum, optimizer)
        self.max_momentum = each(f"{name}: max_momentum", max_momentum, optimizer)
        super().__init__(optimizer)


class CyclicLR(_MomentumToo):
    """Straight lines from base_lr to max_lr over step_size_up steps and back over step_size_down (Smith 2017).

    mode "triangular" keeps the height, "triangular2" halves it each cycle, "exp_range" multiplies it by gamma^n.
    scale_fn, a function of the cycle's number from 1 on (scale_mode "cycle") or of n ("iterations"), multiplies the
    height instead of the mode; it is not saved. base_lr and max_lr are rates, one or one for each group; the groups'
    own are not used.
    """

    def __init__(
        self,
        optimizer: Any,
        base_lr: Any,
        max_lr: Any,
        step_size_up: int = 2000,
        step_size_down: int | None = None,
        mode: str = "triangular",
        gamma: float = 1.0,
        scale_fn: Callable[[int], float] | None = None,
        scale_mode: str = "cycle",
        cycle_momentum: bool = True,
        base_momentum: Any = 0.8,
        max_momentum: Any = 0.9,
    ) -> None:
        whole("CyclicLR", 1, step_size_up=step_size_up, step_size_down=step_size_down or step_size_up)
        if mode not in ("triangular", "triangular2", "exp_range"):
            raise ValueError(f"CyclicLR: mode is 'triangular', 'triangular2' or 'exp_range'; got {mode!r}")
        if scale_mode not in ("cycle", "iterations"):
            raise ValueError(f"CyclicLR: scale_mode is 'cycle' or 'iterations'; got {scale_mode!r}")
        self.base_lr = each("CyclicLR: base_lr", base_lr, optimizer)
        self.max_lr = each("CyclicLR: max_lr", max_lr, optimizer)
        self.up, self.total = step_size_up, step_size_up + (step_size_down or step_size_up)
        self.mode, self.gamma, self.scale_fn, self.scale_mode = mode, gamma, scale_fn, scale_mode
        super().__init__(optimizer, cycle_momentum, base_momentum, max_momentum)

    def _height(self, step: int) -> float:
        """Where in [0, 1] of the way up the rate is."""
        cycle, place = divmod(step, self.total)
        height = place / self.up if place <= self.up else (self.total - place) / (self.total - self.up)
        if self.scale_fn is not None:
            return height * self.scale_fn(cycle + 1 if self.scale_mode == "cycle" else step)
        scales = {"triangular": 1.0, "triangular2": 0.5**cycle, "exp_range": self.gamma**step}
        return height * scales[self.mode]

    def rate(self, base: float, step: int, group: int) -> float:
        return self.base_lr[group] + (self.max_lr[group] - self.base_lr[group]) * self._height(step)

    def momentum(self, step: int, group: int) -> float | None:
        low, high = self.base_momentum[group], self.max_momentum[group]
        return high - (high - low) * self._height(step) if self.cycle_momentum else None


class OneCycleLR(_MomentumToo):
    """From max_lr / div_factor up to max_lr, and down to that start / final_div_factor (Smith and Topin 2018).

    The first phase takes pct_start of total_steps (or of epochs * steps_per_epoch); three_phase comes down as far as
    the start in as many steps first. anneal_strategy is "cos" or "linear". A step beyond the last raises ValueError.
    """

    def __init__(
        self,
        optimizer: Any,
        max_lr: Any,
        total_steps: int | None = None,
        epochs: int | None = None,
        steps_per_epoch: int | None = None,
        pct_start: float = 0.3,
        anneal_strategy: str = "cos",
        cycle_momentum: bool = True,
        base_momentum: Any = 0.85,
        max_momentum: Any = 0.95,
        div_factor: float = 25.0,
        final_div_factor: float = 1e4,
        three_phase: bool = False,
    ) -> None:
        if total_steps is None:
            if epochs is None or steps_per_epoch is None:
                raise ValueError("OneCycleLR wants total_steps, or epochs and steps_per_epoch")
            whole("OneCycleLR", 1, epochs=epochs, steps_per_epoch=steps_per_epoch)
            total_steps = epochs * steps_per_epoch
        whole("OneCycleLR", 1, total_steps=total_steps)
        fractions("OneCycleLR", pct_start=pct_start)
        if anneal_strategy not in ("cos", "linear"):
            raise ValueError(f"OneCycleLR: anneal_strategy is 'cos' or 'linear'; got {anneal_strategy!r}")
        self.total, self.strategy = total_steps, anneal_strategy
        self.max_lr = each("OneCycleLR: max_lr", max_lr, optimizer)
        self.div, self.final_div = div_factor, final_div_factor
        # (last step, where the rate ends: 1 is max_lr, 0 the start, -1 the end)
        up, last = pct_start * total_steps - 1.0, total_steps - 1.0
        self.phases = [(up, 1), (2.0 * up, 0), (last, -1)] if three_phase else [(up, 1), (last, -1)]
        super().__init__(optimizer, cycle_momentum, base_momentum, max_momentum)

    def _between(self, step: int) -> tuple[int, int, float]:
        """The phase's start and end, as in `phases`, and how much of it is done."""
        if step > self.total:
            raise ValueError(f"OneCycleLR: step {step} is beyond the {self.total} that it was made for")
        before, start = 0.0, 0
        for i, (last, end) in enumerate(self.phases):
            if step <= last or i == len(self.phases) - 1:
                break
            before, start = last, end
        return start, end, (step - before) / (last - before) if last != before else 1.0

    def _anneal(self, start: float, end: float, done: float) -> float:
        if self.strategy == "linear":
            return start + (end - start) * done
        return end + (start - end) / 2.0 * (1.0 + math.cos(math.pi * done))

    def rate(self, base: float, step: int, group: int) -> float:
        high = self.max_lr[group]
        rates = {1: high, 0: high / self.div, -1: high / self.div / self.final_div}
        start, end, done = self._between(step)
        return self._anneal(rates[start], rates[end], done)

    def momentum(self, step: int, group: int) -> float | None:
        if not self.cycle_momentum:
            return None
        low, high = self.base_momentum[group], self.max_momentum[group]
        start, end, done = self._between(step)
        return self._anneal(low if start == 1 else high, low if end == 1 else high, done)
