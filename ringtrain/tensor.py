"""Tensor: an array, and its place in the graph of the computation that made it.

A tensor holds four things: its data (an array of some backend), the node of the graph that made it (None where
no gradient is wanted), which of the node's outputs it is, and the version cell of its storage. Operators and
NumPy-named methods are bound in `ops/methods.py`, so this file knows nothing of any op.
"""

from __future__ import annotations

import functools
import weakref
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from . import backend as backends
from .dtypes import is_float
from .leaf import Leaf

__all__ = ["Leaf", "Tensor", "beside", "describe", "is_float", "raw", "share", "wrap"]

_ndarray = np.ndarray


class Tensor:
    """An n-dimensional array that remembers how it was computed.

    Make one with `rt.tensor` or `rt.from_numpy`. Arithmetic follows NumPy 2: broadcasting, its dtype promotion,
    and Python scalars that never widen a dtype.
    """

    __slots__ = ("__weakref__", "_data", "_node", "_slot", "_version")
    __array_ufunc__ = None  # ndarray + Tensor calls Tensor.__radd__ rather than looping over elements
    __hash__ = object.__hash__

    _data: Any
    _node: Any  # Leaf, Node, or None: no gradient
    _slot: int | None  # which output of a node with several; None where there is one
    _version: list  # [count of writes, weak references to tensors that share the storage ...]

    def __init__(self, data: Any, requires_grad: bool = False) -> None:
        """Wraps an array of a backend, without copying it."""
        backends.of(data)
        self._data = data
        self._node = None
        self._slot = None
        self._version = [0]
        if requires_grad:
            self.requires_grad_()

    # --- what it is ---------------------------------------------------------------------------------------
    @property
    def data(self) -> Any:
        """The raw array, shared. Writing into it goes unseen by the graph: prefer `t[...] = values`."""
        return self._data

    @data.setter
    def data(self, value: Any) -> None:
        value = value._data if isinstance(value, Tensor) else value
        backends.of(value)
        if self._node is not None and (value.shape != self._node.shape or value.dtype != self._node.dtype):
            raise ValueError(
                f"data of {describe(value)} cannot replace {describe(self._data)}, which requires a gradient"
            )
        self._version[0] += 1
        self._data = value

    @property
    def shape(self) -> tuple[int, ...]:
        return self._data.shape

    @property
    def dtype(self) -> np.dtype:
        return self._data.dtype

    @property
    def ndim(self) -> int:
        return len(self._data.shape)

    @property
    def size(self) -> int:
        return self._data.size

    @property
    def nbytes(self) -> int:
        return self._data.nbytes

    @property
    def backend(self) -> backends.Backend:
        return backends.of(self._data)

    @property
    def device(self) -> str:
        """ "cpu", "cuda:0", ... or "meta"."""
        return backends.of(self._data).device(self._data)

    # --- its gradient -------------------------------------------------------------------------------------
    @property
    def requires_grad(self) -> bool:
        return self._node is not None

    @requires_grad.setter
    def requires_grad(self, value: bool) -> None:
        self.requires_grad_(value)

    @property
    def is_leaf(self) -> bool:
        """Whether the user made it, rather than an op of the graph."""
        return self._node is None or type(self._node) is Leaf

    def requires_grad_(self, value: bool = True) -> Tensor:
        """Asks for a gradient, in place; only floats have one. Returns self."""
        if not self.is_leaf:
            if not value:
                raise RuntimeError("requires_grad can be taken from leaves only; use y = x.detach()")
            return self
        if not value:
            self._node = None
        elif self._node is None:
            if not is_float(self._data.dtype):
                raise TypeError(
                    f"only floats have gradients, and this tensor is {self._data.dtype}; convert with .astype"
                )
            self._node = Leaf(self)
        return self

    @property
    def grad(self) -> Tensor | None:
        """The gradient of the last backward passes, added up; None before the first or after zero_grad."""
        node = self._node
        if type(node) is not Leaf or node.grad is None:
            return None
        if type(node.grad) is Tensor:
            return node.grad
        out = wrap(node.grad)
        out._version = node.version  # the next backward adds to this memory
        return out

    @grad.setter
    def grad(self, value: Tensor | None) -> None:
        node = self._node
        if type(node) is not Leaf:
            raise RuntimeError("grad can be set on leaves that require a gradient only")
        if value is None:
            node.grad = None
            return
        array = beside(self, raw(value))
        if array.shape != node.shape or array.dtype != node.dtype:
            raise ValueError(f"a gradient of {describe(array)} does not fit a tensor of {describe(self._data)}")
        node.grad = None
        node.accumulate(array)

    def backward(self, grad: Any = None, retain_graph: bool = False, create_graph: bool = False) -> None:
        """Adds the gradient of this tensor to `.grad` of every leaf it was computed from.

        grad          the gradient of this tensor, of its shape; None means 1, for a tensor of one element
        retain_graph  keep what the graph saved, so that it can be gone through again
        create_graph  make the gradients differentiable themselves
        """
        _backward()([self], None if grad is None else [grad], retain_graph, create_graph)

    def on_grad_ready(self, hook: Callable[[Tensor], None]) -> Callable[[], None]:
        """Calls hook(self) during each backward pass, the moment `.grad` is final. Returns what removes it.

        Only for leaves. Hooks of the leaves fire in the order in which backward reaches them.
        """
        node = self._node
        if type(node) is not Leaf:
            raise RuntimeError("on_grad_ready is for leaves that require a gradient (parameters)")
        node.hooks.append(hook)

        def remove() -> None:
            if hook in node.hooks:
                node.hooks.remove(hook)

        return remove

    def register_hook(self, hook: Callable[[Tensor], Tensor | None]) -> Callable[[], None]:
        """Calls hook(gradient of this tensor) during backward; a tensor that it returns takes the gradient's place.

        For any tensor of the graph. Returns what removes it.
        """
        node = self._node
        if node is None:
            raise RuntimeError("register_hook is for tensors that require a gradient")
        tap = (self._slot, hook)
        node.taps = [*(node.taps or ()), tap]

        def remove() -> None:
            node.taps = [other for other in node.taps if other is not tap]

        return remove

    def detach(self) -> Tensor:
        """The same data, outside the graph; a later write through either is seen by both."""
        out = wrap(self._data)
        share(self, out)
        return out

    # --- its values ---------------------------------------------------------------------------------------
    def numpy(self) -> np.ndarray:
        """The values as a NumPy array; on the CPU it shares their memory. Raises where a gradient is tracked."""
        if self._node is not None:
            raise RuntimeError("a tensor that requires a gradient has no NumPy face; use t.detach().numpy()")
        return backends.of(self._data).to_numpy(self._data)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        return np.array(self.numpy(), dtype, copy=copy)

    def item(self) -> Any:
        """The value of a tensor of one element, as a Python number."""
        if self._data.size != 1:
            raise ValueError(f"item() wants a tensor of one element; this one is {describe(self._data)}")
        return backends.of(self._data).to_numpy(self._data).item()

    def tolist(self) -> Any:
        return backends.of(self._data).to_numpy(self._data).tolist()

    def __len__(self) -> int:
        if not self._data.shape:
            raise TypeError("a tensor of no axes has no length")
        return self._data.shape[0]

    def __iter__(self):
        return (self[i] for i in range(len(self)))

    def __float__(self) -> float:
        return float(self.item())

    def __int__(self) -> int:
        return int(self.item())

    def __index__(self) -> int:
        if self._data.dtype.kind not in "iu":
            raise TypeError(f"only a tensor of one integer is an index; this one is {describe(self._data)}")
        return int(self.item())

    def __bool__(self) -> bool:
        if self._data.size != 1:
            raise ValueError(f"the truth of {describe(self._data)} is ambiguous; use .all() or .any()")
        return bool(self.item())

    def __repr__(self) -> str:
        data = self._data
        if backends.of(data).abstract:
            return f"tensor({describe(data)}, device='meta')"
        body = np.array2string(backends.of(data).to_numpy(data), separator=", ", prefix="tensor(", threshold=200)
        extras = [] if data.dtype in (np.float32, np.int64, np.bool_) else [f"dtype={data.dtype.name}"]
        extras += [] if self.device == "cpu" else [f"device='{self.device}'"]
        if self._node is not None:
            extras += ["requires_grad=True"] if type(self._node) is Leaf else [f"grad_fn={self._node.op.name}"]
        return f"tensor({', '.join([body, *extras])})"

    def __deepcopy__(self, memo: dict) -> Tensor:
        if not self.is_leaf:
            raise RuntimeError("only leaves can be deep-copied; use t.detach() first")
        out = wrap(self._data.copy(), type(self))
        memo[id(self)] = out
        if self._node is not None:
            out._node = Leaf(out)
        return out

    def __reduce__(self) -> Any:
        if not self.is_leaf:
            raise RuntimeError("only leaves can be pickled; use t.detach() first")
        return _rebuild, (type(self), self.detach().numpy(), self.requires_grad, self.device)

    if TYPE_CHECKING:  # bound in ops/methods.py

        def __getattr__(self, name: str) -> Any: ...
        def __getitem__(self, index: Any) -> Tensor: ...
        def __setitem__(self, index: Any, value: Any) -> None: ...
        def __neg__(self) -> Tensor: ...
        def __add__(self, other: Any) -> Tensor: ...

        __radd__ = __sub__ = __rsub__ = __mul__ = __rmul__ = __truediv__ = __rtruediv__ = __pow__ = __rpow__ = __add__
        __matmul__ = __rmatmul__ = __and__ = __or__ = __lt__ = __le__ = __gt__ = __ge__ = __add__


def _rebuild(kind: type, values: np.ndarray, requires_grad: bool, device: str) -> Tensor:
    backend, index = backends.get(device)
    out = wrap(backend.asarray(values, None, index), kind)
    return out.requires_grad_() if requires_grad else out


def wrap(data: Any, kind: type = Tensor, _new: Any = object.__new__) -> Tensor:
    """A tensor outside the graph around a raw array, or around the scalar that NumPy made of one."""
    t = _new(kind)
    t._data = np.asarray(data) if isinstance(data, np.generic) else data
    t._node = None
    t._slot = None
    t._version = [0]
    return t


@functools.cache
def _backward() -> Callable:
    """The pass, which is built on tensors."""
    from .backward import backward

    return backward


def share(base: Tensor, view: Tensor) -> None:
    """Notes that two tensors share storage: one version cell, which knows both by weak references."""
    cell = base._version
    view._version = cell
    if len(cell) == 1:
        cell.append(weakref.ref(base))
    elif len(cell) > 64 and not len(cell) & (len(cell) - 1):  # now and then: pruning walks over all
        cell[1:] = [ref for ref in cell[1:] if ref() is not None]
    cell.append(weakref.ref(view))


def shared_with_others(t: Tensor) -> bool:
    """Whether a tensor other than t that shares its storage is alive."""
    return any(ref() is not None and ref() is not t for ref in t._version[1:])


def raw(value: Any) -> Any:
    """The array of a tensor; anything else as it is."""
    return value._data if isinstance(value, Tensor) else value


def describe(array: Any) -> str:
    """How messages name an array: "float32[2, 3]"; a scalar is its type's name."""
    array = raw(array)
    if hasattr(array, "shape") and hasattr(array, "dtype"):
        return f"{array.dtype.name}{list(array.shape)}"
    return type(array).__name__


def beside(x: Tensor, value: Any) -> Any:
    """A NumPy array as one on the device of x; anything else as it is."""
    return x.backend.asarray(value) if type(value) is _ndarray and x.backend.waits else value
