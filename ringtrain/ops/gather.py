"""Linear maps along one axis with few terms to each result: nearest and linear interpolation, reflected edges, bins.

A map is a table: result i is the sum over k of weight[i, k] x[index[i, k]]. Its transpose is such a table too, so
gradients of any order are gathered rather than scattered: the same on every run, and the same code.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from ..dtypes import wide
from ..tensor import Tensor
from .define import op


@dataclass(frozen=True, eq=False)
class Table:
    """index (m, k) and weight (m, k; None: all 1): a map from `length` elements to m."""

    index: np.ndarray
    weight: np.ndarray | None
    length: int

    @cached_property
    def transpose(self) -> Table:
        """The map from m elements back to `length`; rows are filled up with weights of 0."""
        m, k = self.index.shape
        sources = np.repeat(np.arange(m), k)
        weights = np.ones(m * k) if self.weight is None else self.weight.reshape(-1)
        there = weights != 0
        targets, sources, weights = self.index.reshape(-1)[there], sources[there], weights[there]
        order = np.argsort(targets, kind="stable")
        targets, sources, weights = targets[order], sources[order], weights[order]
        counts = np.bincount(targets, minlength=self.length)
        place = np.arange(len(targets)) - np.repeat(np.cumsum(counts) - counts, counts)
        width = max(1, int(counts.max(initial=0)))
        index = np.zeros((self.length, width), np.intp)
        index[...] = np.where(counts > 0, sources[np.minimum(np.cumsum(counts) - counts, len(sources) - 1)], 0)[:, None]
        weight = np.zeros((self.length, width))
        index[targets, place], weight[targets, place] = sources, weights
        return Table(index, None if (weight == 1).all() else weight, m)


def _gather(xp: Any, x: Any, *, table: Table, axis: int) -> Any:
    terms = table.index.shape[1]
    accumulator = wide(x.dtype) if terms > 1 or table.weight is not None else None
    dtype = accumulator or x.dtype
    shape = [-1 if a == axis else 1 for a in range(x.ndim)]
    out: Any = None
    for k in range(terms):
        term = xp.take(x, xp.asarray(table.index[:, k]), axis=axis).astype(dtype, copy=False)
        if table.weight is not None:
            term *= xp.asarray(table.weight[:, k].astype(dtype)).reshape(shape)
        if out is None:
            out = term
        else:
            out += term
    return out.astype(x.dtype, copy=False)


def _gather_vjp(xp: Any, g: Any, table: Table, axis: int) -> Any:
    if isinstance(g, Tensor):
        return gather(g, table.transpose, axis)
    return _gather(xp, g, table=table.transpose, axis=axis)


_apply = op(
    "gather_axis",
    _gather,
    _gather_vjp,
    shape=lambda x, *, table, axis: (*x.shape[:axis], len(table.index), *x.shape[axis + 1 :]),
)


def gather(x: Tensor, table: Table, axis: int) -> Tensor:
    """The map of a table along an axis (0 .. ndim - 1) of x, in x's dtype."""
    return _apply(x, table=table, axis=axis)


def gather_axes(x: Tensor, tables: list[Table | None], lead: int = 2) -> Tensor:
    """A table for each axis after the leading ones (None: as it is), 16-bit floats in float32 until the end."""
    accumulator = wide(x.dtype)
    weighted = any(t is not None and t.weight is not None for t in tables)
    out = x.astype(accumulator) if accumulator is not None and weighted else x
    for axis, table in enumerate(tables, lead):
        if table is not None:
            out = gather(out, table, axis)
    return out.astype(x.dtype)
