# mypy: ignore-errors
# What numba compiles is typed by numba.
"""Compiled loops over windows of planes.

largest, largest_back  the largest of each window of x (N, H, W, C), and where it is: `best`, the first in its plane
bin_means              of bins that tile planes (planes, H, W): rows are added first, then what lies side by side

Importing it loads numba: import it only when used.
"""

import numpy as np

from .jit import jit


@jit
def largest(x, out, best, kh, kw, sh, sw, ph, pw):
    n, h, w, c = x.shape
    _, oh, ow, _ = out.shape
    for b in range(n):
        for i in range(oh):
            for j in range(ow):
                top, left = i * sh - ph, j * sw - pw
                first = True
                for y in range(max(top, 0), min(top + kh, h)):
                    for z in range(max(left, 0), min(left + kw, w)):
                        place = y * w + z
                        if first:
                            for q in range(c):
                                out[b, i, j, q] = x[b, y, z, q]
                                best[b, i, j, q] = place
                            first = False
                        else:
                            for q in range(c):
                                value = x[b, y, z, q]
                                if value > out[b, i, j, q] or value != value:
                                    out[b, i, j, q] = value
                                    best[b, i, j, q] = place


@jit
def largest_back(g, best, gx):
    n, oh, ow, c = g.shape
    w = gx.shape[2]
    for b in range(n):
        for i in range(oh):
            for j in range(ow):
                for q in range(c):
                    place = best[b, i, j, q]
                    gx[b, place // w, place % w, q] += g[b, i, j, q]


@jit
def largest_back_apart(g, best, gx, kh, kw, sh, sw, ph, pw):
    """Of windows that do not overlap: all elements are written once, zeros too, without looking for their places."""
    n, oh, ow, c = g.shape
    _, h, w, _ = gx.shape
    zero = g.dtype.type(0)
    for b in range(n):
        for i in range(oh):
            for j in range(ow):
                top, left = i * sh - ph, j * sw - pw
                heads, places = g[b, i, j], best[b, i, j]
                for y in range(max(top, 0), min(top + kh, h)):
                    for z in range(max(left, 0), min(left + kw, w)):
                        here, target = np.int32(y * w + z), gx[b, y, z]
                        for q in range(c):
                            target[q] = heads[q] if places[q] == here else zero


@jit
def bin_means(x, out, kh, kw):
    planes, oh, ow = out.shape
    width = x.shape[2]
    share, sums = x.dtype.type(1) / x.dtype.type(kh * kw), np.empty(width, x.dtype)
    for p in range(planes):
        for i in range(oh):
            sums[:] = x[p, i * kh]
            for y in range(i * kh + 1, (i + 1) * kh):
                row = x[p, y]
                for z in range(np.uint64(width)):
                    sums[z] += row[z]
            for j in range(ow):
                whole = sums[j * kw]
                for z in range(j * kw + 1, (j + 1) * kw):
                    whole += sums[z]
                out[p, i, j] = whole * share


@jit
def bin_means_back(g, gx, kh, kw):
    planes, oh, ow = g.shape
    share = g.dtype.type(1) / g.dtype.type(kh * kw)
    for p in range(planes):
        for i in range(oh):
            first = gx[p, i * kh]
            for j in range(ow):
                first[j * kw : (j + 1) * kw] = g[p, i, j] * share
            for y in range(i * kh + 1, (i + 1) * kh):
                gx[p, y] = first
