"""How the families define their ops: registration under a name, and the short way for elementwise ones.

`unary` and `binary` do what `Op.__call__` does for one or two inputs without attributes, spelled out: on tensors
of a few elements the engine's own time is what counts, and these two are most of a network's nodes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ..autograd import UNCHANGED, Node, Op, explained, mode, taped
from ..backend import of
from ..backend.meta import MetaArray
from ..dtypes import settled
from ..tensor import Tensor, is_float

__all__ = ["binary", "op", "register", "unary"]

_new = object.__new__
_ndarray = np.ndarray


def register(name: str, fn: Callable) -> Callable:
    """Makes a function on tensors known to vjps under create_graph, by NumPy's name."""
    setattr(taped, name, fn)
    return fn


def op(
    name: str,
    forward: Callable,
    vjp: Callable | Sequence[Callable | None] | None = None,
    shape: Callable | None = None,
    joint: bool = False,
    broadcasts: bool = False,
) -> Op:
    """An `Op`, registered under its name."""
    made = Op(name, forward, vjp, shape, joint, broadcasts)
    register(name, made)
    return made


def _wrap(data: Any) -> Tensor:
    out = _new(Tensor)
    out._data = data if type(data) is _ndarray or not isinstance(data, np.generic) else np.asarray(data)
    out._node = None
    out._slot = None
    out._version = [0]
    return out


def _node(op: Op, plan: Any, edges: tuple, slots: tuple, saved: list, checks: list, out: Tensor) -> None:
    node = _new(Node)
    node.op = op
    node.plan = plan
    node.edges = edges
    node.slots = slots
    node.saved = saved
    node.checks = checks
    node.shape = out._data.shape
    node.dtype = out._data.dtype
    node.taps = None
    out._node = node


def unary(name: str, forward: Callable, vjp: Callable | None = None, doc: str = "") -> Callable[[Any], Tensor]:
    """An elementwise op of one input. forward: (xp, x); vjp: (xp, g[, x][, out])."""
    made = Op(name, lambda xp, x: settled(forward(xp, x), (x,)), vjp)
    plan = made.plan((True,))
    wanted = plan.arrays if plan else ()

    def call(x: Any) -> Tensor:
        if not isinstance(x, Tensor) or of(x._data).abstract:
            return made(x)
        data = x._data
        out = _wrap(forward(np if type(data) is _ndarray else of(data).xp, data))
        if out._data.dtype is not data.dtype:
            out._data = settled(out._data, (data,))
        edge = x._node
        if edge is not None and mode.grad and plan is not None and is_float(out._data.dtype):
            saved = []
            checks = []
            for i in wanted:
                source = x if i == 0 else out
                cell = source._version
                saved.append(source._data)
                checks.append(cell)
                checks.append(cell[0])
            _node(made, plan, (edge,), (x._slot,), saved, checks, out)
        return out

    return _named(call, name, doc, made)


def binary(
    name: str, forward: Callable, vjp: Sequence[Callable] | None = None, doc: str = ""
) -> Callable[[Any, Any], Tensor]:
    """An elementwise op of two inputs that broadcast; either may be a Python scalar or an array.

    forward: (a, b), an operator or ufunc that dispatches on its arguments; vjp: one (xp, g, ...) for each input.
    """
    made = Op(name, lambda xp, a, b: settled(forward(a, b), (a, b)), vjp, broadcasts=True)
    plans = {(n, m): made.plan((n, m)) for n in (False, True) for m in (False, True)}

    def call(a: Any, b: Any) -> Tensor:
        x = a._data if isinstance(a, Tensor) else a
        y = b._data if isinstance(b, Tensor) else b
        plain, other = type(x) is _ndarray, type(y) is _ndarray
        if not (plain or other) or type(x) is MetaArray or type(y) is MetaArray:
            return made(a, b)
        try:
            out = _wrap(forward(x, y))
        except (ValueError, TypeError) as error:
            raise explained(error, name, (x, y)) from error
        if not (plain and other):
            out._data = settled(out._data, (x, y))
        if mode.grad:
            e, s, ca = (a._node, a._slot, a._version) if x is not a else (None, None, UNCHANGED)
            f, t, cb = (b._node, b._slot, b._version) if y is not b else (None, None, UNCHANGED)
            if e is not None or f is not None:
                plan = plans[e is not None, f is not None]
                if plan is None or not is_float(out._data.dtype):
                    return out
                saved = []
                checks: list = []
                for i in plan.arrays:
                    value, cell = (x, ca) if i == 0 else (y, cb) if i == 1 else (out._data, out._version)
                    saved.append(value)
                    checks.append(cell)
                    checks.append(cell[0])
                _node(made, plan, (e, f), (s, t), saved, checks, out)
        return out

    return _named(call, name, doc, made)


def _named(call: Callable, name: str, doc: str, made: Op) -> Callable:
    call.__name__ = call.__qualname__ = name
    call.__doc__ = doc or f"`numpy.{name}`, differentiable." if made.vjps != [None] else f"`numpy.{name}`."
    call.op = made  # type: ignore[attr-defined]
    return register(name, call)
