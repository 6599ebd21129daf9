"""Schedules made of schedules. Only the outer one is stepped; the inner ones give their functions."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from typing import Any

from .schedule import Schedule, whole

__all__ = ["ChainedScheduler", "SequentialLR", "Warmup"]


class Warmup(Schedule):
    """A straight rise over `steps` steps, then another schedule from its beginning.

    With start=None the first step has 1 / steps of the rate that the other begins with (Goyal et al. 2017); otherwise
    it has the fraction `start` of it, and step number `steps` is the first with all.

        schedule = lr.Warmup(lr.StepLR(optimizer, 30), steps=5)
    """

    def __init__(self, schedule: Schedule, steps: int, start: float | None = None) -> None:
        whole("Warmup", 0, steps=steps)
        if start is not None and not start >= 0:
            raise ValueError(f"Warmup: start must be >= 0; got {start!r}")
        self.inner, self.steps, self.start = schedule, steps, start
        super().__init__(schedule.optimizer)

    def rate(self, base: float, step: int, group: int) -> float:
        if step >= self.steps:
            return self.inner.rate(base, step - self.steps, group)
        part = (step + 1) / self.steps if self.start is None else self.start + (1 - self.start) * step / self.steps
        return self.inner.rate(base, 0, group) * part

    def momentum(self, step: int, group: int) -> float | None:
        return self.inner.momentum(max(0, step - self.steps), group)


class SequentialLR(Schedule):
    """One schedule after another: number i begins, at its step 0, when milestones[i - 1] steps have been made."""

    def __init__(self, optimizer: Any, schedulers: Sequence[Schedule], milestones: Sequence[int]) -> None:
        _same_optimizer("SequentialLR", schedulers, optimizer)
        if len(milestones) != len(schedulers) - 1 or sorted(set(milestones)) != list(milestones):
            raise ValueError(
                f"SequentialLR: {len(schedulers)} schedules want {len(schedulers) - 1} milestones that rise; "
                f"got {list(milestones)}"
            )
        self.schedulers, self.milestones = list(schedulers), list(milestones)
        super().__init__(optimizer)

    def _at(self, step: int) -> tuple[Schedule, int]:
        i = bisect_right(self.milestones, step)
        return self.schedulers[i], step - (self.milestones[i - 1] if i else 0)

    def rate(self, base: float, step: int, group: int) -> float:
        schedule, own = self._at(step)
        return schedule.rate(base, own, group)

    def momentum(self, step: int, group: int) -> float | None:
        schedule, own = self._at(step)
        return schedule.momentum(own, group)


class ChainedScheduler(Schedule):
    """Schedules one on top of the other: each takes the rate that the one before gives for its initial rate."""

    def __init__(self, schedulers: Sequence[Schedule], optimizer: Any = None) -> None:
        if not schedulers:
            raise ValueError("ChainedScheduler wants at least one schedule")
        optimizer = optimizer or schedulers[0].optimizer
        _same_optimizer("ChainedScheduler", schedulers, optimizer)
        self.schedulers = list(schedulers)
        super().__init__(optimizer)

    def rate(self, base: float, step: int, group: int) -> float:
        for schedule in self.schedulers:
            base = schedule.rate(base, step, group)
        return base

    def momentum(self, step: int, group: int) -> float | None:
        found = [m for m in (s.momentum(step, group) for s in self.schedulers) if m is not None]
        return found[-1] if found else None


def _same_optimizer(name: str, schedulers: Sequence[Schedule], optimizer: Any) -> None:
    for schedule in schedulers:
        if not isinstance(schedule, Schedule):
            raise TypeError(f"{name} takes schedules whose rate is a function of the step; not {schedule!r}")
        if schedule.optimizer is not optimizer:
            raise ValueError(f"{name}: all schedules must be of one optimiser")
