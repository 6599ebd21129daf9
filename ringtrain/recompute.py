"""Recompute: trade time for memory, by running a part of the network again in backward (Chen et al. 2016)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any

import numpy as np

from . import random
from .autograd import Node, enable_grad, mode, taped
from .backward import grad
from .ops.fused import stand_in
from .tensor import Leaf, Tensor, is_float, wrap

__all__ = ["recompute", "recompute_sequential"]


def recompute(fn: Callable, *inputs: Any, **kwargs: Any) -> Any:
    """fn(*inputs, **kwargs), of whose graph nothing is kept: backward runs fn again. PyTorch's `checkpoint`.

    fn returns a tensor, or a tuple or list of them, and must compute the same when it is run again. Dropout draws the
    same masks then, and running statistics do not move a second time. Inputs must stay as they are until backward.
    Parameters that fn reaches by itself get their gradients; tensors computed outside must be inputs, and not inside
    lists or dicts (else backward may say that their graph has been freed). Calls may be nested, and gradients may be
    differentiated again.

    Raises RuntimeError where fn writes into its inputs.
    """
    if not mode.grad:
        return fn(*inputs, **kwargs)
    versions = [x._version[0] for x in inputs if isinstance(x, Tensor)]
    replicas = _replicas(inputs)
    with random.recorded() as turns:
        result = fn(*replicas, **kwargs)
    if versions != [x._version[0] for x in inputs if isinstance(x, Tensor)]:
        raise RuntimeError("recompute: fn wrote into its inputs, so running it again would not give the same")
    several = isinstance(result, (tuple, list))
    outs = [t.detach() if isinstance(t, Tensor) else t for t in (result if several else [result])]
    leaves = _leaves(result if several else [result])
    edges = [x._node if isinstance(x, Tensor) else None for x in inputs] + leaves
    tensors = [t for t in outs if isinstance(t, Tensor)]
    if any(edge is not None for edge in edges) and tensors:
        _record(_Plan(fn, kwargs, leaves, turns), inputs, edges, tensors)
    return type(result)(outs) if several else outs[0]


def recompute_sequential(functions: Sequence[Callable], segments: int, x: Any) -> Any:
    """x through functions one after the other (the layers of a Sequential), cut into segments that are recomputed.

    About sqrt(n) segments of n layers need the least memory. PyTorch's `checkpoint_sequential`.
    """
    layers = list(functions)
    if not 1 <= segments <= len(layers):
        raise ValueError(f"recompute_sequential: {len(layers)} layers cannot be cut into {segments} segments")
    edges = [len(layers) * k // segments for k in range(segments + 1)]
    for start, stop in pairwise(edges):
        x = recompute(_chain(layers[start:stop]), x)
    return x


def _chain(layers: list) -> Callable:
    def run(x: Any) -> Any:
        for layer in layers:
            x = layer(x)
        return x

    return run


def _replicas(inputs: Sequence) -> list:
    """The inputs, those that want gradients as tensors at which a graph ends."""
    return [stand_in(x) if isinstance(x, Tensor) and x._node is not None else x for x in inputs]


def _leaves(outs: Sequence) -> list:
    """The leaves from which the outputs were computed. Iterative: graphs are deep."""
    stack = [t._node for t in outs if isinstance(t, Tensor) and t._node is not None]
    seen = dict.fromkeys(stack)
    while stack:
        for edge in stack.pop().edges:
            if edge is not None and edge not in seen:
                seen[edge] = None
                stack.append(edge)
    return [node for node in seen if type(node) is Leaf]


class _Recompute:
    """What messages call the node."""

    name = "recompute"
    broadcasts = False


def _record(plan: _Plan, inputs: Sequence, edges: list, tensors: list[Tensor]) -> None:
    node = object.__new__(Node)
    node.op, node.plan = _Recompute, plan
    node.edges = tuple(edges)
    node.slots = (*(x._slot if isinstance(x, Tensor) else None for x in inputs), *(None for _ in plan.leaves))
    node.saved = list(inputs)
    node.cells = [x._version for x in inputs if isinstance(x, Tensor)]
    node.stamp = sum([cell[0] for cell in node.cells])
    node.taps = None
    node.shape, node.dtype = [t.shape for t in tensors], [t.dtype for t in tensors]
    for slot, t in enumerate(tensors):
        if is_float(t.dtype):
            t._node, t._slot = node, slot


class _Plan:
    """Runs fn again, with the same draws, and goes backward through what it left."""

    arrays = ()
    placed = False

    def __init__(self, fn: Callable, kwargs: dict, leaves: list, turns: list) -> None:
        self.fn, self.kwargs, self.leaves, self.turns = fn, kwargs, leaves, turns

    def run(self, xp: Any, g: list, saved: list) -> list:
        create = xp is taped
        replicas = _replicas(saved)
        with enable_grad(), random.replayed(self.turns):
            result = self.fn(*replicas, **self.kwargs)
        outs = [t for t in (result if isinstance(result, (tuple, list)) else [result]) if isinstance(t, Tensor)]
        reached = [(t, h) for t, h in zip(outs, g, strict=True) if h is not None and t._node is not None]
        wanted = [x for x in replicas if isinstance(x, Tensor) and x._node is not None]
        ends = [*wanted, *map(_end, self.leaves)]
        heads = [h if isinstance(h, Tensor) else wrap(h) for _, h in reached]
        # what fn reached by itself may be part of a graph that is still needed: so it is kept
        options = {"retain_graph": True, "create_graph": create, "allow_unused": True}
        found = list(grad([t for t, _ in reached], ends, heads, **options)) if reached else [None] * len(ends)
        if create:
            for x, original in zip(replicas, saved, strict=True):
                if any(x is w for w in wanted):
                    x._node.edges, x._node.slots = (original._node,), (original._slot,)
        else:
            found = [None if t is None else t._data for t in found]
        each = iter(found)
        grads = [next(each) if any(x is w for w in wanted) else None for x in replicas]
        return [*grads, *each]


def _end(leaf: Leaf) -> Tensor:
    """A tensor that stands for a leaf."""
    t = wrap(np.empty(0))
    t._node = leaf
    return t
