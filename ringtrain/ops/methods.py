"""Binds operators and methods (`names.py`) to Tensor, which knows no op itself."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from ..autograd import mode
from ..tensor import Leaf, Tensor, describe, raw, shared_with_others
from . import elementwise, index, linalg, names, shape, special

_BINARY = {
    "add": elementwise.add,
    "sub": elementwise.subtract,
    "mul": elementwise.multiply,
    "truediv": elementwise.divide,
    "floordiv": elementwise.floor_divide,
    "mod": elementwise.remainder,
    "pow": elementwise.power,
    "matmul": linalg.matmul,
    "and": elementwise.bitwise_and,
    "or": elementwise.bitwise_or,
    "xor": elementwise.bitwise_xor,
    "lshift": special.left_shift,
    "rshift": special.right_shift,
}
_COMPARISONS = {
    "eq": elementwise.equal,
    "ne": elementwise.not_equal,
    "lt": elementwise.less,
    "le": elementwise.less_equal,
    "gt": elementwise.greater,
    "ge": elementwise.greater_equal,
}


def _reflected(fn: Callable) -> Callable:
    def method(self: Tensor, other: Any) -> Tensor:
        return fn(other, self)

    return method


def _in_place(name: str, fn: Callable) -> Callable:
    """t += x: the same memory outside the graph; inside it t becomes the tensor that t + x makes."""

    def method(self: Tensor, other: Any) -> Tensor:
        tracked = mode.grad and (self._node is not None or (isinstance(other, Tensor) and other._node is not None))
        if not tracked:
            result = raw(fn(self, other))
            if result.shape != self._data.shape or not np.can_cast(result.dtype, self._data.dtype, "same_kind"):
                raise ValueError(f"{name}: {describe(result)} does not fit into {describe(self._data)} in place")
            self._data[...] = result
            self._version[0] += 1
            return self
        if type(self._node) is Leaf:
            raise RuntimeError("a leaf that requires a gradient cannot be written in place; do so under rt.no_grad()")
        if shared_with_others(self):
            raise RuntimeError(f"{name} would change another tensor that shares this one's memory; use t = t + x")
        result = fn(self, other)
        if result.shape != self.shape:
            raise ValueError(f"{name}: {describe(result)} does not fit into {describe(self._data)} in place")
        self._data, self._node, self._slot, self._version = (
            result._data,
            result._node,
            result._slot,
            result._version,
        )
        return self

    return method


def _take_axes(fn: Callable) -> Callable:
    """Methods that take lengths or axes as one sequence or one by one: x.reshape(2, 3) and x.reshape((2, 3))."""

    def method(self: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        if not args:
            return fn(self, **kwargs)
        return fn(self, args[0] if len(args) == 1 and not isinstance(args[0], int) else args, **kwargs)

    method.__doc__ = fn.__doc__
    return method


def bind() -> None:
    """Puts operators and methods on Tensor."""
    for name, fn in _BINARY.items():
        setattr(Tensor, f"__{name}__", fn)
        setattr(Tensor, f"__r{name}__", _reflected(fn))
    for name, fn in _COMPARISONS.items():
        setattr(Tensor, f"__{name}__", fn)
    for name in ("add", "sub", "mul", "truediv", "floordiv", "mod", "pow", "and", "or", "xor", "lshift", "rshift"):
        setattr(Tensor, f"__i{name}__", _in_place(f"i{name}", _BINARY[name]))
    methods: dict[str, Callable] = {
        "__neg__": elementwise.negative,
        "__pos__": lambda x: x,
        "__abs__": elementwise.absolute,
        "__invert__": elementwise.invert,
        "__getitem__": index.getitem,
        "__setitem__": index.setitem,
        "reshape": _take_axes(shape.reshape),
        "transpose": _take_axes(shape.transpose),
        "view": _take_axes(shape.reshape),
        "permute": _take_axes(shape.transpose),
        "to": elementwise.to,
    }
    methods |= names.functions()
    methods |= {name: _take_axes(methods[name]) for name in ("expand", "flip", "new_ones", "new_zeros", "tile")}
    for name, fn in methods.items():
        setattr(Tensor, name, _as_method(fn))
    for name in ("add", "sub", "mul", "truediv"):
        setattr(Tensor, f"{name.removeprefix('true')}_", getattr(Tensor, f"__i{name}__"))
    Tensor.T = property(shape.transpose, doc="The axes reversed.")  # type: ignore[attr-defined]
    Tensor.mT = property(lambda x: shape.swapaxes(x, -1, -2), doc="The last two axes exchanged.")  # type: ignore[attr-defined]


def _as_method(fn: Callable) -> Callable:
    """An Op is callable but no function, and only functions become methods."""
    if isinstance(fn, type(bind)):
        return fn

    def method(self: Tensor, *args: Any, **kwargs: Any) -> Any:
        return fn(self, *args, **kwargs)

    method.__doc__ = fn.__doc__
    return method


bind()
