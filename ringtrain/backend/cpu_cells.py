# mypy: ignore-errors
# What numba compiles is typed by numba.
"""Recurrent layers, compiled: all steps of some samples in one call, products included.

pre      (T, B, R), R rows of a weight: what inputs and biases give; forward leaves the gates' values there, and
         backward, in their place, the gradients of the gates before their functions
hs, cs   (T + 1, B, ...): the states, `before` and `after` each step
w, back  a weight as `packed` lays it out, for forward and backward
lengths  (B,): a sample is left as it is by step t unless t < lengths[b]
outer    (T, B, ...): gradients of the outputs; no steps where there are none
dh, dc   (B, ...): gradients of the last states, which become those of the first
ends     a range of samples, which no other range has to do with

Of each cell, one sample's step is a function forward and one backward; the walks along the steps call them. `row` has
the gates, `head` the gradient of the state after the step.

Each loop over the numbers of a row reads and writes few arrays: LLVM tells those apart, and makes vector code of it.

Importing it loads numba: import it only when used.
"""

import numpy as np

from .cpu_math import inlined, sigmoid_in, tanh
from .gemm import SLACK, gemm, pack_panels
from .jit import jit
from .layout import on_lines
from .vectors import BYTES


def packed(w):
    """A matrix (k, n) as panels for `_add_product`: (panels, k, n). An axis must be contiguous."""
    k, n = w.shape
    wide = 2 * BYTES // w.itemsize
    panels = on_lines((-(-n // wide) * wide * k + SLACK // w.itemsize,), w.dtype)
    pack_panels(w.dtype.type(0), w.ctypes.data, *w.strides, k, n, panels.ctypes.data)
    return panels, k, n


@jit
def _add_product(x, w, out):
    """out (m, n) += x (m, k) @ w."""
    panels, k, n = w
    a, c, size = x.ctypes.data, out.ctypes.data, x.itemsize
    gemm(x[0, 0], len(x), n, k, a, x.strides[0], size, panels.ctypes.data, 0, 0, 2 * BYTES * k, c, 1, c, out.strides[0])


@inlined
def _step(s, steps, reverse):
    """The s-th step in the order of time, and where the states before and after it lie."""
    if reverse:
        return steps - 1 - s, steps - s, steps - 1 - s
    return s, s, s + 1


@inlined
def _sigmoids(x):
    for j in range(np.uint64(x.size)):
        x[j] = sigmoid_in(None, x[j])


@inlined
def _tanhs(x):
    for j in range(np.uint64(x.size)):
        x[j] = tanh(x[j])


@inlined
def _thirds(x):
    n = x.size // 3
    return x[:n], x[n : 2 * n], x[2 * n :]


@inlined
def _quarters(x):
    n = x.size // 4
    return x[:n], x[n : 2 * n], x[2 * n : 3 * n], x[3 * n :]


@inlined
def _heads(dh, outer, lengths, t):
    """Add the gradients of a step's outputs to those of its states."""
    for b in range(len(dh) if len(outer) else 0):
        if t < lengths[b]:
            row, more = dh[b], outer[t, b]
            for j in range(np.uint64(row.size)):
                row[j] += more[j]


@inlined
def _elman_row(row, relu):
    if relu:
        for j in range(np.uint64(row.size)):
            row[j] = max(row[j], row.dtype.type(0))
    else:
        _tanhs(row)


@inlined
def _elman_row_back(row, head, relu):
    one, zero = row.dtype.type(1), row.dtype.type(0)
    if relu:
        for j in range(np.uint64(row.size)):
            row[j] = head[j] if row[j] > zero else zero
    else:
        for j in range(np.uint64(row.size)):
            row[j] = head[j] * (one - row[j] * row[j])


@jit(contract=True)
def elman(pre, hs, w, lengths, reverse, relu, ends):
    span = slice(ends[0], ends[1])
    for s in range(len(pre)):
        t, before, after = _step(s, len(pre), reverse)
        gates, last, out = pre[t, span], hs[before, span], hs[after, span]
        _add_product(last, w, gates)
        for b in range(len(gates)):
            _elman_row(gates[b], relu)
            out[b] = gates[b] if t < lengths[ends[0] + b] else last[b]


@jit(contract=True)
def elman_back(pre, w, lengths, reverse, relu, ends, outer, dh):
    span = slice(ends[0], ends[1])
    zero, until = pre.dtype.type(0), lengths[span]
    dh, outer = dh[span], outer[:, span]
    for s in range(len(pre) - 1, -1, -1):
        t, _, _ = _step(s, len(pre), reverse)
        d = pre[t, span]
        _heads(dh, outer, until, t)
        for b in range(len(d)):
            if t < until[b]:
                _elman_row_back(d[b], dh[b], relu)
                dh[b] = zero
            else:
                d[b] = zero
        _add_product(d, w, dh)


@inlined
def _lstm_row(row, past, c, h):
    i, f, g, o = _quarters(row)
    _sigmoids(i)
    _sigmoids(f)
    _tanhs(g)
    _sigmoids(o)
    for j in range(np.uint64(c.size)):
        c[j] = f[j] * past[j] + i[j] * g[j]
    for j in range(np.uint64(c.size)):
        h[j] = o[j] * tanh(c[j])


@inlined
def _lstm_row_back(row, past, c, head, k):
    """k: the gradient of the cell's state."""
    one, n = c.dtype.type(1), c.size
    i, f, g, o = _quarters(row)
    for j in range(np.uint64(n)):
        top, scaled = tanh(c[j]), head[j] * o[j]
        o[j] = scaled * top * (one - o[j])
        k[j] += scaled * (one - top * top)
    for j in range(np.uint64(n)):
        through, new = k[j] * i[j], g[j]
        i[j] = through * new * (one - i[j])
        g[j] = through * (one - new * new)
    for j in range(np.uint64(n)):
        through = k[j] * f[j]
        f[j] = through * past[j] * (one - f[j])
        k[j] = through


@jit(contract=True)
def lstm(pre, hs, cs, hidden, w, w_hr, lengths, reverse, ends):
    """hidden (T, B, H): the outputs before their projection; no steps where there is none."""
    span = slice(ends[0], ends[1])
    for s in range(len(pre)):
        t, before, after = _step(s, len(pre), reverse)
        gates, last, out = pre[t, span], hs[before, span], hs[after, span]
        past, cells = cs[before, span], cs[after, span]
        _add_product(last, w, gates)
        tops = hidden[t, span] if len(hidden) else out
        for b in range(len(gates)):
            _lstm_row(gates[b], past[b], cells[b], tops[b])
        if len(hidden):
            out[:] = pre.dtype.type(0)
            _add_product(tops, w_hr, out)
        for b in range(len(gates)):
            if t >= lengths[ends[0] + b]:
                out[b], cells[b] = last[b], past[b]


@jit(contract=True)
def lstm_back(pre, cs, w, w_hr, lengths, reverse, ends, outer, dh, dc, projected):
    """projected (T, B, P): gradients of the outputs; no steps where there is no projection."""
    span = slice(ends[0], ends[1])
    zero, until = pre.dtype.type(0), lengths[span]
    dh, dc, outer = dh[span], dc[span], outer[:, span]
    tops = np.zeros((len(dh), cs.shape[2]), pre.dtype)
    for s in range(len(pre) - 1, -1, -1):
        t, before, after = _step(s, len(pre), reverse)
        d = pre[t, span]
        _heads(dh, outer, until, t)
        heads = dh
        if len(projected):
            projected[t, span] = dh
            tops[:] = zero
            _add_product(dh, w_hr, tops)
            heads = tops
        for b in range(len(d)):
            place = ends[0] + b
            if t < until[b]:
                _lstm_row_back(d[b], cs[before, place], cs[after, place], heads[b], dc[b])
                dh[b] = zero
            else:
                d[b] = zero
                if len(projected):
                    projected[t, place] = zero
        _add_product(d, w, dh)


@inlined
def _gru_row(row, more, h, to):
    """more: the new gate's part from the state."""
    r, z, new = _thirds(row)
    _sigmoids(r)
    _sigmoids(z)
    for j in range(np.uint64(h.size)):
        new[j] = tanh(new[j] + r[j] * more[j])
    for j in range(np.uint64(h.size)):
        to[j] = new[j] + z[j] * (h[j] - new[j])


@inlined
def _gru_row_back(row, more, h, head, also):
    """`head` becomes what goes to the state before without a product."""
    one, n = h.dtype.type(1), h.size
    r, z, new = _thirds(row)
    last = also[2 * n :]
    for j in range(np.uint64(n)):
        value, share, rest = new[j], z[j], one - z[j]
        z[j] = head[j] * (h[j] - value) * share * rest
        new[j] = head[j] * rest * (one - value * value)
        head[j] *= share
    for j in range(np.uint64(n)):
        reset = r[j]
        r[j] = new[j] * more[j] * reset * (one - reset)
        last[j] = new[j] * reset
    also[: 2 * n] = row[: 2 * n]


@jit(contract=True)
def gru(pre, hs, hidden, bias, w, w_new, lengths, reverse, ends):
    """hidden (T, B, H): the new gate's part from the state, with `bias` (H,). w, w_new: two gates, and the third."""
    span = slice(ends[0], ends[1])
    for s in range(len(pre)):
        t, before, after = _step(s, len(pre), reverse)
        gates, part, last, out = pre[t, span], hidden[t, span], hs[before, span], hs[after, span]
        part[:] = bias
        _add_product(last, w, gates)
        _add_product(last, w_new, part)
        for b in range(len(gates)):
            _gru_row(gates[b], part[b], last[b], out[b])
            if t >= lengths[ends[0] + b]:
                out[b] = last[b]


@jit(contract=True)
def gru_back(pre, hs, hidden, w, lengths, reverse, ends, outer, dh, dhid):
    """dhid (T, B, R): as pre's gradients, for the recurrent product, whose new gate comes before the reset gate."""
    span = slice(ends[0], ends[1])
    zero, until = pre.dtype.type(0), lengths[span]
    dh, outer = dh[span], outer[:, span]
    for s in range(len(pre) - 1, -1, -1):
        t, before, _ = _step(s, len(pre), reverse)
        d, also = pre[t, span], dhid[t, span]
        _heads(dh, outer, until, t)
        for b in range(len(d)):
            place = ends[0] + b
            if t < until[b]:
                _gru_row_back(d[b], hidden[t, place], hs[before, place], dh[b], also[b])
            else:
                d[b] = zero
                also[b] = zero
        _add_product(also, w, dh)
