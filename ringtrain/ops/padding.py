"""Padding of the spatial axes by a constant, or by the input's own elements."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..tensor import Tensor
from .gather import Table, gather_axes
from .geometry import pad_axes

_MODES = {"reflect": "reflect", "replicate": "edge", "circular": "wrap"}


def _source(name: str, n: int, before: int, after: int, mode: str) -> Table | None:
    """Where each element of a padded axis comes from; negative widths cut."""
    if before == after == 0:
        return None
    most = {"reflect": n - 1, "replicate": np.inf if n else 0, "circular": n}[mode]
    if max(before, after) > most:
        raise ValueError(f"{name}: {mode} padding ({before}, {after}) is more than {most}, all that {n} elements give")
    if n + before + after < 1:
        raise ValueError(f"{name}: padding ({before}, {after}) cuts all of {n} elements off")
    index = np.pad(np.arange(n), (max(before, 0), max(after, 0)), mode=_MODES[mode])  # type: ignore[call-overload]
    index = index[max(-before, 0) : len(index) - max(-after, 0)]
    return Table(index[:, None], None, n)


def pad_spatial(
    x: Tensor, widths: Sequence[tuple[int, int]], mode: str = "constant", value: float = 0.0, name: str = "pad"
) -> Tensor:
    """x (N, C, ...) with (before, after) elements added to each spatial axis; negative numbers cut off.

    mode   "constant": `value`; "reflect": mirrored without the edge element, at most n - 1; "replicate": the edge
           element; "circular": from the other end, at most n
    """
    if mode == "constant":
        return pad_axes(x, widths, value)
    if mode not in _MODES:
        raise ValueError(f"{name}: mode {mode!r} is unknown; use 'constant', {', '.join(map(repr, _MODES))}")
    tables = [_source(name, n, a, b, mode) for n, (a, b) in zip(x.shape[x.ndim - len(widths) :], widths, strict=True)]
    return gather_axes(x, tables, x.ndim - len(widths))
