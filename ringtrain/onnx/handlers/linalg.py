"""Products of matrices."""

from __future__ import annotations

from ...dtypes import is_float
from ...ops import linalg, shape, solve
from ...tensor import Tensor
from ..registry import handler


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
    return linalg.einsum(equation, *xs)


@handler("Det")
def det(x: Tensor) -> Tensor:
    return solve.det(x)
