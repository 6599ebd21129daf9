"""Making ranks equal: broadcasting parameters and optimiser state, summing metrics."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

import collectives

from ..backend import of
from ..metrics import Metric
from ..nn import Module
from ..tensor import Tensor, raw


def broadcast_parameters(model: Any, root_rank: int = 0) -> None:
    """Gives every rank root_rank's parameters and buffers, in place.

    model  a Module, a mapping from names to tensors, or (name, tensor) pairs. Every rank must have the same names,
           shapes and dtypes: MismatchError on every rank otherwise.
    """
    if isinstance(model, Module):
        items: list[tuple[str, Any]] = [*model.named_parameters(), *model.named_buffers()]
    else:
        items = list(model.items() if isinstance(model, Mapping) else model)
    items.sort(key=lambda item: item[0])  # ranks may have registered them in different orders
    shapes = {name: (tuple(raw(t).shape), raw(t).dtype.name) for name, t in items}
    must_agree("broadcast_parameters", shapes)
    packed: dict[Any, list[Any]] = {}
    for _, t in items:
        packed.setdefault((of(raw(t)).device(raw(t)), raw(t).dtype), []).append(t)
    for tensors in packed.values():
        _broadcast_packed(tensors, root_rank)


def _broadcast_packed(tensors: list[Any], root_rank: int) -> None:
    """All tensors of one dtype and device as one message."""
    flat = of(raw(tensors[0])).xp.concatenate([raw(t).reshape(-1) for t in tensors])
    collectives.broadcast_(flat, root_rank, name="parameters")
    start = 0
    for t in tensors:
        array = raw(t)
        array[...] = flat[start : start + array.size].reshape(array.shape)
        start += array.size
        if isinstance(t, Tensor):
            t._version[0] += 1


def must_agree(what: str, description: Mapping[str, Any]) -> None:
    """Raises the same error on every rank where the ranks' descriptions differ."""
    everyone = collectives.allgather_object(dict(description))
    for r, other in enumerate(everyone):
        if other == everyone[0]:
            continue
        names = [n for n in {**everyone[0], **other} if everyone[0].get(n) != other.get(n)]
        details = "; ".join(f"{n}: rank 0 has {everyone[0].get(n)}, rank {r} has {other.get(n)}" for n in names[:5])
        raise collectives.MismatchError(
            f"{what}: the ranks have different models. {details}", dict(enumerate(everyone))
        )


def broadcast_optimizer_state(optimizer: Any, root_rank: int = 0) -> None:
    """Gives every rank root_rank's optimiser state and options."""
    state = optimizer.state_dict() if collectives.rank() == root_rank else None
    optimizer.load_state_dict(collectives.broadcast_object(state, root_rank, name="optimizer state"))


def merge_metrics(*metrics: Metric | Iterable[Metric]) -> None:
    """Adds up what the ranks have counted, in place, so that `value()` is that of all samples, on every rank.

    Sums travel as one message; a metric that keeps its samples has them gathered.
    """
    flat = [m for item in metrics for m in ([item] if isinstance(item, Metric) else item)]
    if any(m.merged for m in flat):
        raise RuntimeError("a metric has been merged already; reset() it before counting anew")
    if not flat:
        return
    totals = collectives.allreduce(np.concatenate([m.totals for m in flat]), collectives.Sum, name="metrics")
    start = 0
    for i, m in enumerate(flat):
        samples = m.samples
        if m.columns:
            samples = collectives.allgather(samples, name=f"samples of {type(m).__name__}, metric {i + 1}")
        m.take(totals[start : start + m.totals.size], samples)
        start += m.totals.size
