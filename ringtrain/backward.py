"""The backward pass: count dependencies, pop a stack, send each gradient along its edge.

One iterative walk counts how many edges lead to every node. Then a node whose count is 0 is popped, its vjp is
run once, and its gradients go to the nodes its inputs came from. A leaf whose count is 0 is final: it takes its
gradient and fires its hooks at once, while the rest of the pass still runs.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import repeat
from typing import Any

import numpy as np

from . import backend as backends
from .autograd import Node, mode, taped
from .dtypes import wide
from .tensor import Leaf, Tensor, describe, raw, wrap

__all__ = ["backward", "grad", "sum_to"]

_ndarray = np.ndarray


def backward(
    tensors: Sequence[Tensor],
    grads: Sequence[Any] | None = None,
    retain_graph: bool = False,
    create_graph: bool = False,
) -> None:
    """Adds the gradients of sum_i <tensors[i], grads[i]> to `.grad` of every leaf that they were computed from.

    grads[i] has the shape of tensors[i]; None is 1 for a tensor of one element. See `Tensor.backward`.
    """
    _Pass(tensors, grads, retain_graph or create_graph, create_graph).run()


def grad(
    outputs: Tensor | Sequence[Tensor],
    inputs: Tensor | Sequence[Tensor],
    grad_outputs: Any = None,
    retain_graph: bool | None = None,
    create_graph: bool = False,
    allow_unused: bool = False,
) -> Any:
    """The gradients of sum(outputs) with respect to the inputs, which may be any tensors of the graph.

    Nothing is added to `.grad`. grad_outputs: gradients of the outputs, as in `backward`. retain_graph: as in
    `backward`; None means the same as create_graph.
    Returns a tuple, or a single Tensor where `inputs` is one. An input that the outputs do not depend on raises
    RuntimeError, or gives None with allow_unused=True.
    """
    single = isinstance(outputs, Tensor)
    outs: Sequence[Tensor] = [outputs] if isinstance(outputs, Tensor) else outputs
    ins: Sequence[Tensor] = [inputs] if isinstance(inputs, Tensor) else inputs
    for k, t in enumerate(ins):
        if t._node is None:
            raise RuntimeError(f"input {k} of grad ({describe(t._data)}) does not require a gradient")
    retain = create_graph if retain_graph is None else retain_graph
    task = _Pass(outs, [grad_outputs] if single else grad_outputs, retain, create_graph)
    found = task.run(ins)
    for k, g in enumerate(found):
        if g is None and not allow_unused:
            raise RuntimeError(f"the outputs do not depend on input {k}; pass allow_unused=True to get None there")
    result = tuple(g if g is None or isinstance(g, Tensor) else wrap(g) for g in found)
    return result[0] if isinstance(inputs, Tensor) else result


def sum_to(g: Any, shape: tuple[int, ...]) -> Any:
    """Sums a gradient over the axes along which an input of `shape` was broadcast."""
    lead = len(g.shape) - len(shape)
    axes = tuple(range(lead)) + tuple(lead + i for i, n in enumerate(shape) if n == 1 and g.shape[lead + i] != 1)
    if axes:
        if isinstance(g, Tensor):
            g = g.sum(axis=axes, keepdims=True)
        else:
            g = g.sum(axis=axes, keepdims=True, dtype=wide(g.dtype))
    return g.reshape(shape)


class _Pass:
    """One backward pass: the gradients under way, and how many edges still lead to each node."""

    def __init__(self, tensors: Sequence[Tensor], grads: Sequence[Any] | None, retain: bool, create: bool) -> None:
        self.retain = retain
        self.create = create
        self.flow: dict[Any, Any] = {}  # node -> its gradient; a list of them where it has several outputs
        self.own: set[Any] = set()  # nodes whose gradient is a sum made here, so that it can be added to in place
        # gradients from outside may lie in a leaf's buffer
        self.given = grads is not None and any(g is not None for g in grads)
        heads = _heads(tensors, grads, create)
        self.roots = list(dict.fromkeys(t._node for t in tensors))
        self.pending = _dependencies(self.roots)
        for t, g in zip(tensors, heads, strict=True):
            self.add(t._node, t._slot, g)

    def add(self, node: Any, slot: int | None, g: Any) -> None:
        """Adds a gradient of the right shape and dtype to what is under way to a node."""
        flow = self.flow
        if slot is not None:
            parts = flow.setdefault(node, [None] * len(node.shape))
            parts[slot] = g if parts[slot] is None else parts[slot] + g
        elif node not in flow:
            flow[node] = g
        elif node in self.own:
            flow[node] += g
        else:
            total = flow[node] = flow[node] + g
            if not self.create and total.shape:
                self.own.add(node)

    def run(self, targets: Sequence[Tensor] | None = None) -> list[Any]:
        """Goes through the graph. With targets it returns their gradients and touches no leaf."""
        flow, pending, create, retain = self.flow, self.pending, self.create, self.retain
        wanted = {(t._node, t._slot): None for t in targets or ()}
        useful = None if targets is None else _leading_to({t._node for t in targets}, pending)
        ready = [node for node in reversed(self.roots) if not pending[node]]
        into_leaves = targets is None and not create and not self.given
        before = mode.grad
        mode.grad = create
        try:
            while ready:
                node = ready.pop()
                g = flow.pop(node, None)
                if g is not None and node.taps:
                    g, into_leaves = _tap(node, g), False  # for what a hook gives may lie in a buffer, too
                if targets is not None:
                    _collect(node, g, wanted)
                if type(node) is Leaf:
                    if targets is None and g is not None:
                        _arrive(node, g)
                    continue
                if g is None or (useful is not None and node not in useful):
                    results: Any = repeat(None)
                else:
                    places = self.places(node) if into_leaves and node.plan.placed else None
                    results = node.vjp(taped if create else np if type(g) is _ndarray else _library(g), g, places)
                for edge, slot, result in zip(node.edges, node.slots, results):  # noqa: B905  results may be endless
                    if edge is None:
                        continue
                    if result is not None:
                        fits = slot is None and result.dtype is edge.dtype and result.shape == edge.shape
                        if fits and edge not in flow:  # most do
                            flow[edge] = result
                        else:
                            self.send(node, edge, slot, result)
                    left = pending[edge] = pending[edge] - 1
                    if not left:
                        ready.append(edge)
                if not retain:
                    node.saved = None
        finally:
            mode.grad = before
        return [] if targets is None else [wanted[t._node, t._slot] for t in targets]

    def places(self, node: Node) -> list[Any]:
        """For each input of a node the buffer of a leaf whose gradient is just what this node gives; or None."""
        places: list[Any] = []
        for edge in node.edges:
            place = None
            if type(edge) is Leaf and edge.grad is None and edge.taps is None and self.pending[edge] == 1:
                place = edge.buffer
                for cell in node.cells:
                    if cell is edge.version:  # the node has read what is in the buffer
                        place = None
            places.append(place)
        return places

    def send(self, node: Node, edge: Any, slot: int | None, g: Any) -> None:
        """Sends a gradient along an edge, in the shape and dtype of what the edge leads to."""
        shape, dtype = (edge.shape, edge.dtype) if slot is None else (edge.shape[slot], edge.dtype[slot])
        if g.shape != shape:
            g = _fit(node, edge, g, shape)
        if g.dtype != dtype:
            g = g.astype(dtype)
        self.add(edge, slot, g)


def _fit(node: Node, edge: Any, g: Any, shape: tuple[int, ...]) -> Any:
    """A gradient summed over broadcast axes; raises where the op's vjp gave a shape that no broadcast explains."""
    try:
        fits = np.broadcast_shapes(g.shape, shape) == g.shape
    except ValueError:
        fits = False
    if not fits or not node.op.broadcasts:
        k = node.edges.index(edge)
        raise RuntimeError(f"the vjp of {node.op.name} gave input {k} a gradient of shape {g.shape}, not {shape}")
    return sum_to(g, shape)


def _library(g: Any) -> Any:
    """The array library of a gradient, or of the first one there is of several."""
    if type(g) is list:
        g = next(part for part in g if part is not None)
    return np if isinstance(g, (np.ndarray, np.generic)) else backends.of(g).xp


def _tap(node: Any, g: Any) -> Any:
    """Shows a gradient to the hooks of `Tensor.register_hook`, which may replace it."""
    for slot, hook in tuple(node.taps):
        part = g if slot is None else g[slot]
        if part is None:
            continue
        new = hook(part if isinstance(part, Tensor) else wrap(part))
        if new is not None:
            new = new if isinstance(part, Tensor) else raw(new)
            if new.shape != part.shape:
                raise ValueError(f"a hook replaced a gradient of shape {part.shape} by one of {new.shape}")
            if slot is None:
                g = new
            else:
                g[slot] = new
    return g


def _collect(node: Any, g: Any, wanted: dict) -> None:
    """Keeps the gradient of a node's outputs that were asked for."""
    if (node, None) in wanted:
        wanted[node, None] = g
    elif type(g) is list:
        for slot, part in enumerate(g):
            if (node, slot) in wanted:
                wanted[node, slot] = part


def _arrive(leaf: Leaf, g: Any) -> None:
    """A leaf's gradient is final."""
    old = leaf.grad
    if g is leaf.buffer and old is None:  # most often: it was computed there
        leaf.version[0] += 1
        leaf.grad = g
    elif isinstance(g, Tensor) or isinstance(old, Tensor):
        # under create_graph, now or before, the sum is a tensor of the graph; a flat buffer still gets its values
        # copied, because other edges may have been sent the same tensor
        total = taped.copy(g) if old is None else (old if isinstance(old, Tensor) else wrap(old)) + g
        leaf.grad = total if isinstance(g, Tensor) else total._data
        if leaf.buffer is not None:
            leaf.buffer[...] = total._data
            leaf.grad = total if isinstance(g, Tensor) else leaf.buffer
    else:
        leaf.accumulate(g)
    if leaf.hooks:
        leaf.fire()


def _heads(tensors: Sequence[Tensor], grads: Sequence[Any] | None, create: bool) -> list[Any]:
    """The gradients to begin with: checked, of the tensors' dtype; raw, or Tensors under create_graph."""
    grads = [None] * len(tensors) if grads is None else grads
    if len(grads) != len(tensors):
        raise ValueError(f"{len(grads)} gradients were given for {len(tensors)} tensors")
    return [_head(t, g, create) for t, g in zip(tensors, grads, strict=True)]


def _head(t: Tensor, g: Any, create: bool) -> Any:
    data = t._data
    if t._node is None:
        raise RuntimeError("backward needs a tensor that requires a gradient; this one was computed from none")
    if t.backend.abstract:
        raise RuntimeError(f"a tensor on device 'meta' has no values, so no gradients; this one is {describe(data)}")
    if g is None:
        if data.size != 1:
            raise RuntimeError(
                f"a gradient can be left out for a tensor of one element only; this one is {describe(data)}"
            )
        quick = type(data) is _ndarray and not data.shape  # `ones` takes five times as long
        one = np.array(1, data.dtype) if quick else t.backend.xp.ones(data.shape, data.dtype)
        return wrap(one) if create else one
    array = raw(g)
    if not isinstance(g, Tensor):  # of the host's
        array = g = t.backend.asarray(array, None if hasattr(array, "shape") else data.dtype)
    if array.shape != data.shape:
        raise ValueError(f"the gradient's shape {array.shape} is not the tensor's, {data.shape}")
    if array.dtype != data.dtype:
        g = g.astype(data.dtype)
    if create:
        return g if isinstance(g, Tensor) else wrap(g)
    return raw(g)


def _dependencies(roots: Iterable) -> dict:
    """For every node behind the roots, how many edges lead to it. Iterative: graphs are deep."""
    pending: dict[Any, int] = dict.fromkeys(roots, 0)
    stack = list(pending)
    while stack:
        for edge in stack.pop().edges:
            if edge is not None:
                if edge in pending:
                    pending[edge] += 1
                else:
                    pending[edge] = 1
                    stack.append(edge)
    return pending


def _leading_to(targets: set, pending: dict) -> set:
    """The nodes behind whose edges some target lies: those whose vjp is needed."""
    users: dict[Any, list] = {}
    for node in pending:
        for edge in node.edges:
            if edge is not None:
                users.setdefault(edge, []).append(node)
    found: set = set()
    stack = [t for t in targets if t in pending]
    while stack:
        for user in users.get(stack.pop(), ()):
            if user not in found:
                found.add(user)
                stack.append(user)
    return found
