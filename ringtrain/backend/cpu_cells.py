"""What a recurrent layer does between its products, as compiled loops: one call a step and direction.

gates   (B, R), R rows of a weight: what the inputs and biases give before a step, the gates' values after it
product (R, B): the weight times the state before, in the layout in which that is the quickest
d       (B, R): the gradients of the gates before their functions

Each loop reads and writes few arrays, so that LLVM can tell them apart and makes vector code of it.
"""

from __future__ import annotations

from functools import cache
from types import SimpleNamespace
from typing import Any

import numpy as np

from .jit import jit

_BLOCK = 16  # rows of a product read together, so that a cache line is


@cache
def cells() -> Any:
    """The compiled loops by name."""
    from .cpu_math import inlined, sigmoid_in, tanh

    @inlined
    def add_product(gates, product):
        batch, rows = gates.shape
        for start in range(0, rows, _BLOCK):
            stop = min(start + _BLOCK, rows)
            for b in range(batch):
                for j in range(start, stop):
                    gates[b, j] += product[j, b]

    @inlined
    def sigmoids(x):
        for j in range(np.uint64(x.size)):
            x[j] = sigmoid_in(None, x[j])

    @inlined
    def tanhs(x):
        for j in range(np.uint64(x.size)):
            x[j] = tanh(x[j])

    def elman(gates, product, out, relu):
        add_product(gates, product)
        for b in range(len(gates)):
            row, to = gates[b], out[b]
            if relu:
                for j in range(np.uint64(row.size)):
                    row[j] = max(row[j], gates.dtype.type(0))
            else:
                tanhs(row)
            to[:] = row

    def elman_back(values, dh, d, relu):
        one, zero = values.dtype.type(1), values.dtype.type(0)
        for b in range(len(values)):
            value, head, to = values[b], dh[b], d[b]
            if relu:
                for j in range(np.uint64(to.size)):
                    to[j] = head[j] if value[j] > zero else zero
            else:
                for j in range(np.uint64(to.size)):
                    to[j] = head[j] * (one - value[j] * value[j])

    def lstm(gates, product, before, after, out):
        add_product(gates, product)
        n = before.shape[1]
        for b in range(len(gates)):
            row, c, h, last = gates[b], after[b], out[b], before[b]
            i, f, g, o = row[:n], row[n : 2 * n], row[2 * n : 3 * n], row[3 * n :]
            sigmoids(row[: 2 * n])
            tanhs(g)
            sigmoids(o)
            for j in range(np.uint64(n)):
                c[j] = f[j] * last[j] + i[j] * g[j]
            for j in range(np.uint64(n)):
                h[j] = o[j] * tanh(c[j])

    def lstm_back(gates, before, after, dh, dc, d):
        one = gates.dtype.type(1)
        n = before.shape[1]
        for b in range(len(gates)):
            row, c, last, head, k, to = gates[b], after[b], before[b], dh[b], dc[b], d[b]
            i, f, g, o = row[:n], row[n : 2 * n], row[2 * n : 3 * n], row[3 * n :]
            di, df, dg, do = to[:n], to[n : 2 * n], to[2 * n : 3 * n], to[3 * n :]
            for j in range(np.uint64(n)):
                top, scaled = tanh(c[j]), head[j] * o[j]
                do[j] = scaled * top * (one - o[j])
                k[j] += scaled * (one - top * top)
            for j in range(np.uint64(n)):
                through = k[j] * i[j]
                di[j] = through * g[j] * (one - i[j])
                dg[j] = through * (one - g[j] * g[j])
            for j in range(np.uint64(n)):
                through = k[j] * f[j]
                df[j] = through * last[j] * (one - f[j])
                k[j] = through

    def gru(gates, product, bias, hidden, before, out):
        """hidden (B, H): the new gate's part from the state, `bias` (H,) included."""
        add_product(gates[:, : 2 * before.shape[1]], product)
        n = before.shape[1]
        for start in range(0, n, _BLOCK):
            for b in range(len(gates)):
                for j in range(start, min(start + _BLOCK, n)):
                    hidden[b, j] = product[2 * n + j, b] + bias[j]
        for b in range(len(gates)):
            row, part, h, to = gates[b], hidden[b], before[b], out[b]
            r, z, new = row[:n], row[n : 2 * n], row[2 * n :]
            sigmoids(row[: 2 * n])
            for j in range(np.uint64(n)):
                new[j] = tanh(new[j] + r[j] * part[j])
            for j in range(np.uint64(n)):
                to[j] = new[j] + z[j] * (h[j] - new[j])

    def gru_back(gates, hidden, before, dh, d, dhid, straight):
        """straight (B, H): what goes to the state before without a product."""
        one = gates.dtype.type(1)
        n = before.shape[1]
        for b in range(len(gates)):
            row, part, h, head, to = gates[b], hidden[b], before[b], dh[b], d[b]
            r, z, new = row[:n], row[n : 2 * n], row[2 * n :]
            dr, dz, dn = to[:n], to[n : 2 * n], to[2 * n :]
            past, also = straight[b], dhid[b]
            for j in range(np.uint64(n)):
                dz[j] = head[j] * (h[j] - new[j]) * z[j] * (one - z[j])
                dn[j] = head[j] * (one - z[j]) * (one - new[j] * new[j])
            for j in range(np.uint64(n)):
                dr[j] = dn[j] * part[j] * r[j] * (one - r[j])
                past[j] = head[j] * z[j]
            also[: 2 * n] = to[: 2 * n]
            last = also[2 * n :]
            for j in range(np.uint64(n)):
                last[j] = dn[j] * r[j]

    loops = (elman, elman_back, lstm, lstm_back, gru, gru_back)
    return SimpleNamespace(**{loop.__name__: jit(loop, contract=True) for loop in loops})
