"""Recurrent layers on the CPU: one product for all inputs, then a product and in-place gates each step.

Sigmoids are taken as (1 + tanh(x / 2)) / 2, with the halves in the weights, so that NumPy's vectorised tanh does all
gates of a step at once. Backward fills the gates' gradients step by step; the weights' gradients are one product each
over all steps.
"""

from __future__ import annotations

from typing import Any

import numpy as np


def _order(steps: int, reverse: bool) -> list[tuple[int, int, int]]:
    """(step, where the state before it lies, where the one after it lies) in the order of time."""
    if reverse:
        return [(t, t + 1, t) for t in reversed(range(steps))]
    return [(t, t, t + 1) for t in range(steps)]


def _to_sigmoid(x: Any) -> None:
    """tanh(x / 2) made sigmoid(x), in place."""
    x += 1
    x *= 0.5


def _times_slope(d: Any, s: Any, scratch: Any) -> None:
    """d times the slope of the sigmoid whose value is s, in place."""
    d *= s
    np.subtract(1, s, out=scratch)
    d *= scratch


class _Elman:
    """Each cell: its gates `pre` (T, B, gates), made values by `step`, and the states `hs` (T + 1, B, H).

    step(t, before, after)           forward by one step
    back(t, before, dh, off)         the gradients of the step's gates from that of its output, into `dpre` and,
                                     where they differ for the recurrent product, `dhid`; returns what goes straight
                                     to the state before, or None. `off`: the samples for which the step is no step
    """

    scale: tuple[float, ...] = (1.0,)  # of each gate's weights
    tanh = True

    def __init__(self, pre: Any, hs: Any, c: Any, weights: tuple, reverse: bool) -> None:
        self.pre, self.hs = pre, hs
        self.w_hh, self.b_hh, self.w_hr = weights
        _, batch, rows = pre.shape
        self.n = rows // len(self.scale)
        self.scratch = np.empty((2, batch, self.n), pre.dtype)
        self.product = np.empty((batch, rows), pre.dtype)
        # laid out for the product of each step, which a transposed view slows by a third
        self.w = np.ascontiguousarray((self.w_hh * _column(self.scale, self.n, pre.dtype)).T)
        self.start(c, reverse)

    def start(self, c: Any, reverse: bool) -> None:
        """What the cell keeps besides."""

    def cell_states(self) -> list:
        """Arrays (T + 1, ...) of states besides `hs`."""
        return []

    def step(self, t: int, before: int, after: int) -> None:
        gates, out = self.pre[t], self.hs[after]
        np.matmul(self.hs[before], self.w, out=self.product)
        gates += self.product
        np.tanh(gates, out=out) if self.tanh else np.maximum(gates, 0, out=out)
        gates[...] = out

    def prepare(self, dc: Any) -> None:
        """Room for the gradients."""
        self.dpre = self.dhid = np.empty_like(self.pre)

    def back(self, t: int, before: int, dh: Any, off: Any) -> Any:
        d, value = self.dpre[t], self.pre[t]
        if self.tanh:
            np.multiply(value, value, out=d)
            np.subtract(1, d, out=d)
            d *= dh
        else:
            np.multiply(dh, value > 0, out=d)


class _Relu(_Elman):
    tanh = False


class _Lstm(_Elman):
    scale = (0.5, 0.5, 1.0, 0.5)

    def start(self, c: Any, reverse: bool) -> None:
        steps, batch, _ = self.pre.shape
        self.cs = np.empty((steps + 1, batch, self.n), self.pre.dtype)
        self.cs[-1 if reverse else 0] = c
        self.tanh_c = np.empty((steps, batch, self.n), self.pre.dtype)
        self.hidden = None if self.w_hr is None else np.empty_like(self.tanh_c)  # the output before its projection

    def cell_states(self) -> list:
        return [self.cs]

    def gates_of(self, x: Any) -> list:
        return [x[:, k * self.n : (k + 1) * self.n] for k in range(4)]

    def step(self, t: int, before: int, after: int) -> None:
        gates, c, scratch = self.pre[t], self.cs[after], self.scratch[0]
        np.matmul(self.hs[before], self.w, out=self.product)
        gates += self.product
        np.tanh(gates, out=gates)
        _to_sigmoid(gates[:, : 2 * self.n])
        _to_sigmoid(gates[:, 3 * self.n :])
        i, f, g, o = self.gates_of(gates)
        np.multiply(f, self.cs[before], out=c)
        c += np.multiply(i, g, out=scratch)
        np.tanh(c, out=self.tanh_c[t])
        if self.hidden is None:
            np.multiply(o, self.tanh_c[t], out=self.hs[after])
        else:
            np.multiply(o, self.tanh_c[t], out=self.hidden[t])
            np.matmul(self.hidden[t], self.w_hr.T, out=self.hs[after])

    def prepare(self, dc: Any) -> None:
        super().prepare(dc)
        self.dc = np.zeros((self.pre.shape[1], self.n), self.pre.dtype) if dc is None else dc.copy()
        self.projected = None if self.w_hr is None else np.empty_like(self.hs[1:])

    def back(self, t: int, before: int, dh: Any, off: Any) -> Any:
        dc, (scratch, slope) = self.dc, self.scratch
        kept = None if off is None else dc[off]
        if self.projected is not None:
            self.projected[t] = dh
            dh = np.matmul(dh, self.w_hr)
        gates, d, slopes = self.pre[t], self.dpre[t], self.product
        i, f, g, o = self.gates_of(gates)
        di, df, dg, do = self.gates_of(d)
        np.subtract(1, gates, out=slopes)  # of the sigmoids, s (1 - s), all at once; of tanh, 1 - g^2
        slopes *= gates
        slope_of_g = self.gates_of(slopes)[2]
        np.multiply(g, g, out=slope_of_g)
        np.subtract(1, slope_of_g, out=slope_of_g)
        top = self.tanh_c[t]
        np.multiply(dh, top, out=do)
        np.multiply(top, top, out=slope)
        np.subtract(1, slope, out=slope)
        slope *= o
        dc += np.multiply(slope, dh, out=scratch)
        np.multiply(dc, g, out=di)
        np.multiply(dc, self.cs[before], out=df)
        np.multiply(dc, i, out=dg)
        d *= slopes
        dc *= f
        if off is not None:
            dc[off] = kept
            if self.projected is not None:
                self.projected[t][off] = 0


class _Gru(_Elman):
    scale = (0.5, 0.5, 1.0)

    def start(self, c: Any, reverse: bool) -> None:
        self.hn = np.empty((*self.pre.shape[:2], self.n), self.pre.dtype)  # the new gate's part from the state

    def step(self, t: int, before: int, after: int) -> None:
        gates, hn, n, out, h = self.pre[t], self.hn[t], self.n, self.hs[after], self.hs[before]
        np.matmul(h, self.w, out=self.product)
        both = gates[:, : 2 * n]
        both += self.product[:, : 2 * n]
        np.tanh(both, out=both)
        _to_sigmoid(both)
        hn[...] = self.product[:, 2 * n :]
        if self.b_hh is not None:
            hn += self.b_hh[2 * n :]
        new = gates[:, 2 * n :]
        new += np.multiply(both[:, :n], hn, out=self.scratch[0])
        np.tanh(new, out=new)
        np.subtract(h, new, out=out)
        out *= both[:, n:]
        out += new

    def prepare(self, dc: Any) -> None:
        self.dpre, self.dhid = np.empty_like(self.pre), np.empty_like(self.pre)

    def back(self, t: int, before: int, dh: Any, off: Any) -> Any:
        n, slope = self.n, self.scratch[0]
        r, z, new = (self.pre[t][:, k * n : (k + 1) * n] for k in range(3))
        dr, dz, dn = (self.dpre[t][:, k * n : (k + 1) * n] for k in range(3))
        np.subtract(self.hs[before], new, out=dz)
        dz *= dh
        _times_slope(dz, z, slope)
        np.subtract(1, z, out=dn)
        dn *= dh
        np.multiply(new, new, out=slope)
        np.subtract(1, slope, out=slope)
        dn *= slope
        np.multiply(dn, self.hn[t], out=dr)
        _times_slope(dr, r, slope)
        hidden = self.dhid[t]
        hidden[:, : 2 * n] = self.dpre[t][:, : 2 * n]
        np.multiply(dn, r, out=hidden[:, 2 * n :])
        return np.multiply(dh, z, out=self.scratch[1])


_CELLS: dict[str, type[_Elman]] = {"rnn_tanh": _Elman, "rnn_relu": _Relu, "lstm": _Lstm, "gru": _Gru}


def _column(scale: tuple[float, ...], n: int, dtype: Any) -> Any:
    """(gates * n, 1): what the rows of a weight are multiplied by."""
    return np.repeat(np.array(scale, dtype), n)[:, None]


class _Recurrent:
    """Kernel `rnn`: x (T, B, I), h, c, the weights, biases and projection, lengths; see `ops/rnn.py`."""

    keeps_output = True

    def accepts(self, x: Any, *rest: Any, kind: str, reverse: bool) -> bool:
        floats = [a for a in rest[:-1] if a is not None]
        return x.dtype in (np.float32, np.float64) and all(a.dtype == x.dtype for a in floats) and x.size > 0

    def forward(self, x: Any, h: Any, c: Any, *rest: Any, kind: str, reverse: bool) -> tuple[Any, Any]:
        w_ih, w_hh, b_ih, b_hh, w_hr, lengths = rest
        made = _CELLS[kind]
        steps, batch, _ = x.shape
        column = _column(made.scale, w_ih.shape[0] // len(made.scale), x.dtype)
        pre = x.reshape(steps * batch, -1) @ (w_ih * column).T
        bias = np.zeros(w_ih.shape[0], x.dtype) if b_ih is None else b_ih.copy()
        if b_hh is not None:
            added = len(bias) * 2 // 3 if kind == "gru" else len(bias)
            bias[:added] += b_hh[:added]
        bias *= column[:, 0]
        hs = np.empty((steps + 1, *h.shape), x.dtype)
        hs[-1 if reverse else 0] = h
        cell = made(pre.reshape(steps, batch, -1), hs, c, (w_hh, b_hh, w_hr), reverse)
        states = [hs, *cell.cell_states()]
        for t, before, after in _order(steps, reverse):
            cell.pre[t] += bias  # here, where the step finds it in the cache
            cell.step(t, before, after)
            if lengths is not None:
                off = lengths <= t
                for s in states:
                    s[after][off] = s[before][off]
        out = hs[:-1] if reverse else hs[1:]
        if lengths is not None:
            out = out * (np.arange(steps)[:, None] < lengths)[:, :, None]
        return (out, *(s[0 if reverse else -1].copy() for s in states)), cell

    def backward(
        self, grad: Any, needs: Any, cell: Any, x: Any, h: Any, c: Any, *rest: Any, kind: str, reverse: bool
    ) -> list:
        w_ih, w_hh, _b_ih, _b_hh, _w_hr, lengths = rest
        steps = len(x)
        outer, dlast, *others = grad
        cell.prepare(others[0] if others else None)
        dh = np.zeros_like(h) if dlast is None else dlast.copy()
        following = np.empty_like(dh)
        off: Any = None
        for t, before, _ in reversed(_order(steps, reverse)):
            if lengths is not None:
                off = lengths <= t
            if outer is not None:
                dh += outer[t] if off is None else np.where(off[:, None], 0, outer[t])
            straight = cell.back(t, before, dh, off)
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
        dpre, dhid = cell.dpre.reshape(-1, rows), cell.dhid.reshape(-1, rows)
        previous = cell.hs[1:] if reverse else cell.hs[:-1]
        return [
            (dpre @ w_ih).reshape(x.shape) if needs[0] else None,
            dh if needs[1] else None,
            cell.dc if needs[2] else None,
            dpre.T @ x.reshape(len(dpre), -1) if needs[3] else None,
            dhid.T @ previous.reshape(len(dhid), -1) if needs[4] else None,
            dpre.sum(axis=0) if needs[5] else None,
            dhid.sum(axis=0) if needs[6] else None,
            _flat(cell.projected).T @ _flat(cell.hidden) if needs[7] else None,
            None,
        ]


def _flat(x: Any) -> Any:
    return x.reshape(-1, x.shape[-1])


KERNEL = _Recurrent()
