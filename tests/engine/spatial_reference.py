"""Convolution, pooling, interpolation and sampling as their definitions say, element by element, in NumPy."""

import itertools
import math

import numpy as np


def each(value, dims):
    return (value,) * dims if np.isscalar(value) else tuple(value)


def conv(x, w, b=None, stride=1, padding=0, dilation=1, groups=1):
    dims = x.ndim - 2
    stride, padding, dilation = each(stride, dims), each(padding, dims), each(dilation, dims)
    x = np.pad(x, [(0, 0), (0, 0), *[(p, p) for p in padding]])
    o, cg, *kernel = w.shape
    reach = [d * (k - 1) + 1 for k, d in zip(kernel, dilation, strict=True)]
    plane = [(n - r) // s + 1 for n, r, s in zip(x.shape[2:], reach, stride, strict=True)]
    out = np.zeros((len(x), o, *plane), np.result_type(x, w))
    for place in np.ndindex(*plane):
        seen = tuple(slice(i * s, i * s + r, d) for i, s, r, d in zip(place, stride, reach, dilation, strict=True))
        for c in range(o):
            first = c // (o // groups) * cg
            window = x[(slice(None), slice(first, first + cg), *seen)]
            out[(slice(None), c, *place)] = (window * w[c]).reshape(len(x), -1).sum(1)
    return out if b is None else out + b.reshape(-1, *[1] * dims)


def conv_transpose(x, w, b=None, stride=1, padding=0, output_padding=0, groups=1, dilation=1):
    """Every element of x adds its multiple of the kernel to the result."""
    dims = x.ndim - 2
    stride, padding, dilation = each(stride, dims), each(padding, dims), each(dilation, dims)
    extra = each(output_padding, dims)
    c, og, *kernel = w.shape
    reach = [d * (k - 1) + 1 for k, d in zip(kernel, dilation, strict=True)]
    plane = [(n - 1) * s + r + e for n, s, r, e in zip(x.shape[2:], stride, reach, extra, strict=True)]
    out = np.zeros((len(x), og * groups, *plane))
    for place in np.ndindex(*x.shape[2:]):
        seen = tuple(slice(i * s, i * s + r, d) for i, s, r, d in zip(place, stride, reach, dilation, strict=True))
        for i in range(c):
            first = i // (c // groups) * og
            target = out[(slice(None), slice(first, first + og), *seen)]
            target += x[(slice(None), i, *place)].reshape(-1, *[1] * (dims + 1)) * w[i]
    inner = tuple(slice(p, n - p) for p, n in zip(padding, plane, strict=True))
    out = out[(..., *inner)]
    return out if b is None else out + b.reshape(-1, *[1] * dims)


def pool(x, reduce, kernel, stride=None, padding=0, dilation=1, ceil_mode=False):
    """`reduce(elements, count with padding)` of what each window sees of the input, elements (N, C, m)."""
    dims = x.ndim - 2
    kernel = each(kernel, dims)
    stride, padding = each(kernel if stride is None else stride, dims), each(padding, dims)
    dilation = each(dilation, dims)
    axes = []
    for n, k, s, p, d in zip(x.shape[2:], kernel, stride, padding, dilation, strict=True):
        starts = list(range(-p, n + p - d * (k - 1), s))
        if ceil_mode and starts[-1] + d * (k - 1) + 1 < n + p and starts[-1] + s < n:
            starts.append(starts[-1] + s)
        seen = [[a + i * d for i in range(k)] for a in starts]
        axes.append([([i for i in w if 0 <= i < n], sum(-p <= i < n + p for i in w)) for w in seen])
    out = np.empty((*x.shape[:2], *map(len, axes)))
    for place in np.ndindex(*map(len, axes)):
        windows = [axis[i] for axis, i in zip(axes, place, strict=True)]
        elements = x[(slice(None), slice(None), *np.ix_(*[w for w, _ in windows]))]
        out[(..., *place)] = reduce(elements.reshape(*x.shape[:2], -1), math.prod(c for _, c in windows))
    return out


def largest(elements, count):
    return elements.max(-1)


def mean(elements, count):
    return elements.sum(-1) / count


def mean_of_inside(elements, count):
    return elements.mean(-1)


def adaptive(x, reduce, size):
    out = np.empty((*x.shape[:2], *size))
    for place in np.ndindex(*size):
        bins = [
            slice(math.floor(i * n / m), math.ceil((i + 1) * n / m))
            for i, n, m in zip(place, x.shape[2:], size, strict=True)
        ]
        out[(..., *place)] = reduce(x[(..., *bins)].reshape(*x.shape[:2], -1), 1)
    return out


def _cubic(d, a=-0.75):
    d = abs(d)
    if d <= 1:
        return (a + 2) * d**3 - (a + 3) * d**2 + 1
    return a * d**3 - 5 * a * d**2 + 8 * a * d - 4 * a if d < 2 else 0.0


def interpolate(x, size, mode, align_corners=False):
    """Element by element: the sum over neighbours of the product of each axis' weights."""
    out = np.zeros((*x.shape[:2], *size))
    for place in np.ndindex(*size):
        axes = []
        for i, n, m in zip(place, x.shape[2:], size, strict=True):
            at = i * (n - 1) / max(m - 1, 1) if align_corners else (i + 0.5) * n / m - 0.5
            if mode == "nearest":
                axes.append([(i * n // m, 1.0)])
            elif mode == "linear":
                at = min(max(at, 0.0), n - 1.0)
                low = math.floor(at)
                axes.append([(low, 1 - at + low), (min(low + 1, n - 1), at - low)])
            else:
                low = math.floor(at)
                axes.append([(min(max(k, 0), n - 1), _cubic(at - k)) for k in range(low - 1, low + 3)])
        for terms in itertools.product(*axes):
            out[(..., *place)] += x[(..., *[k for k, _ in terms])] * math.prod(w for _, w in terms)
    return out


def bilinear(image, y, x):
    """One image (C, H, W) at a place, zeros beyond the edge."""
    _, h, w = image.shape
    total = 0.0
    for i, j in itertools.product((math.floor(y), math.floor(y) + 1), (math.floor(x), math.floor(x) + 1)):
        if 0 <= i < h and 0 <= j < w:
            total = total + image[:, i, j] * (1 - abs(y - i)) * (1 - abs(x - j))
    return total


def _keys(d, a=-0.75):
    """The cubic of Keys 1981 at a distance."""
    d = abs(d)
    if d <= 1:
        return (a + 2) * d**3 - (a + 3) * d**2 + 1
    return a * d**3 - 5 * a * d**2 + 8 * a * d - 4 * a if d < 2 else 0.0


def bicubic(image, y, x):
    h, w = image.shape[1:]
    total = 0.0
    for i, j in itertools.product(range(h), range(w)):
        total = total + image[:, i, j] * (_keys(y - i) * _keys(x - j))
    return total


def grid_sample(x, grid, read=bilinear):
    n, c, h, w = x.shape
    out = np.zeros((n, c, *grid.shape[1:3]))
    for b, i, j in np.ndindex(*grid.shape[:3]):
        gx, gy = grid[b, i, j]
        out[b, :, i, j] = read(x[b], ((gy + 1) * h - 1) / 2, ((gx + 1) * w - 1) / 2)
    return out


def roi_align(x, boxes, size, scale=1.0, ratio=-1, aligned=False):
    """As torchvision's documentation and code define it, sample by sample."""
    c, h, w = x.shape[1:]
    out = np.zeros((len(boxes), c, *size))
    for k, (image, *corners) in enumerate(boxes):
        x1, y1, x2, y2 = (v * scale - (0.5 if aligned else 0.0) for v in corners)
        sides = [y2 - y1, x2 - x1] if aligned else [max(y2 - y1, 1.0), max(x2 - x1, 1.0)]
        cells = [s / m for s, m in zip(sides, size, strict=True)]
        counts = [ratio if ratio > 0 else math.ceil(cell) for cell in cells]
        for i, j in np.ndindex(*size):
            total = 0.0
            for a, b in np.ndindex(*counts):
                y = y1 + cells[0] * (i + (a + 0.5) / counts[0])
                z = x1 + cells[1] * (j + (b + 0.5) / counts[1])
                if -1 <= y <= h and -1 <= z <= w:
                    y, z = min(max(y, 0), h - 1), min(max(z, 0), w - 1)
                    total = total + bilinear(x[int(image)], y, z)
            out[k, :, i, j] = total / max(math.prod(counts), 1)
    return out
