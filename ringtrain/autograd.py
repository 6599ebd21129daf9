"""Ops and the nodes they leave behind in the graph; `backward.py` goes through it.

An `Op` is a forward function over raw arrays and, beside it, one vjp (vector-Jacobian product) for each input.
A vjp's parameters name what it wants: inputs, `out`, attributes. Only what the needed vjps name is saved. It is
written once, with operators and NumPy's names: normally it gets raw arrays and `xp` is the array library; under
create_graph it gets Tensors and `xp` is `taped`, the same names as differentiable ops.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from types import SimpleNamespace
from typing import Any

import numpy as np

from . import backend as backends
from .backend.meta import MetaArray
from .modes import enable_grad, is_grad_enabled, mode, no_grad
from .plan import Plan
from .tensor import Tensor, describe, is_float, wrap

__all__ = [
    "UNCHANGED",
    "Node",
    "Op",
    "enable_grad",
    "is_grad_enabled",
    "mode",
    "no_grad",
    "parts_of",
    "record",
    "taped",
]

taped: Any = SimpleNamespace()  # every op registers here under its NumPy name, for vjps under create_graph

UNCHANGED: list = [0]  # the version cell of what no tensor holds: raw arrays and scalars among an op's inputs

_new = object.__new__


class Node:
    """One executed op: where its inputs came from, and what its vjps want.

    edges, slots  for each input the node that made it (None: no gradient) and which output of that node it is
    saved         raw arrays and attributes, as the plan orders them; None once backward has freed them
    cells, stamp  the version cells of the plan's arrays, and the sum of their counts, which only ever grow
    shape, dtype  of the output; of a node with several outputs, lists
    """

    __slots__ = ("cells", "dtype", "edges", "op", "plan", "saved", "shape", "slots", "stamp", "taps")

    op: Any
    plan: Any
    edges: tuple
    slots: tuple
    saved: Any
    cells: Sequence[list]
    stamp: int
    shape: Any
    dtype: Any
    taps: list | None

    def vjp(self, xp: Any, g: Any, places: Sequence | None = None) -> Any:
        """Gradients of the inputs, None for those that want none; g is raw or, under create_graph, a Tensor.

        places: for a plan that is `placed`, an array for each input that its gradient may be written to, or None.
        """
        saved = self.saved
        if saved is None:
            raise RuntimeError(
                f"the graph of {self.op.name} has been freed by an earlier backward; "
                "pass retain_graph=True to that one to go through it twice"
            )
        stamp = self.stamp
        for cell in self.cells:
            stamp -= cell[0]
        if stamp:
            raise RuntimeError(
                f"a tensor that the gradient of {self.op.name} needs was changed in place since it was used "
                f"({-stamp} writes); change a copy of it instead"
            )
        if xp is taped:
            saved = self._as_tensors(saved)
        return self.plan.run(xp, g, saved) if places is None else self.plan.run(xp, g, saved, places)

    def _as_tensors(self, saved: Sequence) -> list:
        """The saved arrays as tensors that know their place in the graph."""
        values = list(saved)
        for k, i in enumerate(self.plan.arrays):
            constant = i is not None and self.edges[i] is None
            if not hasattr(saved[k], "shape") or (constant and isinstance(saved[k], np.generic)):
                continue
            t = values[k] = wrap(saved[k])
            t._version = self.cells[k]
            if i is None:
                t._node = self
            elif self.edges[i] is not None:
                t._node, t._slot = self.edges[i], self.slots[i]
        return values


class Op:
    """An operation: forward over raw arrays, shape rule, and vjps.

    name        as in messages and, for NumPy's names, in `taped`
    forward     (xp, *inputs, **attributes) -> array, or tuple of arrays; inputs are its positional parameters
                after xp, `*xs` for any number of them; attributes are keyword-only
    vjp         a function (xp, g, ...) for each input (None: no gradient), a single one standing for all; or,
                with joint=True, one (xp, g, needs, ...) -> gradients of all inputs. Its further parameters
                are names: of inputs, of attributes, `out`, or `x_shape` for the shape of input x. With
                several outputs g is a list, None where no gradient arrived. One with `places` after `needs`
                gets for each input an array of its shape and dtype that the gradient may be written to, and
                is then to be what is returned for it; or None
    shape       (*MetaArrays, **attributes) -> shape, or MetaArray where the dtype does not follow from the
                inputs; None: the inputs' broadcast shape
    joint       see vjp
    broadcasts  inputs broadcast, so the engine sums what a vjp gives to its input's shape
    """

    def __init__(
        self,
        name: str,
        forward: Callable,
        vjp: Callable | Sequence[Callable | None] | None = None,
        shape: Callable | None = None,
        joint: bool = False,
        broadcasts: bool = False,
    ) -> None:
        parameters = list(inspect.signature(forward).parameters.values())[1:]
        self.name = name
        self.forward = forward
        self.shape = shape
        self.joint = joint
        self.broadcasts = broadcasts
        self.inputs = [p.name for p in parameters if p.kind is not p.KEYWORD_ONLY]
        self.defaults = {p.name: p.default for p in parameters if p.kind is p.KEYWORD_ONLY}
        self.variadic = bool(parameters) and parameters[0].kind is parameters[0].VAR_POSITIONAL
        self.vjps: list[Any] = list(vjp) if isinstance(vjp, (list, tuple)) else [vjp]
        self._plans: dict[tuple[bool, ...], Plan | None] = {}

    def vjp_of(self, i: int) -> Callable | None:
        """The vjp for input i."""
        return self.vjps[i] if len(self.vjps) > 1 else self.vjps[0]

    def source(self, name: str, count: int) -> tuple[str, Any]:
        """What a vjp's parameter stands for: ("array", input indices or [None]) or ("extra", name or index)."""
        if name == "out":
            return "array", [None]
        if self.variadic and name == self.inputs[0]:
            return "array", tuple(range(count))
        if name in self.inputs:
            return "array", [self.inputs.index(name)]
        if name in self.defaults:
            return "extra", name
        if name.removesuffix("_shape") in self.inputs:
            return "extra", self.inputs.index(name.removesuffix("_shape"))
        raise TypeError(f"op {self.name}: its vjp wants {name!r}, which is no input, attribute, shape or 'out'")

    def plan(self, needs: tuple[bool, ...]) -> Plan | None:
        """The plan for these inputs wanting gradients; None where none of them can have one."""
        try:
            return self._plans[needs]
        except KeyError:
            able = tuple(n and self.vjp_of(i) is not None for i, n in enumerate(needs))
            plan = self._plans[needs] = Plan(self, able) if any(able) else None
            return plan

    def __call__(self, *inputs: Any, **attributes: Any) -> Any:
        """Runs the op on tensors, arrays and Python scalars, and records it where a gradient is wanted.

        Arguments after the inputs are attributes, in their order: `sum(x, 0, True)`.
        """
        if len(inputs) > len(self.inputs) and not self.variadic:
            attributes = self._named(inputs[len(self.inputs) :]) | attributes
            inputs = inputs[: len(self.inputs)]
        if attributes and not attributes.keys() <= self.defaults.keys():
            unknown = sorted(attributes.keys() - self.defaults.keys())
            raise TypeError(f"{self.name} has no option {unknown}; it has {list(self.defaults)}")
        arrays, edges, slots = parts_of(inputs)
        backend = _backend_of(arrays)
        if backend.waits:
            arrays = together(backend, arrays, inputs)
        try:
            if backend.abstract:
                result: Any = self.infer(arrays, attributes)
            else:
                result = self.forward(backend.xp, *arrays, **attributes)
        except (ValueError, TypeError, IndexError) as error:
            raise explained(error, self.name, arrays) from error
        outs = tuple([wrap(data) for data in result]) if type(result) is tuple else (wrap(result),)
        if mode.grad and any(edges):
            record(self, inputs, arrays, (edges, slots), attributes, outs)
        return outs if type(result) is tuple else outs[0]

    def _named(self, values: tuple) -> dict:
        """Attributes that were given by position."""
        if len(values) > len(self.defaults):
            most = len(self.inputs) + len(self.defaults)
            raise TypeError(f"{self.name} takes at most {most} arguments: {', '.join([*self.inputs, *self.defaults])}")
        return dict(zip(self.defaults, values, strict=False))

    def infer(self, arrays: list, attributes: dict) -> MetaArray:
        """The result's shape and dtype, by the shape rule; the dtype by asking NumPy about one element."""
        metas = [
            a if isinstance(a, MetaArray) else MetaArray(a.shape, a.dtype) if hasattr(a, "shape") else a for a in arrays
        ]
        if self.shape is None:
            shape: Any = np.broadcast_shapes(*(m.shape for m in metas if isinstance(m, MetaArray)))
            samples = [m.sample() if isinstance(m, MetaArray) else m for m in metas]
            with np.errstate(all="ignore"):  # the sample need not lie in the op's domain
                return MetaArray(shape, self.forward(np, *samples, **attributes).dtype)
        shape = self.shape(*metas, **attributes)
        if isinstance(shape, MetaArray):
            return shape
        return MetaArray(shape, np.result_type(*(m.dtype for m in metas if isinstance(m, MetaArray))))


def _backend_of(arrays: list) -> backends.Backend:
    """The backend of an op's inputs: the meta one if it is among them, the default one if all are scalars."""
    found = None
    for a in arrays:
        if type(a) is np.ndarray:
            found = found or backends.of(a)
        elif type(a) is MetaArray:
            return backends.of(a)
        elif hasattr(a, "shape") and not isinstance(a, np.generic):
            found = backends.of(a)
    return found or backends.get(None)[0]


def together(backend: backends.Backend, arrays: list, inputs: Sequence = ()) -> list:
    """An op's inputs on the device that one of them is on: NumPy's arrays are constants and go there.

    Raises TypeError where a tensor is elsewhere: those are moved by who made them.
    """
    for x in inputs:
        if isinstance(x, Tensor) and type(x._data) is np.ndarray:
            raise TypeError(
                f"{describe(x)} is on device 'cpu', another tensor on '{backend.place(None)}'; "
                "move it with x.to(device)"
            )
    return [backend.asarray(a) if type(a) is np.ndarray else a for a in arrays]


def explained(error: Exception, name: str, arrays: Sequence) -> Exception:
    """An array library's error as a plain one of its kind that names the op and its inputs."""
    kind = next(kind for kind in (ValueError, IndexError, TypeError) if isinstance(error, kind))
    return kind(f"{name}: {error} (inputs: {', '.join(map(describe, arrays))})")


def parts_of(inputs: Sequence) -> tuple[list, list, list]:
    """An op's inputs as arrays and scalars, the nodes that made them (None: no gradient), and which output of each."""
    arrays, edges, slots = [], [], []
    for x in inputs:
        if isinstance(x, Tensor):
            arrays.append(x._data)
            edges.append(x._node)
            slots.append(x._slot)
        else:
            arrays.append(np.asarray(x) if type(x) is list else x)
            edges.append(None)
            slots.append(None)
    return arrays, edges, slots


def record(
    op: Op, inputs: Sequence, arrays: Sequence, origins: tuple, attributes: dict, outs: tuple[Tensor, ...]
) -> None:
    """Puts the tensors `outs`, just computed by `op`, into the graph as one node; origins: edges and slots."""
    edges, slots = origins
    plan = op.plan(tuple([e is not None for e in edges]))
    first = outs[0]
    if plan is None or not is_float(first._data.dtype):
        return
    node = _new(Node)
    node.op = op
    node.plan = plan
    node.edges = tuple(edges)
    node.slots = tuple(slots)
    saved: list[Any] = []
    cells: list[list] = []
    stamp = 0
    for i in plan.arrays:
        source = first if i is None else inputs[i]
        cell = source._version if isinstance(source, Tensor) else UNCHANGED
        cells.append(cell)
        stamp += cell[0]
        saved.append(source._data if i is None else arrays[i])
    for key in plan.extras:
        if isinstance(key, str):
            saved.append(attributes[key] if key in attributes else op.defaults[key])
        else:
            saved.append(getattr(arrays[key], "shape", ()))
    node.saved = saved
    node.cells = cells
    node.stamp = stamp
    node.taps = None
    if len(outs) == 1:
        node.shape = first._data.shape
        node.dtype = first._data.dtype
        first._node = node
    else:
        node.shape = [t._data.shape for t in outs]
        node.dtype = [t._data.dtype for t in outs]
        for slot, t in enumerate(outs):
            if is_float(t._data.dtype):
                t._node, t._slot = node, slot
