"""Recurrent layers on the CPU: one product for all inputs, then a product and a compiled loop each step.

Backward fills the gates' gradients step by step; the weights' gradients are one product each over all steps.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from .cpu_cells import cells


def _order(steps: int, reverse: bool) -> list[tuple[int, int, int]]:
    """(step, where the state before it lies, where the one after it lies) in the order of time."""
    if reverse:
        return [(t, t + 1, t) for t in reversed(range(steps))]
    return [(t, t, t + 1) for t in range(steps)]


class _Elman:
    """Each cell: its gates `pre` (T, B, gates), made values by `step`, and the states `hs` (T + 1, B, H).

    step(t, before, after)            forward by one step
    back(t, before, after, dh, off)   the gradients of the step's gates from that of its output, into `dpre` and,
                                      where they differ for the recurrent product, `dhid`; returns what goes straight
                                      to the state before, or None. off: the samples for which the step is no step
    """

    relu = False

    def __init__(self, pre: Any, hs: Any, c: Any, w_hh: Any, b_hh: Any, w_hr: Any, reverse: bool) -> None:
        self.pre, self.hs, self.b_hh, self.w_hr = pre, hs, b_hh, w_hr
        self.w_hh = np.ascontiguousarray(w_hh)
        self.product = np.empty((pre.shape[2], pre.shape[1]), pre.dtype)
        self.start(c, reverse)

    def start(self, c: Any, reverse: bool) -> None:
        """What the cell keeps besides."""

    def cell_states(self) -> list:
        """Arrays (T + 1, ...) of states besides `hs`."""
        return []

    def times_state(self, before: int) -> Any:
        """The recurrent product (gates, B). So BLAS is a quarter quicker than with rows and columns exchanged."""
        return np.matmul(self.w_hh, self.hs[before].T, out=self.product)

    def step(self, t: int, before: int, after: int) -> None:
        cells().elman(self.pre[t], self.times_state(before), self.hs[after], self.relu)

    def prepare(self, dc: Any) -> None:
        """Room for the gradients."""
        self.dpre = self.dhid = np.empty_like(self.pre)

    def back(self, t: int, before: int, after: int, dh: Any, off: Any) -> Any:
        cells().elman_back(self.pre[t], dh, self.dpre[t], self.relu)


class _Relu(_Elman):
    relu = True


class _Lstm(_Elman):
    def start(self, c: Any, reverse: bool) -> None:
        steps, *shape = self.pre.shape[0], *c.shape
        self.cs = np.empty((steps + 1, *shape), self.pre.dtype)
        self.cs[-1 if reverse else 0] = c
        self.hidden = None if self.w_hr is None else np.empty((steps, *shape), self.pre.dtype)  # before projection

    def cell_states(self) -> list:
        return [self.cs]

    def step(self, t: int, before: int, after: int) -> None:
        out = self.hs[after] if self.hidden is None else self.hidden[t]
        cells().lstm(self.pre[t], self.times_state(before), self.cs[before], self.cs[after], out)
        if self.hidden is not None:
            np.matmul(out, self.w_hr.T, out=self.hs[after])

    def prepare(self, dc: Any) -> None:
        super().prepare(dc)
        self.dc = np.zeros_like(self.cs[0]) if dc is None else np.array(dc, order="C")
        self.projected = None if self.w_hr is None else np.empty_like(self.hs[1:])

    def back(self, t: int, before: int, after: int, dh: Any, off: Any) -> Any:
        if self.projected is not None:
            self.projected[t] = dh
            dh = np.matmul(dh, self.w_hr)
        kept = None if off is None else self.dc[off]
        cells().lstm_back(self.pre[t], self.cs[before], self.cs[after], dh, self.dc, self.dpre[t])
        if off is not None:
            self.dc[off] = kept
            if self.projected is not None:
                self.projected[t][off] = 0


class _Gru(_Elman):
    def start(self, c: Any, reverse: bool) -> None:
        steps, batch, n = self.pre.shape[0], *self.hs.shape[1:]
        self.hidden = np.empty((steps, batch, n), self.pre.dtype)  # the new gate's part from the state
        self.bias = np.zeros(n, self.pre.dtype) if self.b_hh is None else np.ascontiguousarray(self.b_hh[2 * n :])

    def step(self, t: int, before: int, after: int) -> None:
        product = self.times_state(before)
        cells().gru(self.pre[t], product, self.bias, self.hidden[t], self.hs[before], self.hs[after])

    def prepare(self, dc: Any) -> None:
        self.dpre, self.dhid = np.empty_like(self.pre), np.empty_like(self.pre)
        self.straight = np.empty_like(self.hs[0])

    def back(self, t: int, before: int, after: int, dh: Any, off: Any) -> Any:
        gates, hidden = self.pre[t], self.hidden[t]
        cells().gru_back(gates, hidden, self.hs[before], dh, self.dpre[t], self.dhid[t], self.straight)
        return self.straight


_CELLS: dict[str, type[_Elman]] = {"rnn_tanh": _Elman, "rnn_relu": _Relu, "lstm": _Lstm, "gru": _Gru}


class _Recurrent:
    """Kernel `rnn`: x (T, B, I), h, c, the weights, biases and projection, lengths; see `ops/rnn.py`."""

    keeps_output = True

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
        pre = (flat @ w_ih.T).reshape(steps, batch, -1)
        hs = np.empty((steps + 1, *h.shape), x.dtype)
        hs[-1 if reverse else 0] = h
        cell = _CELLS[kind](pre, hs, c, w_hh, b_hh, w_hr, reverse)
        states = [hs, *cell.cell_states()]
        for t, before, after in _order(steps, reverse):
            pre[t] += bias  # here, where the step finds it in the cache
            cell.step(t, before, after)
            if lengths is not None:
                off = lengths <= t
                for s in states:
                    s[after][off] = s[before][off]
        out = hs[:-1] if reverse else hs[1:]
        if lengths is not None:
            out = out * (np.arange(steps)[:, None] < lengths)[:, :, None]
        return (out, *(s[0 if reverse else -1].copy() for s in states)), (cell, flat)

    def backward(
        self, grad: Any, needs: Any, residuals: Any, x: Any, h: Any, c: Any, *rest: Any, kind: str, reverse: bool
    ) -> list:
        w_ih, w_hh, _b_ih, _b_hh, _w_hr, lengths = rest
        cell, flat = residuals
        steps = len(x)
        outer, dlast, *others = grad
        cell.prepare(others[0] if others else None)
        dh = np.zeros(h.shape, h.dtype) if dlast is None else np.array(dlast, order="C")
        following = np.empty_like(dh)
        off: Any = None
        for t, before, after in reversed(_order(steps, reverse)):
            if lengths is not None:
                off = lengths <= t
            if outer is not None:
                dh += outer[t] if off is None else np.where(off[:, None], 0, outer[t])
            straight = cell.back(t, before, after, dh, off)
            if off is not None:
                cell.dpre[t][off] = 0
                cell.dhid[t][off] = 0
            np.matmul(cell.dhid[t], w_hh, out=following)
            if straight is not None:
                following += straight
            if off is not None:
                following[off] = dh[off]
            dh, following = following, dh
        rows = w_ih.shape[0]
        dpre = cell.dpre.reshape(-1, rows)
        dhid = dpre if cell.dhid is cell.dpre else cell.dhid.reshape(-1, rows)
        previous = cell.hs[1:] if reverse else cell.hs[:-1]
        to_bias = dpre.sum(axis=0) if needs[5] or needs[6] else None
        to_hidden = to_bias if dhid is dpre else dhid.sum(axis=0) if needs[6] else None
        return [
            (dpre @ w_ih).reshape(x.shape) if needs[0] else None,
            dh if needs[1] else None,
            cell.dc if needs[2] else None,
            dpre.T @ flat if needs[3] else None,
            dhid.T @ previous.reshape(len(dhid), -1) if needs[4] else None,
            to_bias if needs[5] else None,
            to_hidden if needs[6] else None,
            _flat(cell.projected).T @ _flat(cell.hidden) if needs[7] else None,
            None,
        ]


def _flat(x: Any) -> Any:
    return x.reshape(-1, x.shape[-1])


KERNEL = _Recurrent()
