"""Products: matmul, einsum, outer, and the affine map of a layer.

16-bit floats are multiplied and accumulated in float32 and rounded once: NumPy and CuPy differ here, the engine
does not. A GPU does so with matrices of 16 bits as they are.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from ..autograd import taped
from ..backend import of
from ..backend.meta import MetaArray
from ..dtypes import is_float, wide
from ..tensor import Tensor, beside
from . import reduce
from .arrange import diagonal
from .define import fitting, op, register, ternary, watched
from .elementwise import relu
from .shape import axis_of, reshape, squeeze, transpose


def _wide(xp: Any, *xs: Any) -> tuple[Any, Any]:
    """The arrays in float32 where all are 16-bit floats, and the dtype to round the result to (None: as it is)."""
    dtype = xs[0].dtype
    if not all(x.dtype is dtype for x in xs):
        dtype = np.result_type(*(x.dtype for x in xs))
    accumulator = None if xp is taped else wide(dtype)
    return (xs, None) if accumulator is None else ([x.astype(accumulator) for x in xs], dtype)


def multiplied(xp: Any, a: Any, b: Any, place: Any = None) -> Any:
    """The product within a forward function or vjp, by the backend's kernel where it has one: kernel(a, b).

    place: of raw arrays, one that the product may be written to, as in a vjp's `places`.
    """
    if xp is not taped and a.dtype is b.dtype and a.dtype.itemsize > 2:
        kernel = of(a).kernel("matmul")
        if kernel is not None:
            return kernel(a, b, out=fitting(place, a.dtype))
    if xp is not taped and len(b.shape) == 2 and a.dtype == b.dtype and of(a).half_matrices and wide(a.dtype):
        return xp.matmul(a.reshape(math.prod(a.shape[:-1]), a.shape[-1]), b).reshape(*a.shape[:-1], b.shape[-1])
    (a, b), dtype = _wide(xp, a, b)
    kernel = None if xp is taped else of(a).kernel("matmul")
    out = xp.matmul(a, b) if kernel is None else kernel(a, b)
    return out if dtype is None else out.astype(dtype)


def _t(x: Any) -> Any:
    """The last two axes exchanged."""
    n = len(x.shape)
    return x.transpose((*range(n - 2), n - 1, n - 2))


def _matmul_rule(a: MetaArray, b: MetaArray) -> tuple[int, ...]:
    if a.shape[-1] != b.shape[-2]:
        raise ValueError(f"the inner lengths {a.shape[-1]} and {b.shape[-2]} differ")
    return (*np.broadcast_shapes(a.shape[:-2], b.shape[:-2]), a.shape[-2], b.shape[-1])


_product = op(
    "matmul",
    multiplied,
    (lambda xp, g, b: multiplied(xp, g, _t(b)), lambda xp, g, a: multiplied(xp, _t(a), g)),
    shape=_matmul_rule,
    broadcasts=True,
)


def _on_one_device(a: Any, b: Any) -> tuple[Any, Any]:
    """Two operands, of which one may be a NumPy array."""
    return (beside(b, a), b) if isinstance(b, Tensor) else (a, beside(a, b))


def matmul(a: Tensor, b: Tensor) -> Tensor:
    """The matrix product over the last two axes; the axes before them broadcast. A vector is a row or a column."""
    m, n = len(a.shape), len(b.shape)
    if m == 0 or n == 0:
        raise ValueError(f"matmul wants at least one axis each; got shapes {a.shape} and {b.shape}")
    if m > 1 and n > 1:
        return _product(a, b)
    a, b = _on_one_device(a, b)
    left = reshape(a, (1, -1)) if m == 1 else a
    right = reshape(b, (-1, 1)) if n == 1 else b
    out = _product(left, right)
    shape = out.shape[:-2] + (() if m == 1 else out.shape[-2:-1]) + (() if n == 1 else out.shape[-1:])
    return reshape(out, shape)


register("matmul", matmul)


def _linear(xp: Any, x: Any, weight: Any, bias: Any) -> Any:
    if bias is None:
        return multiplied(xp, x, weight.T)
    if bias.dtype is weight.dtype is x.dtype and x.dtype.itemsize > 2:
        kernel = of(x).kernel("matmul")
        if kernel is not None:
            return kernel(x, weight.T, bias)
    out = multiplied(xp, x, weight.T)
    if bias.dtype != out.dtype:
        return out + bias
    out += bias
    return out


def _in_one_call(xp: Any, g: Any, needs: Any, places: Any, x: Any, weight: Any, kept: Any = None) -> list | None:
    """The gradients by the backend's kernel, if it can; kept: what `_rectified` gave, where g is its gradient."""
    kernel = None if xp is taped else of(g).kernel("linear_back")
    if kernel is None:
        return None
    rows = x if len(x.shape) == 2 else x.reshape((-1, x.shape[-1]))
    found = kernel(g if len(g.shape) == 2 else g.reshape((-1, g.shape[-1])), rows, weight, needs, places, kept)
    if found and rows is not x and needs[0]:
        found[0] = found[0].reshape(x.shape)
    return found


def _one_by_one(xp: Any, g: Any, needs: Sequence[bool], places: Sequence, x: Any, weight: Any) -> list:
    flat = g if len(g.shape) == 2 else g.reshape((-1, g.shape[-1]))
    rows = x if len(x.shape) == 2 else x.reshape((-1, x.shape[-1]))
    gx = multiplied(xp, g, weight) if needs[0] else None
    gw = multiplied(xp, flat.T, rows, places[1]) if needs[1] else None
    gb = reduce.sum_of_rows(xp, flat, places[2]) if needs[2] else None
    return [gx, gw, gb]


def _linear_vjp(xp: Any, g: Any, needs: Sequence[bool], places: Sequence, x: Any, weight: Any) -> list:
    found = _in_one_call(xp, g, needs, places, x, weight)
    return found or _one_by_one(xp, g, needs, places, x, weight)


def _linear_rule(x: MetaArray, weight: MetaArray, bias: Any) -> tuple[int, ...]:
    if x.shape[-1] != weight.shape[1]:
        raise ValueError(f"the inner lengths {x.shape[-1]} and {weight.shape[1]} differ")
    return (*x.shape[:-1], weight.shape[0])


_relu = relu.op  # type: ignore[attr-defined]


def _rectified(xp: Any, x: Any, weight: Any, bias: Any) -> Any:
    kernel = of(x).kernel("rectified")
    out = None if kernel is None or bias is None else kernel(x, weight.T, bias)
    return _relu.forward(xp, _linear(xp, x, weight, bias)) if out is None else out


def _rectified_vjp(xp: Any, g: Any, needs: Sequence[bool], places: Sequence, x: Any, weight: Any, out: Any) -> list:
    found = _in_one_call(xp, g, needs, places, x, weight, out)
    if found:
        return found
    passed = _relu.vjps[0](xp, g, out)
    return _one_by_one(xp, passed if passed.dtype == g.dtype else passed.astype(g.dtype), needs, places, x, weight)


_affine = ternary(op("linear", _linear, _linear_vjp, shape=_linear_rule, joint=True))
_affine_relu = ternary(op("rectified_linear", _rectified, _rectified_vjp, shape=_linear_rule, joint=True))


def _check_linear(x: Tensor, weight: Tensor, bias: Tensor | None) -> None:
    shape, size = x.shape, weight.shape
    if len(size) != 2 or (bias is not None and bias.shape != size[:1]):
        shapes = f"{weight.shape} and {None if bias is None else bias.shape}"
        raise ValueError(f"linear wants a weight (out, in) and a bias (out,); got {shapes}")
    if not shape or shape[-1] != size[1]:
        raise ValueError(
            f"linear: the input's last axis is {shape[-1] if shape else 'missing'} (shape {shape}), "
            f"the weight {size} wants {size[1]}"
        )


def linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """x @ weight.T + bias: x (..., in), weight (out, in), bias (out,) -> (..., out)."""
    _check_linear(x, weight, bias)
    return _affine(x, weight, bias)


def rectified_linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """relu(linear(x, weight, bias)), the same numbers, as one op, which keeps no sums from before relu.

    Two ops where somebody looks at each, who would not see what relu makes of a -inf.
    """
    _check_linear(x, weight, bias)
    apart = watched() or not is_float(x.dtype)
    return relu(_affine(x, weight, bias)) if apart else _affine_relu(x, weight, bias)


register("linear", linear)


# --- einsum -----------------------------------------------------------------------------------------------
def _terms(equation: str, ndims: Sequence[int]) -> tuple[list[str], str]:
    """The subscripts of each operand and of the result, ellipses spelled out in capital letters."""
    equation = equation.replace(" ", "")
    left, arrow, right = equation.partition("->")
    terms = left.split(",")
    if len(terms) != len(ndims):
        raise ValueError(f"einsum {equation!r} has {len(terms)} operands, {len(ndims)} were given")
    counts = [n - len(term.replace("...", "")) for term, n in zip(terms, ndims, strict=True)]
    for k, (term, count) in enumerate(zip(terms, counts, strict=True)):
        if count < 0 or (count and "..." not in term):
            raise ValueError(f"einsum {equation!r}: operand {k} has {ndims[k]} axes, its subscripts are {term!r}")
    spare = "".join(c for c in "ABCDEFGHIJKLMNOPQRSTUVWXYZ" if c not in equation)[: max(counts)]
    if not arrow:
        letters = left.replace(",", "").replace(".", "")
        right = "..." + "".join(sorted(c for c in set(letters) if letters.count(c) == 1))
    # an ellipsis stands for the last of the spare axes, as shapes broadcast from the right
    spelled = [t.replace("...", spare[len(spare) - n :]) for t, n in zip(terms, counts, strict=True)]
    return spelled, right.replace("...", spare)


def _summed_products(xp: Any, equation: str, *xs: Any) -> Any:
    if xp is taped:
        return einsum(equation, *xs)
    xs, dtype = _wide(xp, *xs)
    out = xp.einsum(equation, *xs, optimize=True)
    return out if dtype is None else out.astype(dtype)


def _einsum_vjp(xp: Any, g: Any, needs: Sequence[bool], xs: list, equation: str) -> list:
    terms, result = _terms(equation, [len(x.shape) for x in xs])
    grads: list[Any] = []
    for k, need in enumerate(needs):
        if not need:
            grads.append(None)
            continue
        others = [(t, x) for i, (t, x) in enumerate(zip(terms, xs, strict=True)) if i != k]
        known = set(result).union(*(set(t) for t, _ in others))
        lost = [c for c in terms[k] if c not in known]  # axes that were summed on their own
        reached = "".join(c for c in terms[k] if c in known)
        inner = f"{','.join([result, *(t for t, _ in others)])}->{reached}"
        part = _summed_products(xp, inner, g, *(x for _, x in others))
        if lost:
            shape = xs[k].shape
            part = xp.reshape(part, tuple(1 if c in lost else part.shape[reached.index(c)] for c in terms[k]))
            part = xp.broadcast_to(part, shape)
        grads.append(part)
    return grads


def _einsum_rule(*xs: MetaArray, equation: str) -> tuple[int, ...]:
    zeros = [np.broadcast_to(np.zeros((), np.int8), x.shape) for x in xs]
    lengths = {
        c: n
        for t, z in zip(_terms(equation, [z.ndim for z in zeros])[0], zeros, strict=True)
        for c, n in zip(t, z.shape, strict=True)
    }
    return tuple(lengths[c] for c in _terms(equation, [z.ndim for z in zeros])[1])


_einsum = op(
    "einsum",
    lambda xp, *xs, equation: _summed_products(xp, equation, *xs),
    _einsum_vjp,
    shape=_einsum_rule,
    joint=True,
)


def einsum(equation: str, *xs: Tensor) -> Tensor:
    """Sums of products by Einstein's convention, as numpy.einsum.

    A subscript twice in one operand takes its diagonal; the axes of an ellipsis broadcast.
    """
    terms, result = _terms(equation, [len(x.shape) for x in xs])
    if len(set(result)) != len(result) or not set(result) <= set("".join(terms)):
        raise ValueError(f"einsum {equation!r}: each subscript of the result occurs once there, and in some operand")
    free = set("".join(terms)) - set(equation)  # those that stand for an ellipsis
    lengths: dict[str, int] = {}
    for term, x in zip(terms, xs, strict=True):
        for c, n in zip(term, x.shape, strict=True):
            known = lengths.setdefault(c, n)
            if known != n and not (c in free and 1 in (known, n)):
                raise ValueError(f"einsum {equation!r}: axis {c!r} has lengths {known} and {n}")
            lengths[c] = n if known == 1 else known
    simple = [_simple(term, x, lengths) for term, x in zip(terms, xs, strict=True)]
    if any(len(term) != len(x.shape) for term, x in zip(terms, [x for _, x in simple], strict=True)) or free:
        equation = ",".join(term for term, _ in simple) + "->" + result
    return _einsum(*[x for _, x in simple], equation=equation)


def _simple(term: str, x: Tensor, lengths: dict[str, int]) -> tuple[str, Tensor]:
    """An operand without subscripts that occur twice, and without axes of length 1 that broadcast."""
    for c in sorted({c for c in term if term.count(c) > 1}):
        while term.count(c) > 1:
            a, b = term.index(c), term.rindex(c)
            x, term = diagonal(x, 0, a, b), term[:a] + term[a + 1 : b] + term[b + 1 :] + c
    stale = tuple(i for i, c in enumerate(term) if x.shape[i] != lengths[c])
    if stale:
        x, term = squeeze(x, stale), "".join(c for i, c in enumerate(term) if i not in stale)
    return term, x


def outer(a: Tensor, b: Tensor) -> Tensor:
    """The products of all pairs of elements of two vectors: (n,), (m,) -> (n, m)."""
    a, b = _on_one_device(a, b)
    return reshape(a, (-1, 1)) * reshape(b, (1, -1))


def tensordot(a: Tensor, b: Tensor, axes: Any = 2) -> Tensor:
    """Products of a and b summed over axes: the last `axes` of a and first of b, or over (axes of a, axes of b)."""
    a, b = _on_one_device(a, b)
    n, m = len(a.shape), len(b.shape)
    if isinstance(axes, int):
        mine, theirs = list(range(n - axes, n)), list(range(axes))
    else:
        mine, theirs = ([v] if isinstance(v, int) else list(v) for v in axes)
    mine, theirs = [axis_of(i, n, "tensordot") for i in mine], [axis_of(i, m, "tensordot") for i in theirs]
    if [a.shape[i] for i in mine] != [b.shape[i] for i in theirs]:
        raise ValueError(f"tensordot: the axes {axes} of {a.shape} and {b.shape} differ in length")
    free, rest = ([i for i in range(k) if i not in used] for k, used in ((n, mine), (m, theirs)))
    inner = math.prod(a.shape[i] for i in mine)
    left = reshape(transpose(a, free + mine), (math.prod(a.shape[i] for i in free), inner))
    right = reshape(transpose(b, theirs + rest), (inner, math.prod(b.shape[i] for i in rest)))
    return reshape(_product(left, right), [*(a.shape[i] for i in free), *(b.shape[i] for i in rest)])


def dot(a: Tensor, b: Tensor) -> Tensor:
    """NumPy's: the inner product of vectors, matmul of matrices, else the last axis of a with the second last of b."""
    if not a.shape or not b.shape:
        return a * b
    return tensordot(a, b, (len(a.shape) - 1, max(0, len(b.shape) - 2)))


def kron(a: Tensor, b: Tensor) -> Tensor:
    """Kronecker's product: each element of a times all of b, in blocks."""
    a, b = _on_one_device(a, b)
    n = max(a.ndim, b.ndim)
    left, right = (1,) * (n - a.ndim) + a.shape, (1,) * (n - b.ndim) + b.shape
    outer = reshape(a, [k for v in left for k in (v, 1)]) * reshape(b, [k for v in right for k in (1, v)])
    return reshape(outer, [i * j for i, j in zip(left, right, strict=True)])


def bilinear(a: Tensor, b: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """sum_ij a_i weight_kij b_j + bias_k: a (..., m), b (..., n), weight (out, m, n), bias (out,) -> (..., out)."""
    if weight.ndim != 3 or a.shape[-1:] != weight.shape[1:2] or b.shape[-1:] != weight.shape[2:]:
        raise ValueError(f"bilinear: a {a.shape} and b {b.shape} do not fit a weight {weight.shape} (out, m, n)")
    out = einsum("...i,kij,...j->...k", a, weight, b)
    return out if bias is None else out + bias
