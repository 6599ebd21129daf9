"""Fused ops: a composed definition over ops, replaced by a backend's kernel where there is one.

The composed form is the definition: the kernel's oracle, its second derivative, what runs on a backend without
the kernel, and the shape rule.

A kernel is an object with
    accepts(*arrays, **attributes) -> bool               whether it can do these (dtypes, options)
    forward(*arrays, **attributes) -> (out, residuals)   out is an array or a tuple of arrays
    backward(g, needs, residuals, *arrays, **attributes) -> gradients of all inputs, None where not needed
    placed                                               True if backward takes `places` after needs, as a vjp may
    keeps_output                                         whether residuals hold an output: a write into it is an error
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from ..autograd import UNCHANGED, Node, Op, enable_grad, mode, parts_of, taped
from ..backend import of
from ..backward import grad
from ..tensor import Tensor, wrap
from .define import register

__all__ = ["Fused", "fused", "stand_in"]

_identity = Op("identity", lambda xp, x: x, lambda xp, g: g)


class _Plan:
    """What `Node.vjp` wants of a plan: the first arrays saved are the inputs; attributes and residuals follow."""

    __slots__ = ("arrays", "composed", "kernel", "needs", "nowhere", "placed")

    def __init__(self, kernel: Any, composed: Callable, needs: tuple[bool, ...]) -> None:
        self.arrays = tuple(range(len(needs)))
        self.kernel = kernel
        self.composed = composed
        self.needs = needs
        self.placed = getattr(kernel, "placed", False)
        self.nowhere = (None,) * len(needs)

    def run(self, xp: Any, g: Any, saved: list, places: Sequence | None = None) -> list:
        *inputs, attributes, residuals = saved
        if xp is not taped:
            told = (self.needs, places or self.nowhere) if self.placed else (self.needs,)
            return self.kernel.backward(g, *told, residuals, *inputs, **attributes)
        return self._again(g, inputs, attributes)

    def _again(self, g: Any, inputs: list, attributes: dict) -> list:
        """Gradients as tensors of the graph: those of the composed form, run again.

        The inputs stand in as nodes without edges, so that the composed form's own pass ends at them; afterwards
        they are joined to the graph they came from.
        """
        stand_ins = []
        for x, need in zip(inputs, self.needs, strict=True):
            if need:
                x = stand_in(x)
            stand_ins.append(x)
        with enable_grad():
            out = self.composed(*stand_ins, **attributes)
        if type(out) is tuple:  # only what has a gradient
            out, g = zip(*[pair for pair in zip(out, g, strict=True) if pair[1] is not None], strict=True)
        wanted = [x for x, need in zip(stand_ins, self.needs, strict=True) if need]
        outs, heads = (out, g) if type(out) is tuple else ((out,), [g])
        reached = [(t, head) for t, head in zip(outs, heads, strict=True) if head is not None and t._node is not None]
        ends, heads = [t for t, _ in reached], [head for _, head in reached]
        found = iter(grad(ends, wanted, heads, create_graph=True, allow_unused=True))
        for x, original, need in zip(stand_ins, inputs, self.needs, strict=True):
            if need:
                x._node.edges, x._node.slots = (original._node,), (original._slot,)
        return [next(found) if need else None for need in self.needs]


def stand_in(x: Tensor) -> Tensor:
    """The same data behind an identity node that leads nowhere yet: a graph from here ends here."""
    node = object.__new__(Node)
    node.op, node.plan = _identity, _identity.plan((True,))
    node.edges, node.slots = (), ()
    node.saved, node.cells, node.stamp, node.taps = [], (), 0, None
    node.shape, node.dtype = x._data.shape, x._data.dtype
    out = wrap(x._data)
    out._node, out._version = node, x._version
    return out


class Fused:
    """An op whose forward and backward a backend's kernel may take over."""

    broadcasts = False

    def __init__(self, name: str, composed: Callable) -> None:
        self.name = name
        self.composed = composed
        self._plans: dict[tuple, _Plan] = {}  # by kernel and the inputs that need gradients

    def __call__(self, *inputs: Any, **attributes: Any) -> Any:
        arrays, edges, slots = parts_of(inputs)
        kernel = of(arrays[0]).kernel(self.name)
        if kernel is None or not kernel.accepts(*arrays, **attributes):
            return self.composed(*inputs, **attributes)
        result, residuals = kernel.forward(*arrays, **attributes)
        outs = tuple(map(wrap, result)) if type(result) is tuple else (wrap(result),)
        if mode.grad and any(edges):
            self._record(kernel, inputs, arrays, (edges, slots), attributes, residuals, outs)
        return outs if type(result) is tuple else outs[0]

    def _record(
        self,
        kernel: Any,
        inputs: tuple,
        arrays: list,
        origins: tuple,
        attributes: dict,
        residuals: Any,
        outs: tuple,
    ) -> None:
        edges, slots = origins
        node = object.__new__(Node)
        node.op = self
        needs = tuple([edge is not None for edge in edges])
        plan = self._plans.get((kernel, needs))
        node.plan = plan or self._plans.setdefault((kernel, needs), _Plan(kernel, self.composed, needs))
        node.edges = tuple(edges)
        node.slots = tuple(slots)
        node.saved = [*arrays, attributes, residuals]
        node.cells = [x._version if isinstance(x, Tensor) else UNCHANGED for x in inputs]
        if kernel.keeps_output:
            node.cells += [t._version for t in outs]
        node.stamp = sum([cell[0] for cell in node.cells])
        node.taps = None
        single = len(outs) == 1
        node.shape = outs[0]._data.shape if single else [t._data.shape for t in outs]
        node.dtype = outs[0]._data.dtype if single else [t._data.dtype for t in outs]
        for slot, t in enumerate(outs):
            t._node, t._slot = node, None if single else slot


def fused(name: str, composed: Callable) -> Callable:
    """The op `composed(*tensors, **attributes)`, by kernel `name` of the inputs' backend where there is one."""
    made = Fused(name, composed)
    register(name, made)
    return made
