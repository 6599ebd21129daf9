"""How the families define their ops: registration under a name, and the short way for elementwise ones.

`unary`, `binary` and `ternary` do what `Op.__call__` does for inputs without attributes, spelled out: on tensors of a
few elements the engine's own time is what counts, and these are most of a network's nodes.
"""

from __future__ import annotations

import copyreg
import functools
import inspect
import operator
import sys
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from .. import backend as backends
from ..autograd import UNCHANGED, Node, Op, explained, mode, taped
from ..backend.base import _by_type as _arrays
from ..dtypes import settled, wide
from ..tensor import Tensor

__all__ = [
    "binary",
    "composed_widely",
    "fitting",
    "op",
    "pointwise",
    "register",
    "special",
    "ternary",
    "unary",
    "watched",
    "widely",
]

_LOOP = 2048  # elements from which a loop is worth looking for
_NOWHERE = (None, None, None)
_FIRSTS = (None, None)  # the slots of most: one object less for the garbage collector to look at
_new = object.__new__
_ndarray: Any = np.ndarray  # what goes the short way; None while ops are watched, so that all go through `Op.__call__`


def short_ways(open_: bool) -> None:
    """Opens or closes the short ways of `unary` and the others. Closed, they do the same by `Op.__call__`."""
    global _ndarray
    _ndarray = np.ndarray if open_ else None


def watched() -> bool:
    """Whether somebody looks at each op."""
    return _ndarray is None


def register(name: str, fn: Callable) -> Callable:
    """Makes a function on tensors known to vjps under create_graph, by NumPy's name."""
    setattr(taped, name, fn)
    return fn


def _registered(name: str) -> Callable:
    return getattr(taped, name)


def _reduced(made: Op) -> Any:
    """How an op is pickled, and copied: by its name, so that what comes back is the op itself."""
    if getattr(taped, made.name, None) is made:
        return _registered, (made.name,)
    return object.__reduce_ex__(made, 2)


copyreg.pickle(Op, _reduced)  # type: ignore[arg-type]


def op(
    name: str,
    forward: Callable,
    vjp: Callable | Sequence[Callable | None] | None = None,
    shape: Callable | None = None,
    joint: bool = False,
    broadcasts: bool = False,
    doc: str = "",
) -> Op:
    """An `Op`, registered under its name."""
    made = Op(name, forward, vjp, shape, joint, broadcasts)
    made.__doc__ = doc or f"`numpy.{name}`."
    register(name, made)
    return made


def fitting(place: Any, dtype: Any) -> Any:
    """One of a vjp's places if what is computed has its dtype, else None: gradients are cast to their inputs' later."""
    return place if place is not None and place.dtype is dtype else None


def widely(function: Callable) -> Callable:
    """A forward function or vjp that computes 16-bit floats in float32 and rounds its result once."""

    def inside(xp: Any, first: Any, *rest: Any, **attributes: Any) -> Any:
        accumulator = wide(first.dtype)
        if accumulator is None:
            return function(xp, first, *rest, **attributes)
        rest = tuple([x.astype(accumulator) if hasattr(x, "dtype") else x for x in rest])
        return function(xp, first.astype(accumulator), *rest, **attributes).astype(first.dtype)

    # an op learns its inputs and attributes from the signature
    inside.__signature__ = inspect.signature(function)  # type: ignore[attr-defined]
    return inside


def pointwise(rule: Callable) -> Callable:
    """A forward function or vjp of an elementwise op, as one loop where the backend has the kernel `pointwise`.

    rule: (xp, *arrays, *numbers), of arrays of one shape; its numbers may be keyword-only. What it is for arrays and,
    under create_graph, for tensors, it is for each number too: it has no branches, and calls nothing but operators,
    the functions of xp that `backend/cpu_math.py` has, and rules.
    """

    def inside(xp: Any, *args: Any, **attributes: Any) -> Any:
        if xp is not taped and getattr(args[0], "size", 0) >= _LOOP:
            kernel = backends.of(args[0]).kernel("pointwise")
            if kernel is not None:
                out = kernel(rule, (*args, *(defaults | attributes).values()) if defaults else args)
                if out is not None:
                    return out
        return rule(xp, *args, **attributes)

    # an op learns its inputs and attributes from the signature
    signature = inside.__signature__ = inspect.signature(rule)  # type: ignore[attr-defined]
    defaults = {p.name: p.default for p in signature.parameters.values() if p.kind is p.KEYWORD_ONLY}
    return inside


def special(name: str) -> Callable:
    """The forward function of a special function, which array libraries keep elsewhere than NumPy's names."""
    return lambda xp, x: backends.using(xp).special(name)(x)


def composed_widely(function: Callable) -> Callable:
    """The same for a function of a tensor that is composed of ops."""

    @functools.wraps(function)
    def inside(x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        accumulator = wide(x.dtype)
        if accumulator is None:
            return function(x, *args, **kwargs)
        return function(x.astype(accumulator), *args, **kwargs).astype(x.dtype)

    return inside


def _array(xp: Any, x: Any) -> Any:
    """x, or the array () of a Python number."""
    return x if hasattr(x, "dtype") else xp.asarray(x)


def _made(data: Any) -> Tensor:
    """A tensor outside the graph around what NumPy made."""
    out = _new(Tensor)
    out._data = data if type(data) is _ndarray or not isinstance(data, np.generic) else np.asarray(data)
    out._node = out._slot = None
    out._version = [0]
    return out


def _recorder(made: Op, plan: Any, inputs: int) -> Callable[..., None]:
    """What puts a result into the graph: record(out, its array, edges, slots, values, cells), where values and their
    version cells are those of the inputs and then of the result.

    Most nodes save one or two arrays; only where there are more are they picked by a call.
    """
    places: list[Any] = [inputs if i is None else i for i in plan.arrays]
    pick = operator.itemgetter(*places) if len(places) > 2 else None
    i, j = (*places, None, None)[:2] if pick is None else _FIRSTS

    def record(out: Tensor, data: Any, edges: tuple, slots: tuple, values: tuple, cells: tuple) -> None:
        node = _new(Node)
        node.op = made
        node.plan = plan
        node.edges = edges
        node.slots = slots
        node.shape = data.shape
        node.dtype = data.dtype
        node.taps = None
        if j is not None:
            node.saved = (values[i], values[j])
            first, second = cells[i], cells[j]
            node.cells = (first, second)
            node.stamp = first[0] + second[0]
        elif i is not None:
            node.saved = (values[i],)
            first = cells[i]
            node.cells = (first,)
            node.stamp = first[0]
        elif pick is not None:
            node.saved = pick(values)
            node.cells = pick(cells)
            node.stamp = sum([cell[0] for cell in node.cells])
        else:
            node.saved = node.cells = ()
            node.stamp = 0
        out._node = node

    return record


def unary(name: str, forward: Callable, vjp: Callable | None = None, doc: str = "") -> Callable[[Any], Tensor]:
    """An elementwise op of one input. forward: (xp, x); vjp: (xp, g[, x][, out])."""
    made = Op(name, lambda xp, x: settled(forward(xp, _array(xp, x)), (x,)), vjp)
    plan = made.plan((True,))
    record = _recorder(made, plan, 1) if plan else None

    def call(x: Any) -> Tensor:
        data: Any = x._data if isinstance(x, Tensor) else None
        if type(data) is not _ndarray:
            return made(x)
        try:
            out = _made(forward(np, data))
        except (ValueError, TypeError) as error:
            raise explained(error, name, (data,)) from error
        if out._data.dtype is not data.dtype:
            out._data = settled(out._data, (data,))
        edge = x._node
        if edge is not None and record is not None and mode.grad:
            record(out, out._data, (edge,), (x._slot,), (data, out._data), (x._version, out._version))
        return out

    return _named(call, name, doc, made)


def binary(
    name: str, forward: Callable, vjp: Sequence[Callable] | None = None, doc: str = ""
) -> Callable[[Any, Any], Tensor]:
    """An elementwise op of two inputs that broadcast; either may be a Python scalar or an array.

    forward: (a, b), an operator or ufunc that dispatches on its arguments; vjp: one (xp, g, ...) for each input.
    """

    def run(xp: Any, a: Any, b: Any) -> Any:  # of two Python numbers one is made an array
        return settled(forward(a if hasattr(b, "dtype") else _array(xp, a), b), (a, b))

    made = Op(name, run, vjp, broadcasts=True)
    plans = [made.plan(needs) for needs in ((True, False), (False, True), (True, True))]
    first, second, both = (_recorder(made, plan, 2) if plan else None for plan in plans)

    def call(a: Any, b: Any) -> Tensor:
        if type(a) is Tensor or isinstance(a, Tensor):  # the first is quicker
            x, e, s, ca = a._data, a._node, a._slot, a._version
        else:
            x, e, s, ca = a, None, None, UNCHANGED
        if type(b) is Tensor or isinstance(b, Tensor):
            y, f, t, cb = b._data, b._node, b._slot, b._version
        else:
            y, f, t, cb = b, None, None, UNCHANGED
        plain = type(x) is _ndarray
        alike = plain and type(y) is _ndarray
        if not alike and (type(y) in _arrays if plain else type(x) in _arrays or type(y) is not _ndarray):
            return made(a, b)
        try:
            z = forward(x, y)
        except (ValueError, TypeError) as error:
            raise explained(error, name, (x, y)) from error
        if not alike and z.dtype is not (x.dtype if plain else y.dtype):
            z = settled(z, (x, y))
        out = _new(Tensor)
        out._data = z if type(z) is _ndarray or not isinstance(z, np.generic) else np.asarray(z)
        out._node = out._slot = None
        version = out._version = [0]
        if e is not None or f is not None:
            save = second if e is None else first if f is None else both
            if save is not None and mode.grad:
                slots = _FIRSTS if s is None and t is None else (s, t)
                save(out, out._data, (e, f), slots, (x, y, z), (ca, cb, version))
        return out

    return _named(call, name, doc, made)


def ternary(made: Op) -> Callable[[Tensor, Tensor, Tensor | None], Tensor]:
    """An op of three inputs that all have gradients, without attributes, for tensors; the last may be None."""
    forward = made.forward
    recorders: dict[tuple[bool, bool, bool], Callable] = {}  # by the inputs that want gradients

    def call(a: Tensor, b: Tensor, c: Tensor | None) -> Tensor:
        x, y = getattr(a, "_data", None), getattr(b, "_data", None)
        z, last, cell, slot = None, None, UNCHANGED, None
        if isinstance(c, Tensor):
            z, last, cell, slot = c._data, c._node, c._version, c._slot
        if type(x) is not _ndarray or type(y) is not _ndarray or (c is not None and type(z) is not _ndarray):
            return made(a, b, c)
        try:
            out = _made(forward(np, x, y, z))
        except (ValueError, TypeError) as error:
            raise explained(error, made.name, (x, y, z)) from error
        edges = (a._node, b._node, last)
        if mode.grad and edges != _NOWHERE:
            needs = (edges[0] is not None, edges[1] is not None, last is not None)
            record = recorders.get(needs)
            if record is None:
                record = recorders[needs] = _recorder(made, made.plan(needs), 3)
            data, cells = out._data, (a._version, b._version, cell, out._version)
            record(out, data, edges, (a._slot, b._slot, slot), (x, y, z, data), cells)
        return out

    return call


def _named(call: Callable, name: str, doc: str, made: Op) -> Callable:
    call.__name__ = call.__qualname__ = name
    call.__module__ = sys._getframe(2).f_globals["__name__"]  # whoever calls `unary` or `binary`: pickle looks there
    call.__doc__ = doc or f"`numpy.{name}`, differentiable." if made.vjps != [None] else f"`numpy.{name}`."
    call.op = made  # type: ignore[attr-defined]
    return register(name, call)
