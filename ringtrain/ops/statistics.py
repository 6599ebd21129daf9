"""Statistics beyond means: covariances, quantiles without nans, running sums of exponentials, integrals."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ..dtypes import is_float
from ..tensor import Tensor, raw, wrap
from .define import composed_widely
from .elementwise import clip, floor, isnan, logaddexp, logical_not, minimum, sqrt
from .index import take_along_axis
from .linalg import matmul
from .reduce import Axis, axes_of, kept, sum
from .shape import axis_of, concatenate, expand_dims, of_numbers, reshape, squeeze, stack, transpose
from .sort import argsort, parts_of, sort


# --- second moments ---------------------------------------------------------------------------------------
def cov(x: Tensor, rowvar: bool = True, ddof: int = 1, fweights: Any = None, aweights: Any = None) -> Tensor:
    """The covariances of variables: (k, n), a row for each with its n values, -> (k, k); a vector -> ().

    rowvar    False: a column for each, (n, k)
    ddof      sums of products are divided by n - ddof
    fweights  how often each of the n counts (n,), integers; n is then their sum
    aweights  how much each of them counts (n,)
    """
    x = _variables(x, rowvar, "cov")
    count, weights = x.shape[1], None
    if fweights is not None:
        weights = _weights(x, fweights, "fweights")
        count = sum(weights)
    if aweights is not None:
        shares = _weights(x, aweights, "aweights")
        both = shares if weights is None else shares * weights
        weights, count = both, sum(both)
        ddof = ddof * (sum(both * shares) / count)
    mean = x.mean(axis=1, keepdims=True) if weights is None else sum(x * weights, axis=1, keepdims=True) / sum(weights)
    deviation = x - mean
    out = matmul(deviation if weights is None else deviation * weights, deviation.T) * (1.0 / (count - ddof))
    return reshape(out, ()) if x.shape[0] == 1 else out


def _weights(x: Tensor, given: Any, what: str) -> Tensor:
    weights = given if isinstance(given, Tensor) else wrap(x.backend.asarray(given))
    if weights.shape != x.shape[1:]:
        raise ValueError(f"cov: {what} are {x.shape[1:]}, one for each value of a variable; got {weights.shape}")
    if what == "fweights" and weights.dtype.kind not in "iu":
        raise TypeError(f"cov: fweights are counts, integers; got {weights.dtype}")
    if not x.backend.abstract and bool((weights._data < 0).any()):
        raise ValueError(f"cov: {what} are >= 0")
    return weights.astype(x.dtype)


def corrcoef(x: Tensor, rowvar: bool = True) -> Tensor:
    """Pearson's correlations of variables: (k, n) -> (k, k); `rowvar` as in `cov`."""
    x = _variables(x, rowvar, "corrcoef")
    deviation = x - x.mean(axis=1, keepdims=True)
    normal = deviation / sqrt(sum(deviation * deviation, axis=1, keepdims=True))
    out = clip(matmul(normal, normal.T), -1.0, 1.0)
    return reshape(out, ()) if x.shape[0] == 1 else out


def _variables(x: Tensor, rowvar: bool, name: str) -> Tensor:
    if x.ndim > 2 or x.ndim < 1 or 0 in x.shape:
        raise ValueError(f"{name} wants variables (k, n) or (n,) with values; got {x.shape}")
    x = x if is_float(x.dtype) else x.astype(np.float64)
    if x.ndim == 1:
        return expand_dims(x, 0)
    return x if rowvar else x.T


# --- order ------------------------------------------------------------------------------------------------
@of_numbers
def kthvalue(x: Tensor, k: int, axis: int = -1, keepdims: bool = False) -> tuple[Tensor, Tensor]:
    """(values, indices) of the k-th smallest along `axis`, k = 1 the smallest; of equals the first come first."""
    a = axis_of(axis, x.ndim, "kthvalue")
    if not 1 <= k <= x.shape[a]:
        raise ValueError(f"kthvalue: k={k} of axis {axis} of {x.shape}, which has {x.shape[a]} elements")
    index = argsort(x, a)[(*(slice(None),) * a, slice(k - 1, k))]
    value = take_along_axis(x, index, a)
    return (value, index) if keepdims else (squeeze(value, a), squeeze(index, a))


def nanquantile(x: Tensor, q: Any, axis: Axis = None, keepdims: bool = False, method: str = "linear") -> Tensor:
    """`quantile` of the elements over `axis` that are no nan; nan where all are."""
    parts, between = parts_of(q, method, "nanquantile")
    axes = axes_of(axis, x.ndim)
    rest = [i for i in range(x.ndim) if i not in axes]
    count = math.prod(x.shape[a] for a in axes)
    if count == 0:
        raise ValueError(f"nanquantile of no elements: axis {axis} of shape {x.shape}")
    flat = reshape(transpose(x, (*rest, *axes)), (*(x.shape[i] for i in rest), count))
    ordered = sort(flat)  # nans last
    last = sum(logical_not(isnan(flat)), axis=-1, keepdims=True).astype(x.dtype) - 1.0
    outs = []
    for part in parts.reshape(-1).tolist():
        place = clip(last * part, low=0.0)
        low = floor(place)
        high = minimum(low + 1.0, clip(last, low=0.0))
        first, second = (take_along_axis(ordered, raw(t.astype(np.int64)), -1) for t in (low, high))
        value = squeeze(first + (second - first) * between(place - low), -1)
        outs.append(reshape(value, kept(x.shape, axis)) if keepdims else value)
    return outs[0] if parts.ndim == 0 else stack(outs)


def nanmedian(x: Tensor, axis: Axis = None, keepdims: bool = False) -> Tensor:
    """The middle element over `axis` of those that are no nan, or the mean of the two in the middle (as in NumPy)."""
    return nanquantile(x, 0.5, axis, keepdims)


# --- running sums, integrals ------------------------------------------------------------------------------
@of_numbers
@composed_widely
def logcumsumexp(x: Tensor, axis: int = -1) -> Tensor:
    """log(cumsum(exp(x))) along an axis, without overflow."""
    a = axis_of(axis, x.ndim, "logcumsumexp")
    lead, n, done = (slice(None),) * a, x.shape[a], 1
    while done < n:
        start, end = x[(*lead, slice(done))], x[(*lead, slice(done, None))]
        x = concatenate([start, logaddexp(end, x[(*lead, slice(n - done))])], a)
        done *= 2
    return x


def trapezoid(y: Tensor, x: Any = None, dx: float = 1.0, axis: int = -1) -> Tensor:
    """The integral of y along an axis by the trapezoidal rule.

    x  the places of the values, of y's shape or a vector; None: they are dx apart
    """
    a = axis_of(axis, y.ndim, "trapezoid")
    lead = (slice(None),) * a
    heights = (y[(*lead, slice(1, None))] + y[(*lead, slice(None, -1))]) * 0.5
    if x is None:
        return sum(heights * dx, axis=a)
    places = x if hasattr(x, "shape") else y.backend.asarray(x, y.dtype)
    if len(places.shape) == 1:
        steps = places[1:] - places[:-1]
        return sum(heights * steps.reshape([-1 if i == a else 1 for i in range(y.ndim)]), axis=a)
    return sum(heights * (places[(*lead, slice(1, None))] - places[(*lead, slice(None, -1))]), axis=a)
