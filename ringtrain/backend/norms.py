# mypy: ignore-errors
# What numba compiles is typed by numba.
"""Compiled loops of normalisation: columns measured and scaled (batch norm), rows (layer norm), groups of a sample.

batch_measure, batch_apply, batch_back  x (places, C)
layer, layer_back                       x (rows, D); sums along a row are taken in the order of vectors
group, group_back                       x (groups of all samples, channels of a group, places)

Importing it loads numba: import it only when used.
"""

import numpy as np

from .jit import jit
from .rows import inner, total

_BLOCK = 256  # rows summed in the dtype of the data before they are added to the float64 total


@jit
def batch_measure(x, mean, var):
    """Means and biased variances of columns."""
    m, c = x.shape
    part = np.zeros(c, x.dtype)
    centre = np.empty(c, x.dtype)
    for turn in range(2):
        whole = np.zeros(c, np.float64)
        for start in range(0, m, _BLOCK):
            part[:] = 0
            for i in range(np.uint64(start), np.uint64(min(m, start + _BLOCK))):
                row = x[i]
                if turn == 0:
                    for j in range(np.uint64(c)):
                        part[j] += row[j]
                else:
                    for j in range(np.uint64(c)):
                        d = row[j] - centre[j]
                        part[j] += d * d
            for j in range(np.uint64(c)):
                whole[j] += part[j]
        for j in range(c):
            if turn == 0:
                mean[j] = centre[j] = whole[j] / m
            else:
                var[j] = whole[j] / m


@jit
def batch_apply(x, scale, shift, out):
    m, c = x.shape
    for i in range(np.uint64(m)):
        row, to = x[i], out[i]
        for j in range(np.uint64(c)):
            to[j] = row[j] * scale[j] + shift[j]


@jit
def batch_back(g, x, mean, inverse, factor, gx, sums):
    """sums (2, c): of g, and of g times normalised x. gx = factor (g - mean(g) - normalised mean(g normalised))."""
    m, c = x.shape
    part = np.zeros((2, c), x.dtype)
    sums[:] = 0
    for start in range(0, m, _BLOCK):
        part[:] = 0
        plain, times = part[0], part[1]
        for i in range(np.uint64(start), np.uint64(min(m, start + _BLOCK))):
            row, from_ = x[i], g[i]
            for j in range(np.uint64(c)):
                plain[j] += from_[j]
                times[j] += from_[j] * (row[j] - mean[j])
        for j in range(np.uint64(c)):
            sums[0, j] += plain[j]
            sums[1, j] += times[j]
    base, slope = np.empty(c, x.dtype), np.empty(c, x.dtype)
    for j in range(c):
        sums[1, j] *= inverse[j]
        base[j] = sums[0, j] / m
        slope[j] = sums[1, j] / m * inverse[j]
    for i in range(np.uint64(m)):
        row, from_, to = x[i], g[i], gx[i]
        for j in range(np.uint64(c)):
            to[j] = factor[j] * (from_[j] - base[j] - (row[j] - mean[j]) * slope[j])


@jit(reorder=True)
def layer(x, weight, bias, eps, out, mean, inverse):
    m, d = x.shape
    for i in range(m):
        row, to = x[i], out[i]
        whole = x.dtype.type(0)
        for j in range(np.uint64(d)):
            whole += row[j]
        centre = x.dtype.type(whole / d)
        squares = x.dtype.type(0)
        for j in range(np.uint64(d)):
            squares += (row[j] - centre) * (row[j] - centre)
        scale = x.dtype.type(1 / np.sqrt(squares / d + eps))
        mean[i], inverse[i] = centre, scale
        for j in range(np.uint64(d)):
            to[j] = (row[j] - centre) * scale * weight[j] + bias[j]


@jit(reorder=True)
def layer_back(g, x, weight, mean, inverse, gx, gw, gb):
    m, d = x.shape
    part = np.zeros((2, d), x.dtype)
    for start in range(0, m, _BLOCK):
        part[:] = 0
        to_weight, to_bias = part[0], part[1]
        for i in range(start, min(m, start + _BLOCK)):
            row, from_, to = x[i], g[i], gx[i]
            centre, scale = mean[i], inverse[i]
            plain = times = x.dtype.type(0)
            for j in range(np.uint64(d)):
                normal = (row[j] - centre) * scale
                h = from_[j] * weight[j]
                plain += h
                times += h * normal
                to_weight[j] += from_[j] * normal
                to_bias[j] += from_[j]
            plain, times = x.dtype.type(plain / d), x.dtype.type(times / d)
            for j in range(np.uint64(d)):
                normal = (row[j] - centre) * scale
                to[j] = scale * (from_[j] * weight[j] - plain - normal * times)
        for j in range(np.uint64(d)):
            gw[j] += to_weight[j]
            gb[j] += to_bias[j]


@jit(contract=True)
def group(x, weight, bias, eps, out, mean, var):
    m, channels, places = x.shape
    for i in range(m):
        row = x[i].reshape(-1)
        centre = x.dtype.type(total(row) / row.size)
        room = out[i].reshape(-1)
        for j in range(np.uint64(row.size)):
            room[j] = row[j] - centre
        spread = x.dtype.type(inner(room, room) / row.size)
        mean[i], var[i] = centre, spread
        scale = x.dtype.type(1 / np.sqrt(spread + eps))
        for c in range(channels):
            k = (i * channels + c) % len(weight)
            slope, shift, to = scale * weight[k], bias[k], out[i, c]
            for j in range(np.uint64(places)):
                to[j] = to[j] * slope + shift


@jit(contract=True)
def group_back(g, x, weight, eps, mean, var, gx, gw, gb):
    m, channels, places = x.shape
    for i in range(m):
        centre, scale = mean[i], x.dtype.type(1 / np.sqrt(var[i] + eps))
        plain = times = x.dtype.type(0)
        for c in range(channels):
            k = (i * channels + c) % len(weight)
            whole = total(g[i, c])
            along = (inner(g[i, c], x[i, c]) - whole * centre) * scale  # with what was normalised
            gb[k] += whole
            gw[k] += along
            plain += whole * weight[k]
            times += along * weight[k]
        base = plain / x.dtype.type(channels * places) * scale
        slope = times / x.dtype.type(channels * places) * scale * scale
        for c in range(channels):
            factor = scale * weight[(i * channels + c) % len(weight)]
            head, row, to = g[i, c], x[i, c], gx[i, c]
            for j in range(np.uint64(places)):
                to[j] = head[j] * factor - (row[j] - centre) * slope - base
