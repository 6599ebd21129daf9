"""Early opsets. Before 7 operands broadcast by an attribute: b is laid along the axes of a from `axis` on."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ...ops import elementwise as e
from ...ops import shape
from ...tensor import Tensor
from ..registry import handler
from .arithmetic import div, pow
from .linalg import gemm
from .normalisation import batch_norm


def _laid(a: Tensor, b: Tensor, broadcast: int, axis: int | None) -> Tensor:
    """b with axes of length 1 behind, so that it broadcasts as NumPy does."""
    if not broadcast:
        if a.shape != b.shape:
            raise ValueError(f"operands of {a.shape} and {b.shape} differ, and the node does not broadcast")
        return b
    if axis is None:
        return b
    return shape.reshape(b, (*b.shape, *[1] * (a.ndim - axis % a.ndim - b.ndim)))


def _handler(name: str, later: Callable) -> None:
    def run(a: Tensor, b: Tensor, *, axis: int | None = None, broadcast: int = 0) -> Tensor:
        return later(a, _laid(a, b, broadcast, axis))

    run.__module__ = __name__
    handler(name)(run)


_LATER: dict[str, Callable] = {
    "Add": e.add, "Sub": e.subtract, "Mul": e.multiply, "Div": div, "Pow": pow, "And": e.logical_and,
    "Or": e.logical_or, "Xor": e.logical_xor, "Equal": e.equal, "Less": e.less, "Greater": e.greater,
}  # fmt: skip
for _name, _fn in _LATER.items():
    _handler(_name, _fn)


@handler("Gemm")
def gemm_1(
    a: Tensor, b: Tensor, c: Tensor, *, alpha: float = 1.0, beta: float = 1.0, broadcast: int = 0, transA: int = 0,
    transB: int = 0,
) -> Tensor:  # fmt: skip
    return gemm(a, b, c, alpha=alpha, beta=beta, transA=transA, transB=transB)


@handler("PRelu", since=6)
def prelu_6(x: Tensor, slope: Tensor) -> Tensor:
    """One slope, or one a channel."""
    return e.where(x < 0, x * (slope if slope.size == 1 else _laid(x, slope, 1, 1)), x)


@handler("BatchNormalization", since=6, fixed=(3, 4))
def batch_norm_6(
    x: Tensor, scale: Tensor, bias: Tensor, mean: Tensor, var: Tensor, *, epsilon: float = 1e-5, is_test: int = 0,
    momentum: float = 0.9, spatial: int = 1,
) -> Any:  # fmt: skip
    """As a model for inference has it, with statistics of channels."""
    if not is_test:
        raise NotImplementedError("BatchNormalization of opset 6 in training; export the model for inference")
    return batch_norm_7(x, scale, bias, mean, var, epsilon=epsilon, momentum=momentum, spatial=spatial)


@handler("BatchNormalization", since=7, fixed=(3, 4))
def batch_norm_7(
    x: Tensor, scale: Tensor, bias: Tensor, mean: Tensor, var: Tensor, *, epsilon: float = 1e-5,
    momentum: float = 0.9, spatial: int = 1,
) -> Any:  # fmt: skip
    if not spatial:
        raise NotImplementedError("BatchNormalization with spatial=0, statistics of each element")
    return batch_norm(x, scale, bias, mean, var, epsilon=epsilon, momentum=momentum)
