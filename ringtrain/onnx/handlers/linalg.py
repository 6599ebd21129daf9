"""Products of matrices."""

from __future__ import annotations

from typing import Any

import numpy as np

from ...dtypes import is_float
from ...ops import linalg, shape
from ...tensor import Tensor
from ..registry import handler
from ..values import array, made


@handler("MatMul")
def matmul(a: Tensor, b: Tensor) -> Tensor:
    return linalg.matmul(a, b)


@handler("Gemm", since=7)
def gemm(
    a: Tensor, b: Tensor, c: Tensor | None = None, *, alpha: float = 1.0, beta: float = 1.0, transA: int = 0,
    transB: int = 0,
) -> Tensor:  # fmt: skip
    """alpha a' b' + beta c, which is one affine map where it can be."""
    a = shape.transpose(a) if transA else a
    if transB and alpha == beta == 1.0 and is_float(a.dtype) and (c is None or c.shape == b.shape[:1]):
        return linalg.linear(a, b, c)
    out = linalg.matmul(a, shape.transpose(b) if transB else b)
    out = out if alpha == 1.0 else (out * alpha).astype(a.dtype)
    return out if c is None else out + (c if beta == 1.0 else (c * beta).astype(c.dtype))


@handler("Einsum")
def einsum(*xs: Tensor, equation: str) -> Tensor:
    equation = equation.replace(" ", "")
    terms = equation.partition("->")[0].split(",")
    return linalg.einsum(_plain(equation, terms), *[_diagonal(t, x) for t, x in zip(terms, xs, strict=True)])


def _plain(equation: str, terms: list[str]) -> str:
    """The equation with each subscript once in a term."""
    left, arrow, right = equation.partition("->")
    return ",".join(map(_once, terms)) + (arrow + right if arrow else "->" + _implied(left))


def _once(term: str) -> str:
    head, dots, tail = term.partition("...")
    return "".join(dict.fromkeys(head)) + dots + "".join(c for c in dict.fromkeys(tail) if c not in head)


def _implied(left: str) -> str:
    letters = left.replace(",", "").replace(".", "")
    return ("..." if "..." in left else "") + "".join(sorted(c for c in set(letters) if letters.count(c) == 1))


def _diagonal(term: str, x: Tensor) -> Tensor:
    """The diagonal over every subscript that a term names twice."""
    if len(set(term.replace(".", ""))) == len(term.replace(".", "")):
        return x
    if x.ndim == 0:
        return x
    head, dots, tail = term.partition("...")
    spare = x.ndim - len(head) - len(tail)
    names: list[Any] = [*head, *[f"...{i}" for i in range(spare if dots else 0)], *tail]
    for c in [c for c in dict.fromkeys(names) if names.count(c) > 1]:
        while names.count(c) > 1:
            i = names.index(c)
            j = names.index(c, i + 1)
            moved = shape.moveaxis(shape.moveaxis(x, j, 0), i + 1, 1)
            steps = np.arange(moved.shape[0])
            x = shape.moveaxis(moved[steps, steps], 0, i)
            del names[j]
    return x


@handler("Det")
def det(x: Tensor) -> Tensor:
    if x.requires_grad:
        raise NotImplementedError("Det has no gradient here; detach its input")
    return made(np.asarray(np.linalg.det(array(x)), x.dtype), x)
