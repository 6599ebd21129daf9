"""Schedule: learning rates as a function of the step."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

__all__ = ["Schedule", "each", "fractions", "whole"]


class Schedule:
    """Sets each group's rate to a function of its initial rate and of the number of steps so far.

    The initial rate is the group's "initial_lr": its "lr" when the first schedule was made for the optimiser. It is
    saved with the optimiser, so a schedule made after loading one starts from the right base.

    A subclass defines `factor`, or `rate` where the rate is no multiple of the initial one. optimizer may be wrapped in
    a DistributedOptimizer or not. `last` counts the steps.

    Rates belong to one schedule: where something else has changed one since the last step, another schedule or a hand,
    the next step is an error, as it would undo that. Several schedules together are a `ChainedScheduler`.
    """

    def __init__(self, optimizer: Any) -> None:
        if not hasattr(optimizer, "param_groups"):
            raise TypeError(f"{type(self).__name__} wants an optimiser; got {type(optimizer).__name__}")
        self.optimizer = optimizer
        self.base = [group.setdefault("initial_lr", group["lr"]) for group in optimizer.param_groups]
        self.last = 0
        self._apply()

    def factor(self, step: int) -> float:
        """What the initial rates are multiplied by after that many steps."""
        raise NotImplementedError(f"{type(self).__name__} has no factor")

    def rate(self, base: float, step: int, group: int) -> float:
        """The rate, after that many steps, of group number `group`, whose initial rate is base."""
        return base * self.factor(step)

    def momentum(self, step: int, group: int) -> float | None:
        """The momentum of that group, or None where the schedule leaves it alone."""
        return None

    def step(self) -> None:
        """Sets the rates for the next step. Raises RuntimeError where another has set them since the last one."""
        for i, (group, rate) in enumerate(zip(self.optimizer.param_groups, self._rates, strict=False)):
            if group["lr"] != rate:
                raise RuntimeError(
                    f"{type(self).__name__} had set the rate of group {i} to {rate!r}, and something else to "
                    f"{group['lr']!r}, which its next step would undo; step one schedule only (a ChainedScheduler or "
                    "SequentialLR of several), and make it after loading an optimiser or changing rates by hand"
                )
        self.last += 1
        self._apply()

    def get_last_lr(self) -> list[float]:
        """The rates of the groups as they are now."""
        return [group["lr"] for group in self.optimizer.param_groups]

    def _apply(self) -> None:
        groups = self.optimizer.param_groups
        if len(groups) != len(self.base):
            raise RuntimeError(
                f"the optimiser has {len(groups)} groups, and had {len(self.base)} when its {type(self).__name__} was "
                "made; add groups first, then make the schedule"
            )
        for i, (group, base) in enumerate(zip(groups, self.base, strict=True)):
            group["lr"] = self.rate(base, self.last, i)
            momentum = self.momentum(self.last, i)
            if momentum is not None:
                _set_momentum(group, momentum)
        self._rates = self.get_last_lr()

    def state_dict(self) -> dict[str, Any]:
        return {"base": list(self.base), "last": self.last}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Takes over what `state_dict` gave, and sets the rates. Raises ValueError for another number of groups."""
        if len(state["base"]) != len(self.base):
            raise ValueError(f"the saved schedule has {len(state['base'])} rates, this one {len(self.base)}")
        self.base, self.last = list(state["base"]), int(state["last"])
        for group, base in zip(self.optimizer.param_groups, self.base, strict=True):
            group["initial_lr"] = base
        self._apply()


def _set_momentum(group: dict[str, Any], momentum: float) -> None:
    """The first of the betas, where a group has these."""
    if "betas" in group:
        group["betas"] = (momentum, *group["betas"][1:])
    else:
        group["momentum"] = momentum


def has_momentum(optimizer: Any) -> bool:
    return all("betas" in group or "momentum" in group for group in optimizer.param_groups)


def each(name: str, value: Any, optimizer: Any) -> list[Any]:
    """A value for each group; raises ValueError where it is a list of another length."""
    count = len(optimizer.param_groups)
    if not isinstance(value, Sequence):
        return [value] * count
    if len(value) != count:
        raise ValueError(f"{name} has {len(value)} values for {count} groups; give one, or one for each")
    return list(value)


def whole(name: str, least: int, **values: int) -> None:
    """Raises ValueError for a value that is no whole number of at least `least`."""
    for option, value in values.items():
        if not isinstance(value, int) or value < least:
            raise ValueError(f"{name}: {option} must be a whole number >= {least}; got {value!r}")


def fractions(name: str, **values: float) -> None:
    """Raises ValueError for a value outside [0, 1]."""
    for option, value in values.items():
        if not 0.0 <= value <= 1.0:
            raise ValueError(f"{name}: {option} must lie in [0, 1]; got {value!r}")
