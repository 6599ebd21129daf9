"""Activations as modules: the functions of `rt.nn` with their options kept."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

import numpy as np

from ..ops import activations, elementwise, reduce
from ..tensor import Tensor
from .init import Constant
from .module import Module, Parameter, parameter


class _Activation(Module):
    """A function of one tensor and its options."""

    _function: ClassVar[Callable[..., Tensor]]
    _options: Any = {}  # noqa: RUF012  never changed in place

    def forward(self, x: Tensor) -> Tensor:
        return type(self)._function(x, **self._options)

    def extra_repr(self) -> str:
        return ", ".join(f"{name}={value!r}" for name, value in self._options.items())


class ReLU(_Activation):
    """max(x, 0)."""

    _function = staticmethod(elementwise.relu)


class Tanh(_Activation):
    """The hyperbolic tangent."""

    _function = staticmethod(elementwise.tanh)


class Sigmoid(_Activation):
    """1 / (1 + exp(-x))."""

    _function = staticmethod(elementwise.sigmoid)


class GELU(_Activation):
    """x Phi(x); approximate "none" or "tanh", see `rt.nn.gelu`."""

    _function = staticmethod(activations.gelu)

    def __init__(self, approximate: str = "none") -> None:
        self._options = {"approximate": approximate}


class Softplus(_Activation):
    """log(1 + exp(beta x)) / beta, and x itself where beta x > threshold."""

    _function = staticmethod(elementwise.softplus)

    def __init__(self, beta: float = 1.0, threshold: float | None = 20.0) -> None:
        self._options = {"beta": beta, "threshold": threshold}


class Softmax(_Activation):
    """exp(x) / sum(exp(x)) along an axis."""

    _function = staticmethod(reduce.softmax)

    def __init__(self, axis: int = -1) -> None:
        self._options = {"axis": axis}


class Softmax2d(_Activation):
    """softmax over the channels of (N, C, H, W)."""

    _function = staticmethod(reduce.softmax)
    _options = {"axis": -3}  # noqa: RUF012  never changed in place


class LogSoftmax(_Activation):
    """log(softmax(x)) along an axis."""

    _function = staticmethod(reduce.log_softmax)

    def __init__(self, axis: int = -1) -> None:
        self._options = {"axis": axis}


class Softmin(_Activation):
    """softmax(-x) along an axis."""

    _function = staticmethod(activations.softmin)

    def __init__(self, axis: int = -1) -> None:
        self._options = {"axis": axis}


class LeakyReLU(_Activation):
    """x where it is positive, else negative_slope * x."""

    _function = staticmethod(activations.leaky_relu)

    def __init__(self, negative_slope: float = 0.01) -> None:
        self._options = {"negative_slope": negative_slope}


class ELU(_Activation):
    """x where it is positive, else alpha (exp(x) - 1)."""

    _function = staticmethod(activations.elu)

    def __init__(self, alpha: float = 1.0) -> None:
        self._options = {"alpha": alpha}


class SELU(_Activation):
    """See `rt.nn.selu`."""

    _function = staticmethod(activations.selu)


class CELU(_Activation):
    """x where it is positive, else alpha (exp(x / alpha) - 1)."""

    _function = staticmethod(activations.celu)

    def __init__(self, alpha: float = 1.0) -> None:
        self._options = {"alpha": alpha}


class SiLU(_Activation):
    """x sigmoid(x), also called swish."""

    _function = staticmethod(activations.silu)


class Mish(_Activation):
    """x tanh(softplus(x))."""

    _function = staticmethod(activations.mish)


class LogSigmoid(_Activation):
    """log(sigmoid(x))."""

    _function = staticmethod(activations.logsigmoid)


class Softsign(_Activation):
    """x / (1 + |x|)."""

    _function = staticmethod(activations.softsign)


class Tanhshrink(_Activation):
    """x - tanh(x)."""

    _function = staticmethod(activations.tanhshrink)


class Hardtanh(_Activation):
    """x held between min_val and max_val."""

    _function = staticmethod(activations.hardtanh)

    def __init__(self, min_val: float = -1.0, max_val: float = 1.0) -> None:
        self._options = {"min_val": min_val, "max_val": max_val}


class ReLU6(_Activation):
    """min(max(x, 0), 6)."""

    _function = staticmethod(activations.relu6)


class Hardsigmoid(_Activation):
    """min(max(x + 3, 0), 6) / 6."""

    _function = staticmethod(activations.hardsigmoid)


class Hardswish(_Activation):
    """x hardsigmoid(x)."""

    _function = staticmethod(activations.hardswish)


class Hardshrink(_Activation):
    """x where |x| > lambd, else 0."""

    _function = staticmethod(activations.hardshrink)

    def __init__(self, lambd: float = 0.5) -> None:
        self._options = {"lambd": lambd}


class Softshrink(_Activation):
    """x drawn towards 0 by lambd."""

    _function = staticmethod(activations.softshrink)

    def __init__(self, lambd: float = 0.5) -> None:
        self._options = {"lambd": lambd}


class Threshold(_Activation):
    """x where it is above `threshold`, else `value`."""

    _function = staticmethod(activations.threshold)

    def __init__(self, threshold: float, value: float) -> None:
        self._options = {"threshold": threshold, "value": value}


class GLU(_Activation):
    """a sigmoid(b), where a and b are the halves of x along an axis."""

    _function = staticmethod(activations.glu)

    def __init__(self, axis: int = -1) -> None:
        self._options = {"axis": axis}


class PReLU(Module):
    """x where it is positive, else weight * x, with a weight for all channels or for each (axis 1) that is learned."""

    def __init__(self, num_parameters: int = 1, init: float = 0.25, dtype: Any = np.float32) -> None:
        self.weight: Parameter = parameter(Constant(init), (num_parameters,), "PReLU.weight", dtype)

    def forward(self, x: Tensor) -> Tensor:
        return activations.prelu(x, self.weight)

    def extra_repr(self) -> str:
        return f"num_parameters={self.weight.size}"
