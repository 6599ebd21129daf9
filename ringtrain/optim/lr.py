"""Learning-rate schedules: a factor for each training step, applied to every group's own rate."""

from __future__ import annotations

import math
from typing import Any

__all__ = ["Schedule", "WarmupCosine"]


class Schedule:
    """Multiplies each group's initial rate by factor(step). Call `step()` once after each optimiser step."""

    def __init__(self, optimizer: Any) -> None:
        self.optimizer = optimizer
        self.base = [group["lr"] for group in optimizer.param_groups]
        self.last = 0
        self._apply()

    def factor(self, step: int) -> float:
        """What the rates are multiplied by after that many steps."""
        raise NotImplementedError(f"{type(self).__name__} has no factor")

    def step(self) -> None:
        """Sets the rates for the next step."""
        self.last += 1
        self._apply()

    def _apply(self) -> None:
        for group, rate in zip(self.optimizer.param_groups, self.base, strict=True):
            group["lr"] = rate * self.factor(self.last)

    def state_dict(self) -> dict[str, Any]:
        return {"base": list(self.base), "last": self.last}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        if len(state["base"]) != len(self.base):
            raise ValueError(f"the saved schedule has {len(state['base'])} rates, this one {len(self.base)}")
        self.base, self.last = list(state["base"]), int(state["last"])
        self._apply()


class WarmupCosine(Schedule):
    """A straight rise over `warmup` steps, then half a cosine down to `final` at step `total` and after.

    The rise follows Goyal et al. 2017, the cosine Loshchilov and Hutter 2017. The first step already has 1 / warmup of
    the rate, step number `warmup` has all of it.
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
