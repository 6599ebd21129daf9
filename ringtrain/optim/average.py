"""Averages of weights over training: EMA and SWA."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np

from ..backend import of
from ..tensor import Tensor, describe, raw
from .optimizer import fraction
from .stretch import apply

__all__ = ["EMA", "SWA"]


def blend(average: Any, p: Any, keep: float, take: float) -> Any:
    return (keep * average + take * p,)


class _Average:
    """An average of parameters that changes with `update` and can take their place.

    averages  an array for each parameter, float32 where that has 16 bits
    count     the updates so far; the first takes the parameters as they are
    """

    def __init__(self, params: Iterable[Tensor]) -> None:
        self.params = [params] if isinstance(params, Tensor) else list(params)
        if not self.params or not all(isinstance(p, Tensor) for p in self.params):
            raise TypeError(f"{type(self).__name__} wants parameters, such as model.parameters()")
        self.count = 0
        self.averages = [raw(p).astype(np.float32 if p.dtype.itemsize < 4 else p.dtype) for p in self.params]
        self._own: list[Any] | None = None

    def weight(self) -> float:
        """How much the parameters as they are now count in the next update."""
        raise NotImplementedError(f"{type(self).__name__} has no weight")

    def update(self) -> None:
        """Takes the parameters as they are now into the average: call it after each optimiser step."""
        if self._own is not None:
            raise RuntimeError("the parameters are the averages now; swap() them back before the next update")
        take = self.weight() if self.count else 1.0
        for p, average in zip(self.params, self.averages, strict=True):
            now = raw(p).astype(average.dtype, copy=False)
            if take < 1:
                apply(blend, average.reshape(-1), now.reshape(-1), (), (1.0 - take, take))
            else:
                average[...] = now
        self.count += 1

    def swap(self) -> None:
        """Puts the averages into the parameters; the next call puts back, bit for bit, what was there.

        Nothing may train in between. See `applied` for a with statement.
        """
        if self._own is None:
            self._own = [raw(p).copy() for p in self.params]
            self._write(self.averages)
        else:
            own, self._own = self._own, None
            self._write(own)

    @contextmanager
    def applied(self) -> Iterator[None]:
        """The averages are in the parameters inside the with statement, and only there."""
        self.swap()
        try:
            yield
        finally:
            self.swap()

    def _write(self, arrays: list[Any]) -> None:
        for p, array in zip(self.params, arrays, strict=True):
            raw(p)[...] = array
            p._version[0] += 1

    def state_dict(self) -> dict[str, Any]:
        """{"count": n, "averages": {number: array}}: copies, numbered in the order of the parameters."""
        return {"count": self.count, "averages": {i: a.copy() for i, a in enumerate(self.averages)}}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Takes over what `state_dict` gave. Raises ValueError naming what does not fit; then nothing has changed."""
        saved = state["averages"]
        if len(saved) != len(self.averages):
            raise ValueError(f"the saved average has {len(saved)} parameters, this one {len(self.averages)}")
        for i, own in enumerate(self.averages):
            if saved[i].shape != own.shape:
                raise ValueError(f"average {i} is {describe(saved[i])}, wanted {list(own.shape)}")
        for i, own in enumerate(self.averages):
            own[...] = of(own).asarray(saved[i])
        self.count = int(state["count"])


class EMA(_Average):
    """The exponential moving average a = decay a + (1 - decay) p of parameters, starting from the first ones seen.

    decay      with warmup, min(decay, (1 + n) / (10 + n)) at update n, so that the start is soon forgotten
    """

    def __init__(self, params: Iterable[Tensor], decay: float = 0.999, warmup: bool = False) -> None:
        fraction("EMA", "decay", decay)
        self.decay, self.warmup = decay, warmup
        super().__init__(params)

    def weight(self) -> float:
        return 1.0 - (min(self.decay, (1.0 + self.count) / (10.0 + self.count)) if self.warmup else self.decay)


class SWA(_Average):
    """The plain mean of the parameters seen (Izmailov et al. 2018): update once an epoch, late in training.

    Running statistics, such as BatchNorm's, do not belong to the averages: run the training data through the model once
    before it is used.
    """

    def weight(self) -> float:
        return 1.0 / (self.count + 1)
