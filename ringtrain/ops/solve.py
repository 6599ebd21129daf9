"""Matrices solved and inverted, determinants and powers: (..., n, n), the axes before them a batch.

16-bit floats are computed in float32. What `decompose.py` shares is here too.
"""

from __future__ import annotations

import builtins
import functools
from collections.abc import Callable
from typing import Any

import numpy as np

from .. import backend as backends
from ..autograd import taped
from ..backend.meta import MetaArray
from ..dtypes import is_float, wide
from ..tensor import Tensor, raw, wrap
from .define import op
from .linalg import matmul, multiplied
from .shape import expand_dims, squeeze


def matrices(name: str, square: bool = False) -> Callable[..., tuple[int, ...]]:
    """A shape rule that checks for matrices, and gives their shape."""

    def rule(x: Any, **_: Any) -> tuple[int, ...]:
        if len(x.shape) < 2 or (square and x.shape[-1] != x.shape[-2]):
            raise ValueError(f"{name} wants {'square ' if square else ''}matrices in the last two axes; got {x.shape}")
        return x.shape

    return rule


def ruled(shape: Callable[..., tuple[int, ...]]) -> Callable[..., MetaArray]:
    """A shape rule with the dtype: integers give float64."""

    def rule(*xs: Any) -> MetaArray:
        dtype = np.result_type(*(x.dtype for x in xs))
        return MetaArray(shape(*xs), dtype if is_float(dtype) else np.float64)

    return rule


def widened(vjp: Callable) -> Callable:
    """The vjp of an op with several results, on raw arrays of 16 bits in float32."""

    @functools.wraps(vjp)
    def inside(xp: Any, g: Any, x: Any) -> Any:
        accumulator = wide(x.dtype)
        if xp is not taped and accumulator is not None:
            x, g = x.astype(accumulator), [part if part is None else part.astype(accumulator) for part in g]
        return vjp(xp, g, x)

    return inside


def turned(xp: Any, x: Any) -> Any:
    n = len(x.shape)
    return xp.transpose(x, (*range(n - 2), n - 1, n - 2))


def beside(x: Any, values: np.ndarray) -> Any:
    """Values as an array beside x, of its dtype."""
    return backends.of(raw(x)).asarray(values.astype(x.dtype))


def _narrow(outs: tuple, dtype: Any) -> tuple:
    return tuple(out.astype(dtype) for out in outs)


def of_matrices(name: str, forward: Callable, square: bool = False) -> Callable:
    """A forward function of matrices, in float32 for 16 bits; several results are narrowed each."""
    rule = matrices(name, square)

    def inside(xp: Any, x: Any) -> Any:
        rule(x)
        accumulator = wide(x.dtype)
        x = x if is_float(x.dtype) else x.astype(np.float64)
        with backends.of(x).linalg_errors():
            out = forward(xp, x if accumulator is None else x.astype(accumulator))
        if accumulator is None:
            return tuple(out) if isinstance(out, tuple) else out
        return _narrow(out, x.dtype) if isinstance(out, tuple) else out.astype(x.dtype)

    return inside


def several(made: Any, x: Tensor, *shapes: tuple[int, ...]) -> Any:
    """What an op of several results gives; on shapes alone, tensors of those shapes."""
    if x.backend.abstract:
        return tuple(wrap(MetaArray(shape, x.dtype if is_float(x.dtype) else np.float64)) for shape in shapes)
    return made(x)


# --- inverses and equations -------------------------------------------------------------------------------
inv = op(
    "inv",
    of_matrices("inv", lambda xp, x: xp.linalg.inv(x), True),
    lambda xp, g, out: -multiplied(xp, multiplied(xp, turned(xp, out), g), turned(xp, out)),
    shape=ruled(matrices("inv", True)),
    doc="The inverse of square matrices; raises ValueError for a singular one.",
)


def _solve_rule(a: Any, b: Any) -> tuple[int, ...]:
    n = matrices("solve", True)(a)[-1]
    if len(b.shape) < 2 or b.shape[-2] != n:
        raise ValueError(f"a {a.shape} and b {b.shape} do not fit")
    return (*np.broadcast_shapes(a.shape[:-2], b.shape[:-2]), n, b.shape[-1])


def _solve(xp: Any, a: Any, b: Any) -> Any:
    shape, dtype = _solve_rule(a, b), np.result_type(a.dtype, b.dtype)
    accumulator = wide(dtype)
    if accumulator is not None:
        return _solve(xp, a.astype(accumulator), b.astype(accumulator)).astype(dtype)
    # CuPy broadcasts no batches
    a, b = xp.broadcast_to(a, shape[:-2] + a.shape[-2:]), xp.broadcast_to(b, shape)
    with backends.of(a).linalg_errors():
        return xp.linalg.solve(a, b)


def solved(xp: Any, a: Any, g: Any) -> Any:
    """solve(a', g) within a vjp."""
    return taped.solve(turned(xp, a), g) if xp is taped else _solve(xp, turned(xp, a), g)


_solution = op(
    "solve",
    _solve,
    (
        lambda xp, g, a, out: -multiplied(xp, solved(xp, a, g), turned(xp, out)),
        lambda xp, g, a: solved(xp, a, g),
    ),
    shape=ruled(_solve_rule),
    broadcasts=True,
)


def solve(a: Tensor, b: Tensor) -> Tensor:
    """x of a x = b: a (..., n, n), b (..., n, k), or a vector (n,). Raises ValueError for a singular a."""
    if len(b.shape) == 1:
        return squeeze(_solution(a, expand_dims(b, 1)), -1)
    return _solution(a, b)


def _pinv_vjp(xp: Any, g: Any, x: Any, out: Any) -> Any:
    """Golub and Pereyra 1973, for matrices whose rank stays as it is."""
    pt, gt = turned(xp, out), turned(xp, g)
    m, n = x.shape[-2:]
    outside = beside(x, np.eye(m)) - multiplied(xp, x, out)
    within = beside(x, np.eye(n)) - multiplied(xp, out, x)
    first = -multiplied(xp, multiplied(xp, pt, g), pt)
    second = multiplied(xp, multiplied(xp, outside, gt), multiplied(xp, out, pt))
    return first + second + multiplied(xp, multiplied(xp, pt, out), multiplied(xp, gt, within))


def _pinv(xp: Any, x: Any, *, rcond: float | None = None) -> Any:
    return of_matrices("pinv", lambda xp, x: xp.linalg.pinv(x, cutoff(x, rcond)))(xp, x)


def cutoff(x: Any, rcond: float | None) -> float:
    """The part of the largest singular value of matrices x below which others count as 0."""
    dtype = wide(x.dtype) or (x.dtype if is_float(x.dtype) else np.float64)
    return builtins.max(x.shape[-2:]) * float(np.finfo(dtype).eps) if rcond is None else rcond


pinv = op(
    "pinv",
    _pinv,
    _pinv_vjp,
    shape=lambda x, *, rcond=None: ruled(lambda x: (*matrices("pinv")(x)[:-2], x.shape[-1], x.shape[-2]))(x),
    doc="""The pseudo-inverse (Moore and Penrose): (..., m, n) -> (..., n, m).

    rcond  the part of the largest singular value below which others count as 0; None: max(m, n) eps, as in PyTorch
    The gradient is that of matrices whose rank stays as it is (Golub and Pereyra 1973).
    """,
)


# --- determinants -----------------------------------------------------------------------------------------
def _cofactors(xp: Any, x: Any) -> Any:
    """The derivative of det, where it is 0 too: by the singular values, u diag(products of all the others) v."""
    u, s, vh = xp.linalg.svd(x)
    n = s.shape[-1]
    others = xp.where(xp.eye(n, dtype=bool), 1.0, s[..., None, :]).prod(axis=-1)
    sign = xp.linalg.det(u) * xp.linalg.det(vh)
    return multiplied(xp, u * others[..., None, :], vh) * sign[..., None, None]


def _det_vjp(xp: Any, g: Any, x: Any) -> Any:
    g = g[..., None, None]
    if xp is taped:
        return g * taped.det(x)[..., None, None] * turned(xp, taped.inv(x))
    accumulator = wide(x.dtype)
    return g * _cofactors(xp, x if accumulator is None else x.astype(accumulator))


det = op(
    "det",
    of_matrices("det", lambda xp, x: xp.linalg.det(x), True),
    _det_vjp,
    shape=ruled(lambda x: matrices("det", True)(x)[:-2]),
    doc="The determinant of square matrices. Its gradient is exact for singular ones; its second derivative is not "
    "to be had there (ValueError), as it goes through the inverse.",
)


@widened
def _slogdet_vjp(xp: Any, g: Any, x: Any) -> Any:
    if g[1] is None:
        return g[0][..., None, None] * x * 0.0
    return g[1][..., None, None] * turned(xp, _inverse(xp, x))


def _inverse(xp: Any, x: Any) -> Any:
    return taped.inv(x) if xp is taped else inv.forward(xp, x)


_slogdet = op(
    "slogdet",
    of_matrices("slogdet", lambda xp, x: tuple(xp.linalg.slogdet(x)), True),
    _slogdet_vjp,
)


def slogdet(x: Tensor) -> tuple[Tensor, Tensor]:
    """(sign, log |det|) of square matrices, where det itself would overflow."""
    batch = matrices("slogdet", True)(x)[:-2]
    return several(_slogdet, x, batch, batch)


def matrix_power(x: Tensor, n: int) -> Tensor:
    """The product of n square matrices x; of a negative n that of the inverse."""
    shape = matrices("matrix_power", True)(x)
    if n < 0:
        return matrix_power(inv(x), -n)
    if n == 0:
        return x * 0.0 + beside(x, np.eye(shape[-1]))
    out: Any = None
    while n:
        if n % 2:
            out = x if out is None else matmul(out, x)
        n //= 2
        x = matmul(x, x) if n else x
    return out
