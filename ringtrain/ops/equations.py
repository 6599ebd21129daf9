"""Functions of matrices (..., m, n) that other ops make: least squares, triangles, exponentials, ranks, chains.

All are differentiable to any order, as far as what they are made of is.
"""

from __future__ import annotations

import builtins
import math
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np

from ..dtypes import is_float
from ..tensor import Tensor, raw, wrap
from .arrange import tril, triu
from .decompose import norm, svdvals
from .define import composed_widely
from .elementwise import square, where
from .linalg import matmul
from .reduce import count_nonzero, max, sum
from .shape import concatenate, expand_dims, moveaxis, split, squeeze, swapaxes
from .solve import beside, cutoff, inv, matrices, pinv, slogdet, solve


# --- least squares ----------------------------------------------------------------------------------------
def matrix_rank(x: Tensor, rcond: float | None = None) -> Tensor:
    """How many singular values are above rcond (None: max(m, n) eps) times the largest, int64 (...)."""
    return _rank(svdvals(x.detach()), cutoff(x, rcond))


def _rank(values: Tensor, least: float) -> Tensor:
    if not values.shape[-1]:
        return count_nonzero(values, axis=-1)
    return count_nonzero(values > max(values, axis=-1, keepdims=True) * least, axis=-1)


def lstsq(a: Tensor, b: Tensor, rcond: float | None = None) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """(x, residuals, rank, singular values): the x of least |a x - b|, and among several the smallest.

    a (..., m, n); b (..., m, k) or, beside one matrix, (m,) -> x (..., n, k) or (n,)
    residuals  the squares |a x - b|^2 (..., k) where m > n and all matrices have rank n, else of no elements, as in
               NumPy
    rcond      the part of the largest singular value below which others count as 0; None: max(m, n) eps

    x and the residuals are differentiable, for matrices whose rank stays as it is.
    """
    m, n = matrices("lstsq")(a)[-2:]
    single = b.ndim == 1
    if b.ndim < 1 or b.shape[0 if single else -2] != m:
        raise ValueError(f"lstsq: a {a.shape} and b {b.shape} do not fit; b has as many rows as a")
    wanted = expand_dims(b, 1) if single else b
    x = matmul(pinv(a, rcond=rcond), wanted)
    values = svdvals(a.detach())
    rank = _rank(values, cutoff(a, rcond))
    if m > n and (x.backend.abstract or bool((raw(rank) == n).all())):
        residuals = sum(square(matmul(a, x) - wanted), axis=-2)
    else:
        residuals = wrap(x.backend.asarray(np.zeros((0,), x.dtype)))
    return squeeze(x, -1) if single else x, residuals, rank, values


def cond(x: Tensor, p: Any = None) -> Tensor:
    """The condition number norm(x, p) norm(inv(x), p) of matrices (...): of p None or 2 the ratio of the largest to
    the smallest singular value, for any shape; of the other orders of `norm` for square ones."""
    if p is None or p in (2, -2):
        values = svdvals(x)
        return values[..., -1] / values[..., 0] if p == -2 else values[..., 0] / values[..., -1]
    matrices("cond", True)(x)
    return norm(x, p, (-2, -1)) * norm(inv(x), p, (-2, -1))


# --- triangles --------------------------------------------------------------------------------------------
def solve_triangular(a: Tensor, b: Tensor, *, upper: bool, left: bool = True, unitriangular: bool = False) -> Tensor:
    """x of a x = b for triangular a (..., n, n) and b (..., n, k), or, with left=False, of x a = b, b (..., k, n).

    upper          which triangle of a is read; the other one gets no gradient
    unitriangular  whether the diagonal counts as ones, and is not read either
    """
    n = matrices("solve_triangular", True)(a)[-1]
    if unitriangular:
        a = (triu(a, 1) if upper else tril(a, -1)) + beside(a, np.eye(n))
    else:
        a = triu(a) if upper else tril(a)
    if left:
        return solve(a, b)
    return swapaxes(solve(swapaxes(a, -1, -2), swapaxes(b, -1, -2)), -1, -2)


def cholesky_solve(b: Tensor, factor: Tensor, upper: bool = False) -> Tensor:
    """x of a x = b (..., n, k), given the `cholesky` factor of a: lower triangular, or with `upper` its transpose."""
    if upper:
        factor = swapaxes(factor, -1, -2)
    half = solve_triangular(factor, b, upper=False)
    return solve_triangular(swapaxes(factor, -1, -2), half, upper=True)


def logdet(x: Tensor) -> Tensor:
    """log(det(x)) of square matrices, without overflow: -inf where the determinant is 0, nan where it is negative."""
    sign, size = slogdet(x)
    return where(sign < 0, math.nan, size)


# --- exponentials, chains ---------------------------------------------------------------------------------
_PADE: tuple[float, ...] = (64764752532480000.0, 32382376266240000.0, 7771770303897600.0, 1187353796428800.0)
_PADE += (129060195264000.0, 10559470521600.0, 670442572800.0, 33522128640.0, 1323241920.0, 40840800.0)
_PADE += (960960.0, 16380.0, 182.0, 1.0)
_REACH = 5.371920351148152  # up to this norm the approximant of degree 13 is exact to float64 (Higham 2005)


@composed_widely
def matrix_exp(x: Tensor) -> Tensor:
    """The exponential of square matrices (..., n, n): Padé's approximant of degree 13 of x / 2^s, squared s times
    (Higham 2005). The same s for all of a batch."""
    n = matrices("matrix_exp", True)(x)[-1]
    x = x if is_float(x.dtype) else x.astype(np.float64)
    halvings = 0
    if not x.backend.abstract and x.size:
        size = float(raw(abs(x.detach())).sum(axis=-2).max())
        if not math.isfinite(size):
            raise ValueError("matrix_exp: a matrix has an infinite element or a nan")
        halvings = builtins.max(0, math.ceil(math.log2(size / _REACH))) if size else 0
    x = x * 0.5**halvings
    c, one = _PADE, wrap(beside(x, np.eye(n)))
    x2 = matmul(x, x)
    x4 = matmul(x2, x2)
    x6 = matmul(x4, x2)
    odd = matmul(x6, x6 * c[13] + x4 * c[11] + x2 * c[9]) + x6 * c[7] + x4 * c[5] + x2 * c[3] + one * c[1]
    even = matmul(x6, x6 * c[12] + x4 * c[10] + x2 * c[8]) + x6 * c[6] + x4 * c[4] + x2 * c[2] + one * c[0]
    odd = matmul(x, odd)
    out = solve(even - odd, even + odd)
    for _ in range(halvings):
        out = matmul(out, out)
    return out


def multi_dot(xs: Sequence[Tensor]) -> Tensor:
    """The product of matrices in the order of fewest multiplications; the first and the last may be vectors."""
    if len(xs) < 2:
        raise ValueError(f"multi_dot wants two tensors at least; got {len(xs)}")
    first, last = xs[0].ndim == 1, xs[-1].ndim == 1
    chain = [expand_dims(xs[0], 0) if first else xs[0], *xs[1:-1], expand_dims(xs[-1], 1) if last else xs[-1]]
    if any(x.ndim != 2 for x in chain) or any(a.shape[1] != b.shape[0] for a, b in pairwise(chain)):
        raise ValueError(f"multi_dot wants matrices that fit; got {[x.shape for x in xs]}")
    out = _chained(chain, _splits([chain[0].shape[0], *(x.shape[1] for x in chain)]), 0, len(chain) - 1)
    out = squeeze(out, 1) if last else out
    return squeeze(out, 0) if first else out


def _splits(lengths: list[int]) -> dict[tuple[int, int], int]:
    """Where to part each chain i .. j of matrices (lengths[i], lengths[i + 1]) (Cormen et al., chapter 15)."""
    n = len(lengths) - 1
    cost = {(i, i): 0 for i in range(n)}
    parting = {}
    for width in range(1, n):
        for i in range(n - width):
            j = i + width
            ways = [
                (cost[i, k] + cost[k + 1, j] + lengths[i] * lengths[k + 1] * lengths[j + 1], k) for k in range(i, j)
            ]
            cost[i, j], parting[i, j] = min(ways)
    return parting


def _chained(chain: list[Tensor], parting: dict[tuple[int, int], int], i: int, j: int) -> Tensor:
    if i == j:
        return chain[i]
    k = parting[i, j]
    return matmul(_chained(chain, parting, i, k), _chained(chain, parting, k + 1, j))


# --- vectors ----------------------------------------------------------------------------------------------
def vecdot(a: Tensor, b: Tensor, axis: int = -1) -> Tensor:
    """The sums of a * b along an axis; a and b broadcast."""
    return sum(a * b, axis=axis)


def cross(a: Tensor, b: Tensor, axis: int = -1) -> Tensor:
    """The vector products of three-dimensional vectors along an axis; a and b broadcast."""
    shape = np.broadcast_shapes(a.shape, b.shape)
    if not shape or not -len(shape) <= axis < len(shape) or a.shape[axis] != 3 or b.shape[axis] != 3:
        raise ValueError(f"cross wants vectors of 3 elements along axis {axis}; got {a.shape} and {b.shape}")
    a0, a1, a2 = split(moveaxis(a, axis, -1), 3, -1)
    b0, b1, b2 = split(moveaxis(b, axis, -1), 3, -1)
    return moveaxis(concatenate([a1 * b2 - a2 * b1, a2 * b0 - a0 * b2, a0 * b1 - a1 * b0], -1), -1, axis)


def vander(x: Tensor, n: int | None = None, increasing: bool = False) -> Tensor:
    """The powers of the elements of x (m,), a row for each: (m, n), n None: m; falling unless `increasing`."""
    if x.ndim != 1:
        raise ValueError(f"vander wants a vector; got {x.shape}")
    x = x if is_float(x.dtype) else x.astype(np.result_type(x.dtype, np.int64))
    powers = np.arange(len(x) if n is None else n)
    return expand_dims(x, 1) ** beside(x, powers if increasing else powers[::-1])
