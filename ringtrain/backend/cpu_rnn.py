"""Recurrent layers on the CPU: one product for all inputs, one compiled call for all steps, shared by samples.

Backward fills the gates' gradients step by step; the weights' gradients are one product each over all steps.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from .cpu_matmul import matmul
from .cpu_rows import sum_of_rows
from .threads import shared

_GRAIN = 8  # samples: the rows of a tile


class _Elman:
    """Each cell: its gates `pre` (T, B, gates), which become values, and the states `hs` (T + 1, B, H).

    forward(ends)         all steps of a range of samples
    backward(ends, ...)   the gradients of the gates, in place of their values in `pre`; into `dhid` where they differ
                          for the recurrent product; that of the last state, in place, becomes the first one's
    spent                 whether `pre` holds gradients already
    """

    spent = False

    relu = False
    hidden: Any  # what the cell keeps besides, where it does

    def __init__(self, pre: Any, hs: Any, c: Any, weights: tuple, lengths: Any, reverse: bool) -> None:
        self.pre, self.hs, self.reverse = pre, hs, reverse
        parts: Any = [w if w is None else np.ascontiguousarray(w) for w in weights]
        self.w_hh, self.b_hh, self.w_hr = parts
        steps, batch, _ = pre.shape
        self.lengths = np.full(batch, steps) if lengths is None else lengths.astype(np.int64)
        self.none = np.empty((0, batch, 1), pre.dtype)
        self.states = [hs]
        self.start(c)

    def start(self, c: Any) -> None:
        from .cpu_cells import packed

        self.w = packed(self.w_hh.T)

    def forward(self, ends: tuple[int, int]) -> None:
        from .cpu_cells import elman

        elman(self.pre, self.hs, self.w, self.lengths, self.reverse, self.relu, ends)

    def prepare(self, dc: Any) -> None:
        """Room for the gradients."""
        from .cpu_cells import packed

        self.back = packed(self.w_hh)
        self.dhid = self.pre

    def backward(self, ends: tuple[int, int], outer: Any, dh: Any) -> None:
        from .cpu_cells import elman_back

        elman_back(self.pre, self.back, self.lengths, self.reverse, self.relu, ends, outer, dh)


class _Relu(_Elman):
    relu = True


class _Lstm(_Elman):
    def start(self, c: Any) -> None:
        from .cpu_cells import packed

        super().start(c)
        steps = len(self.pre)
        self.cs = np.empty((steps + 1, *c.shape), self.pre.dtype)
        self.cs[-1 if self.reverse else 0] = c
        self.states.append(self.cs)
        self.hidden = self.none if self.w_hr is None else np.empty((steps, *c.shape), self.pre.dtype)
        self.to_out = self.w if self.w_hr is None else packed(self.w_hr.T)

    def forward(self, ends: tuple[int, int]) -> None:
        from .cpu_cells import lstm

        lstm(self.pre, self.hs, self.cs, self.hidden, self.w, self.to_out, self.lengths, self.reverse, ends)

    def prepare(self, dc: Any) -> None:
        from .cpu_cells import packed

        super().prepare(dc)
        self.dc = np.zeros(self.cs.shape[1:], self.pre.dtype) if dc is None else np.array(dc, order="C")
        self.projected = self.none if self.w_hr is None else np.empty_like(self.hs[1:])
        self.from_out = self.back if self.w_hr is None else packed(self.w_hr)

    def backward(self, ends: tuple[int, int], outer: Any, dh: Any) -> None:
        from .cpu_cells import lstm_back

        lstm_back(
            *(self.pre, self.cs, self.back, self.from_out, self.lengths, self.reverse, ends),
            *(outer, dh, self.dc, self.projected),
        )


class _Gru(_Elman):
    def start(self, c: Any) -> None:
        from .cpu_cells import packed

        n = self.hs.shape[2]
        self.w, self.w_new = packed(self.w_hh[: 2 * n].T), packed(self.w_hh[2 * n :].T)
        self.hidden = np.empty((*self.pre.shape[:2], n), self.pre.dtype)
        self.bias = np.zeros(n, self.pre.dtype) if self.b_hh is None else self.b_hh[2 * n :]

    def forward(self, ends: tuple[int, int]) -> None:
        from .cpu_cells import gru

        gru(self.pre, self.hs, self.hidden, self.bias, self.w, self.w_new, self.lengths, self.reverse, ends)

    def prepare(self, dc: Any) -> None:
        super().prepare(dc)
        self.dhid = np.empty_like(self.pre)

    def backward(self, ends: tuple[int, int], outer: Any, dh: Any) -> None:
        from .cpu_cells import gru_back

        gru_back(self.pre, self.hs, self.hidden, self.back, self.lengths, self.reverse, ends, outer, dh, self.dhid)


_CELLS: dict[str, type[_Elman]] = {"rnn_tanh": _Elman, "rnn_relu": _Relu, "lstm": _Lstm, "gru": _Gru}


class _Recurrent:
    """Kernel `rnn`: x (T, B, I), h, c, the weights, biases and projection, lengths; see `ops/rnn.py`."""

    keeps_output = True
    placed = True

    def accepts(self, x: Any, *rest: Any, kind: str, reverse: bool) -> bool:
        floats = [a for a in rest[:-1] if a is not None]
        return x.dtype in (np.float32, np.float64) and all(a.dtype == x.dtype for a in floats) and x.size > 0

    def forward(self, x: Any, h: Any, c: Any, *rest: Any, kind: str, reverse: bool) -> tuple[Any, Any]:
        w_ih, w_hh, b_ih, b_hh, w_hr, lengths = rest
        steps, batch, _ = x.shape
        bias = np.zeros(w_ih.shape[0], x.dtype) if b_ih is None else b_ih.copy()
        if b_hh is not None:
            added = len(bias) * 2 // 3 if kind == "gru" else len(bias)
            bias[:added] += b_hh[:added]
        flat = x.reshape(steps * batch, -1)
        pre = matmul(flat, w_ih.T, bias).reshape(steps, batch, -1)
        hs = np.empty((steps + 1, *h.shape), x.dtype)
        hs[-1 if reverse else 0] = h
        cell = _CELLS[kind](pre, hs, c, (w_hh, b_hh, w_hr), lengths, reverse)
        shared(batch, _GRAIN, lambda first, last: cell.forward((first, last)))
        out = hs[:-1] if reverse else hs[1:]
        if lengths is not None:
            out = out * (np.arange(steps)[:, None] < lengths)[:, :, None]
        return (out, *(s[0 if reverse else -1].copy() for s in cell.states)), (cell, flat)

    def backward(
        self, grad: Any, needs: Any, places: Any, residuals: Any, x: Any, h: Any, c: Any, *rest: Any, **options: Any
    ) -> list:
        cell, flat = residuals
        if cell.spent:  # by an earlier pass that retained the graph
            _, (cell, flat) = self.forward(x, h, c, *rest, **options)
        cell.spent = True
        outer, dlast, *others = grad
        cell.prepare(others[0] if others else None)
        dh = np.zeros(h.shape, h.dtype) if dlast is None else np.array(dlast, order="C")
        outer = np.empty((0, *h.shape), h.dtype) if outer is None else np.ascontiguousarray(outer)
        shared(x.shape[1], _GRAIN, lambda first, last: cell.backward((first, last), outer, dh))
        rows = cell.pre.shape[2]
        dpre = cell.pre.reshape(-1, rows)
        dhid = dpre if cell.dhid is cell.pre else cell.dhid.reshape(-1, rows)
        previous = cell.hs[1:] if cell.reverse else cell.hs[:-1]
        to_bias = sum_of_rows(dpre, places[5]) if needs[5] or needs[6] else None
        to_hidden = to_bias if dhid is dpre else sum_of_rows(dhid, places[6]) if needs[6] else None
        return [
            matmul(dpre, rest[0]).reshape(x.shape) if needs[0] else None,
            dh if needs[1] else None,
            cell.dc if needs[2] else None,
            matmul(dpre.T, flat, out=places[3]) if needs[3] else None,
            matmul(dhid.T, _flat(previous), out=places[4]) if needs[4] else None,
            to_bias if needs[5] else None,
            to_hidden if needs[6] else None,
            matmul(_flat(cell.projected).T, _flat(cell.hidden), out=places[7]) if needs[7] else None,
            None,
        ]


def _flat(x: Any) -> Any:
    return x.reshape(-1, x.shape[-1])


KERNEL = _Recurrent()
