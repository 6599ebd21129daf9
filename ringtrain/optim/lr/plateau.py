"""A schedule that waits for a figure to stop getting better."""

from __future__ import annotations

import math
from typing import Any

from .schedule import each, whole

__all__ = ["ReduceLROnPlateau"]

_SAVED = ("best", "bad", "cooling", "last")


class ReduceLROnPlateau:
    """Multiplies the rates by factor once a figure has not got better for more than `patience` steps, as PyTorch does.

    mode            "min" where less is better, or "max"
    threshold       how much better counts: of the best so far ("rel") or in the figure's unit ("abs")
    cooldown        steps to wait after a reduction before counting again
    min_lr          the least rate, one or one for each group
    eps             a change smaller than this is not made

    Give `step` the same figure on every rank, such as a merged metric's value: rates must not differ.
    """

    def __init__(
        self,
        optimizer: Any,
        mode: str = "min",
        factor: float = 0.1,
        patience: int = 10,
        threshold: float = 1e-4,
        threshold_mode: str = "rel",
        cooldown: int = 0,
        min_lr: Any = 0.0,
        eps: float = 1e-8,
    ) -> None:
        if mode not in ("min", "max") or threshold_mode not in ("rel", "abs"):
            raise ValueError(
                f"ReduceLROnPlateau: mode is 'min' or 'max' and threshold_mode 'rel' or 'abs'; got {mode!r} and "
                f"{threshold_mode!r}"
            )
        if not 0.0 <= factor < 1.0:
            raise ValueError(f"ReduceLROnPlateau: factor must lie in [0, 1); got {factor!r}")
        whole("ReduceLROnPlateau", 0, patience=patience, cooldown=cooldown)
        self.optimizer, self.mode, self.factor, self.patience = optimizer, mode, factor, patience
        self.threshold, self.threshold_mode, self.cooldown, self.eps = threshold, threshold_mode, cooldown, eps
        self.min_lr = each("ReduceLROnPlateau: min_lr", min_lr, optimizer)
        self.best = math.inf if mode == "min" else -math.inf
        self.bad = self.cooling = self.last = 0

    def _better(self, value: float) -> bool:
        sign = 1.0 if self.mode == "max" else -1.0
        if self.threshold_mode == "rel":
            return sign * value > sign * self.best * (1.0 + sign * self.threshold)
        return sign * value > sign * self.best + self.threshold

    def step(self, metric: Any) -> None:
        """Counts a figure: a number, or a tensor or array of one."""
        value = float(metric.item() if hasattr(metric, "item") else metric)
        self.last += 1
        if self._better(value):
            self.best, self.bad = value, 0
        else:
            self.bad += 1
        if self.cooling > 0:
            self.cooling -= 1
            self.bad = 0
        if self.bad > self.patience:
            for group, least in zip(self.optimizer.param_groups, self.min_lr, strict=True):
                rate = max(group["lr"] * self.factor, least)
                if group["lr"] - rate > self.eps:
                    group["lr"] = rate
            self.cooling, self.bad = self.cooldown, 0

    def get_last_lr(self) -> list[float]:
        """The rates of the groups as they are now."""
        return [group["lr"] for group in self.optimizer.param_groups]

    def state_dict(self) -> dict[str, Any]:
        """The rates themselves are saved with the optimiser."""
        return {name: getattr(self, name) for name in _SAVED}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        missing = set(_SAVED) ^ set(state)
        if missing:
            raise ValueError(f"the saved state does not fit ReduceLROnPlateau: {sorted(missing)}")
        for name in _SAVED:
            setattr(self, name, state[name])
