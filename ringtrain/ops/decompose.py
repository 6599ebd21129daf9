"""Decompositions of matrices (..., m, n), the axes before them a batch; and the norms that need one.

A decomposition's gradient decomposes again: what the graph keeps is the input.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ..autograd import taped
from ..tensor import Tensor, raw
from .define import op
from .linalg import multiplied
from .norms import vector_norm
from .reduce import Axis, axes_of, max, min, sum
from .shape import expand_dims, swapaxes, transpose
from .solve import beside, matrices, of_matrices, ruled, several, solved, turned, widened


# --- decompositions ---------------------------------------------------------------------------------------
def _cholesky_vjp(xp: Any, g: Any, out: Any) -> Any:
    """Murray 2016, symmetric."""
    n = out.shape[-1]
    half = beside(out, np.tril(np.ones((n, n))) - 0.5 * np.eye(n))
    middle = multiplied(xp, turned(xp, out), g) * half
    left = solved(xp, out, middle)
    whole = turned(xp, solved(xp, out, turned(xp, left)))
    return (whole + turned(xp, whole)) * 0.5


cholesky = op(
    "cholesky",
    of_matrices("cholesky", lambda xp, x: xp.linalg.cholesky(x), True),
    _cholesky_vjp,
    shape=ruled(matrices("cholesky", True)),
    doc="Lower triangular l with l l' = x, of symmetric positive definite matrices (ValueError for others); it reads "
    "the lower triangle, its gradient is symmetric.",
)


def _gaps(values: Any, xp: Any) -> Any:
    """values_j - values_i at place (i, j), and 1 on the diagonal."""
    n = values.shape[-1]
    return values[..., None, :] - values[..., :, None] + beside(values, np.eye(n))


def _parts(xp: Any, name: str, x: Any, **options: Any) -> Any:
    """A decomposition again, within a vjp."""
    return getattr(taped, name)(x) if xp is taped else tuple(getattr(xp.linalg, name)(x, **options))


@widened
def _eigh_vjp(xp: Any, g: Any, x: Any) -> Any:
    w, v = _parts(xp, "eigh", x)
    middle = 0.0
    if g[1] is not None:
        off = beside(w, 1.0 - np.eye(w.shape[-1]))
        middle = multiplied(xp, turned(xp, v), g[1]) * off / _gaps(w, xp)
    if g[0] is not None:
        middle = middle + g[0][..., None, :] * beside(w, np.eye(w.shape[-1]))
    return multiplied(xp, multiplied(xp, v, middle), turned(xp, v))


_eigh = op("eigh", of_matrices("eigh", lambda xp, x: tuple(xp.linalg.eigh(x)), True), _eigh_vjp)


def eigh(x: Tensor, UPLO: str = "L") -> tuple[Tensor, Tensor]:
    """(values ascending (..., n), vectors as columns (..., n, n)) of symmetric matrices, from the lower triangle, or
    with UPLO="U" from the upper one.

    The gradient of the vectors is infinite where values coincide, and means something only for what their signs
    do not change.
    """
    shape = matrices("eigh", True)(x)
    if UPLO not in ("L", "U"):
        raise ValueError(f"eigh: UPLO is 'L' or 'U'; got {UPLO!r}")
    return several(_eigh, x if UPLO == "L" else swapaxes(x, -1, -2), shape[:-1], shape)


def eigvalsh(x: Tensor, UPLO: str = "L") -> Tensor:
    """The eigenvalues of symmetric matrices, ascending: (..., n); UPLO as in `eigh`."""
    return eigh(x, UPLO)[0]


@widened
def _svd_vjp(xp: Any, g: Any, x: Any) -> Any:
    u, s, vh = _parts(xp, "svd", x, full_matrices=False)
    gu, gs, gv = g[0], g[1], None if g[2] is None else turned(xp, g[2])
    v, k = turned(xp, vh), s.shape[-1]
    row, column = s[..., None, :], s[..., :, None]
    gaps = _gaps(s * s, xp)
    off = beside(s, 1.0 - np.eye(k))
    middle = 0.0 if gs is None else gs[..., None, :] * beside(s, np.eye(k))
    out = 0.0
    if gu is not None:
        turn = multiplied(xp, turned(xp, u), gu)
        middle = middle + (turn - turned(xp, turn)) * off / gaps * row
        if x.shape[-2] > k:
            out = out + multiplied(xp, (gu - multiplied(xp, u, turn)) / row, vh)
    if gv is not None:
        turn = multiplied(xp, vh, gv)
        middle = middle + column * ((turn - turned(xp, turn)) * off / gaps)
        if x.shape[-1] > k:
            out = out + multiplied(xp, u, turned(xp, (gv - multiplied(xp, v, turn)) / row))
    return out + multiplied(xp, multiplied(xp, u, middle), vh)


_svd = op("svd", of_matrices("svd", lambda xp, x: tuple(xp.linalg.svd(x, full_matrices=False))), _svd_vjp)


def _svd_full_vjp(xp: Any, g: Any, x: Any) -> Any:
    k = x.shape[-1] if x.shape[-1] < x.shape[-2] else x.shape[-2]
    thin = [g[0], g[1], g[2]]
    for i, part in ((0, None if g[0] is None else g[0][..., k:]), (2, None if g[2] is None else g[2][..., k:, :])):
        if part is not None:
            if bool((raw(part) != 0).any()):
                raise RuntimeError(
                    f"svd: columns of u or rows of vh beyond the first {k} are not unique, and have no gradient"
                )
            thin[i] = g[i][..., :k] if i == 0 else g[i][..., :k, :]
    return _svd_vjp(xp, thin, x)


_svd_full = op("svd_full", of_matrices("svd", lambda xp, x: tuple(xp.linalg.svd(x))), _svd_full_vjp)


def svd(x: Tensor, full_matrices: bool = False) -> tuple[Tensor, Tensor, Tensor]:
    """(u, s, vh) with x = u diag(s) vh: (..., m, k), (..., k) descending, (..., k, n), k the smaller of m and n.

    full_matrices  whether u is (..., m, m) and vh (..., n, n). NumPy's and PyTorch's default is True. The columns that
                   come on top are not unique: a gradient that arrives there is a RuntimeError

    The gradient of u and vh is infinite where values coincide or are 0, and means something only for what their signs
    do not change.
    """
    *batch, m, n = matrices("svd")(x)
    k = m if m < n else n
    if full_matrices:
        return several(_svd_full, x, (*batch, m, m), (*batch, k), (*batch, n, n))
    return several(_svd, x, (*batch, m, k), (*batch, k), (*batch, k, n))


def svdvals(x: Tensor) -> Tensor:
    """The singular values, descending: (..., k), k the smaller of m and n."""
    return svd(x)[1]


@widened
def _qr_vjp(xp: Any, g: Any, x: Any) -> Any:
    q, r = _parts(xp, "qr", x)
    m, n = x.shape[-2:]
    gq, gr = g
    if m >= n:
        return _tall(xp, q, r, gq, gr)
    # x = [a | b], a square: q and the front of r are a's, the rest of r is q' b
    rest = None if gr is None else gr[..., m:]
    if rest is not None:
        more = multiplied(xp, x[..., m:], turned(xp, rest))
        gq = more if gq is None else gq + more
    front = _tall(xp, q, r[..., :m], gq, None if gr is None else gr[..., :m])
    back = multiplied(xp, q, rest) if rest is not None else multiplied(xp, q, r[..., m:] * 0.0)
    return xp.concatenate([front, back], axis=-1)


def _tall(xp: Any, q: Any, r: Any, gq: Any, gr: Any) -> Any:
    """Walter, Lehmann and Lamour 2012, for m >= n."""
    middle = 0.0 if gr is None else multiplied(xp, r, turned(xp, gr))
    if gq is not None:
        middle = middle - multiplied(xp, turned(xp, gq), q)
    n = r.shape[-1]
    low = beside(q, np.tril(np.ones((n, n)), -1))
    lower = middle * low
    copied = lower + turned(xp, lower) + middle * beside(q, np.eye(n))
    out = multiplied(xp, q, copied)
    if gq is not None:
        out = gq + out
    solve = taped.solve if xp is taped else xp.linalg.solve
    return turned(xp, solve(r, turned(xp, out)))


_qr = op("qr", of_matrices("qr", lambda xp, x: tuple(xp.linalg.qr(x))), _qr_vjp)


def qr(x: Tensor) -> tuple[Tensor, Tensor]:
    """(q, r) with x = q r: q (..., m, k) with orthonormal columns, r (..., k, n) upper triangular, k = min(m, n)."""
    *batch, m, n = matrices("qr")(x)
    k = m if m < n else n
    return several(_qr, x, (*batch, m, k), (*batch, k, n))


# --- norms ----------------------------------------------------------------------------------------------
def norm(x: Tensor, ord: Any = None, axis: Axis = None, keepdims: bool = False) -> Tensor:
    """NumPy's norms: of vectors over one axis, of matrices over two, and by default the Euclidean one of all elements.

    ord  vectors: a number, inf, -inf; matrices: "fro", "nuc" (sum of singular values), 2, -2 (largest and smallest
         singular value), 1, -1 (of columns), inf, -inf (of rows). See `rt.norm` for the Euclidean norm of any axes.
    """
    axes = axes_of(axis, x.ndim)
    if ord is None or (ord == "fro" and len(axes) == 2):
        return vector_norm(x, 2, axis, keepdims)
    if len(axes) == 1:
        return vector_norm(x, ord, axis, keepdims)
    if len(axes) != 2 or ord not in ("nuc", 1, -1, 2, -2, math.inf, -math.inf):
        raise ValueError(f"norm: order {ord!r} over {len(axes)} axes of {x.shape} is unknown")
    row, column = axes if axis is None or isinstance(axis, int) else [a % x.ndim for a in axis]
    rest = [i for i in range(x.ndim) if i not in (row, column)]
    matrix = transpose(x, [*rest, row, column])
    if ord in ("nuc", 2, -2):
        values = svdvals(matrix)
        out = sum(values, axis=-1) if ord == "nuc" else (max if ord == 2 else min)(values, axis=-1)
    else:
        sums = sum(abs(matrix), axis=-2 if abs(ord) == 1 else -1)
        out = (max if ord > 0 else min)(sums, axis=-1)
    for a in sorted((row, column)) if keepdims else ():
        out = expand_dims(out, a)
    return out
