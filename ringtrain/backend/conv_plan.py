"""Where the numbers of a convolution lie: the tables that `correlate` goes by.

Images are (D, H, W, C) in memory; there are always three axes of space here. A place of the result takes its terms from
those places of the kernel that meet the image, so no zeros are laid around it: places for which these are the same
make a part. Offsets are in bytes.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np

from .correlate import PART, TOGETHER
from .vectors import BYTES

Axes = tuple[int, int, int]
CHUNK = 128 << 10  # bytes of images and gradients that a weight's gradient goes through before the next tile
PLANS = 128  # geometries whose tables are kept, for each pass
FEW = 64  # places for which a part's last tile, partly empty, would cost much: several images share tiles


class Geometry(NamedTuple):
    """A convolution of images (N, C, D, H, W) with a weight (O, C / groups, KD, KH, KW) of numbers of `size` bytes.

    several: whether N > 1. Tables are the same for every other number of images, as a last batch may have.
    """

    several: bool
    space: Axes
    channels: int
    outputs: int
    kernel: Axes
    stride: Axes
    padding: Axes
    dilation: Axes
    groups: int
    size: int

    @property
    def axes(self) -> list[tuple[int, int, int, int, int]]:
        """(n, kernel, stride, padding, dilation) of each axis."""
        return list(zip(self.space, self.kernel, self.stride, self.padding, self.dilation, strict=True))

    @property
    def out(self) -> Axes:
        d, h, w = ((n + 2 * p - d * (k - 1) - 1) // s + 1 for n, k, s, p, d in self.axes)
        return d, h, w

    @property
    def depthwise(self) -> bool:
        """Whether each channel has a kernel of its own."""
        return 1 < self.groups == self.channels == self.outputs

    @property
    def pointwise(self) -> bool:
        """Whether it is one matrix product, of the places that the stride leaves."""
        return self.taps == self.groups == 1 and not any(self.padding)

    @property
    def taps(self) -> int:
        """Places of the kernel."""
        return math.prod(self.kernel)


class Pass(NamedTuple):
    """One pass over the images: forward, or that of a gradient.

    parts   (n, len(PART))
    step    bytes from one term of a sum to the next within a run
    order   places of the kernel, as numbers of it, in the order of the panels' rows
    whole   whether every place of the result is in a part; the others have no terms
    kept    the tables that `parts` has the addresses of
    """

    parts: np.ndarray
    step: int
    order: np.ndarray
    whole: bool
    kept: list[np.ndarray]


class _Class(NamedTuple):
    """Places along an axis with the same terms: of the result, and where each has its first term."""

    places: list[int]
    firsts: list[int]
    #: of each term, the place of the kernel and how far its place is from the first's
    taps: tuple[int, ...]
    offsets: tuple[int, ...]


def _classes(terms: Sequence[Sequence[tuple[int, int]]]) -> list[_Class]:
    """terms: for each place of the result, pairs of a place of the kernel and the place it meets there."""
    found: dict[Any, _Class] = {}
    for place, pairs in enumerate(terms):
        if pairs:
            pairs = sorted(pairs, key=lambda pair: pair[1])
            first = pairs[0][1]
            taps, offsets = tuple(u for u, _ in pairs), tuple(z - first for _, z in pairs)
            mine = found.setdefault((taps, offsets), _Class([], [], taps, offsets))
            mine.places.append(place)
            mine.firsts.append(first)
    return list(found.values())


def met(n: int, k: int, s: int, p: int, d: int) -> list[list[tuple[int, int]]]:
    """For each place of the output, the places of the kernel and of the image that meet there."""
    out = (n + 2 * p - d * (k - 1) - 1) // s + 1
    return [[(u, y * s - p + u * d) for u in range(k) if 0 <= y * s - p + u * d < n] for y in range(out)]


def _exchanged(met: list[list[tuple[int, int]]], n: int, which: int) -> list[list[tuple[int, int]]]:
    """The same by place of the image (1), as (kernel, output), or by place of the kernel (0), as (output, image)."""
    turned: list[list[tuple[int, int]]] = [[] for _ in range(n)]
    for y, pairs in enumerate(met):
        for u, z in pairs:
            turned[z if which else u].append((u, y) if which else (y, z))
    return turned


def outer(axes: Sequence[Sequence[int]], strides: Sequence[int]) -> np.ndarray:
    """Offsets of all places: every combination of indices, times the strides."""
    grids = [np.asarray(a, np.int64) * s for a, s in zip(axes, strides, strict=True)]
    return np.ascontiguousarray((grids[0][:, None, None] + grids[1][:, None] + grids[2]).reshape(-1))


def distances(space: Sequence[int], each: int) -> Axes:
    """From place to place along each axis, where a place takes `each`."""
    return (space[1] * space[2] * each, space[2] * each, each)


def _made(step: int, order: np.ndarray, whole: bool, parts: list[dict[str, Any]]) -> Pass:
    kept = [value for part in parts for value in part.values() if isinstance(value, np.ndarray)]
    rows = [
        [v.ctypes.data if isinstance(v, np.ndarray) else v for v in (part.get(k, 0) for k in PART)] for part in parts
    ]
    return Pass(np.array(rows, np.int64).reshape(-1, len(PART)), step, order, whole, kept)


def _spread(table: np.ndarray, images: int, distance: int) -> np.ndarray:
    """A table of rows for several images."""
    return (np.arange(images)[:, None] * distance + table).reshape(-1)


def _gather(g: Geometry, terms: list, source: Axes, read: int, result: Axes, made: int) -> Pass:
    """A pass whose rows are places of the result: `read` channels from the source, `made` for the result."""
    mine, columns = read // g.groups, made // g.groups
    strides, there = distances(source, read * g.size), distances(result, made * g.size)
    axes = [_classes(axis) for axis in terms]
    # the panels' rows by the order in which taps follow each other, each group of a stride on its own
    orders = [list(dict.fromkeys(u for c in sorted(axis, key=lambda c: -len(c.taps)) for u in c.taps)) for axis in axes]
    orders = [[*o, *(u for u in range(k) if u not in o)] for o, k in zip(orders, g.kernel, strict=True)]
    at = [{u: i for i, u in enumerate(o)} for o in orders]
    parts = []
    for classes in itertools.product(*axes):
        runs = outer([c.offsets for c in classes], strides)
        b_runs = outer([[a[u] for u in c.taps] for a, c in zip(at, classes, strict=True)], distances(g.kernel, mine))
        b_runs *= 2 * BYTES
        across, length = len(classes[2].taps), mine
        side = [at[2][u] - at[2][classes[2].taps[0]] for u in classes[2].taps]
        if g.groups == 1 and side == list(range(across)) == list(classes[2].offsets):  # side by side in both
            runs, b_runs, length = runs[::across].copy(), b_runs[::across].copy(), mine * across
        rows, c_rows = outer([c.firsts for c in classes], strides), outer([c.places for c in classes], there)
        m, together = len(rows), TOGETHER if len(rows) < FEW and g.several else 1
        if together > 1:
            rows = _spread(rows, together, math.prod(source) * read * g.size)
            c_rows = _spread(c_rows, together, math.prod(result) * made * g.size)
        common = {"rows": rows, "m": m, "runs": runs, "b_runs": b_runs, "count": len(runs), "length": length}
        common |= {"c_rows": c_rows, "columns": columns, "together": together}
        for i in range(g.groups):
            parts.append({**common, "a": i * mine * g.size, "c": i * columns * g.size, "start": i * columns * g.size})
    whole = all(sum(len(c.places) for c in axis) == n for axis, n in zip(axes, result, strict=True))
    return _made(g.size, outer(orders, distances(g.kernel, 1)), whole, parts)


@lru_cache(PLANS)
def forward(g: Geometry) -> Pass:
    """The output, from the images."""
    return _gather(g, [met(*axis) for axis in g.axes], g.space, g.channels, g.out, g.outputs)


@lru_cache(PLANS)
def input_gradient(g: Geometry) -> Pass:
    """The images' gradient, from the output's."""
    terms = [_exchanged(met(*axis), axis[0], 1) for axis in g.axes]
    return _gather(g, terms, g.out, g.outputs, g.space, g.channels)


@lru_cache(PLANS)
def weight_gradient(g: Geometry) -> Pass:
    """The weight's gradient (groups, taps, channels, outputs of a group): a term for each place of the output."""
    mine, made = g.channels // g.groups, g.outputs // g.groups
    strides, there = distances(g.space, g.channels * g.size), distances(g.out, g.outputs * g.size)
    groups: list[dict[Any, list]] = []  # by axis: taps that meet the same places of the output, each with its image's
    for axis in g.axes:
        found: dict[Any, list] = {}
        for u, pairs in enumerate(_exchanged(met(*axis), axis[1], 0)):
            if pairs:
                found.setdefault((pairs[0][0], len(pairs)), []).append((u, pairs[0][1]))
        groups.append(found)
    parts = []
    read = (g.stride[2] * g.channels + g.outputs) * g.size
    for keys in itertools.product(*groups):
        taps = [axis[key] for axis, key in zip(groups, keys, strict=True)]
        each = np.arange(mine) * g.size
        rows = (outer([[z for _, z in t] for t in taps], strides)[:, None] + each).reshape(-1)
        index = outer([[u for u, _ in t] for t in taps], distances(g.kernel, 1))
        c_rows = ((index[:, None] * mine + np.arange(mine)) * made * g.size).reshape(-1)
        (d0, dn), (h0, hn), (w0, wn) = keys
        runs = outer([range(dn), range(hn), [0]], [a * s for a, s in zip(strides, g.stride, strict=True)])
        b_runs = outer([range(d0, d0 + dn), range(h0, h0 + hn), [w0]], there)
        common = {"rows": rows, "m": len(rows), "count": len(runs), "length": wn}
        together = TOGETHER if len(runs) * wn < FEW and g.several else 1  # or sums would have few terms
        if together > 1:
            runs = _spread(runs, together, math.prod(g.space) * g.channels * g.size)
            b_runs = _spread(b_runs, together, math.prod(g.out) * g.outputs * g.size)
        common |= {"runs": runs, "b_runs": b_runs, "together": together}
        common |= {"c_rows": c_rows, "columns": made, "panel": 2 * BYTES, "at_once": max(1, CHUNK // (read * wn))}
        for i in range(g.groups):
            c = i * g.taps * mine * made * g.size
            parts.append({**common, "a": i * mine * g.size, "b": i * made * g.size, "c": c})
    return _made(strides[2] * g.stride[2], np.arange(0), True, parts)
