"""A graph as a list of steps, and how it runs: one value a name, dropped after its last use."""

from __future__ import annotations

from collections import ChainMap
from collections.abc import Callable, Iterable, MutableMapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from ..tensor import describe
from . import functions
from .proto import AttributeProto, attribute, value_of
from .registry import lookup

__all__ = ["Context", "Graph"]


@dataclass(frozen=True)
class Context:
    """What a node's meaning hangs on beside itself.

    opsets      the version of each domain
    functions   the model's own functions, by (domain, name, overload)
    attributes  those of the function whose body this is, which its nodes may refer to
    missing     where ops that nobody computes are collected, so that one error lists all
    """

    opsets: dict[str, int]
    functions: dict[tuple[str, str, str], Any]
    attributes: dict[str, Any] = field(default_factory=dict)
    missing: set[str] = field(default_factory=set)


@dataclass
class Step:
    """A node: `run(*inputs, **graphs)` -> its outputs. drops: names that no later step reads."""

    label: str
    run: Callable
    inputs: list[str]
    outputs: list[str]
    graphs: dict[str, Graph]
    fixed: tuple[int, ...] = ()
    drops: tuple[str, ...] = ()

    def reads(self) -> set[str]:
        """The names it reads, those that its graphs take from outside among them."""
        return set(self.inputs).union(*(g.captured for g in self.graphs.values())) - {""}


class Graph:
    """Nodes in order, from named inputs to named outputs."""

    def __init__(
        self,
        nodes: Iterable,
        inputs: Sequence[str],
        outputs: Sequence[str],
        constants: dict[str, Any],
        context: Context,
    ) -> None:
        self.inputs = list(inputs)
        self.outputs = list(outputs)
        self.constants = constants
        self.steps = [_step(node, context) for node in nodes]
        made = set(self.inputs).union(constants, *(s.outputs for s in self.steps))
        read = set(self.outputs).union(*(s.reads() for s in self.steps))
        self.captured = read - made
        needed = set(self.outputs)
        for step in reversed(self.steps):
            names = step.reads() | set(step.outputs)
            step.drops = tuple(n for n in names - needed - self.captured - set(constants) if n)
            needed |= names

    @classmethod
    def of(cls, proto: Any, context: Context) -> Graph:
        """From a GraphProto. Initializers are constants; those that are inputs too are defaults."""
        if proto.sparse_initializer:
            raise NotImplementedError(f"ringtrain.onnx: graph {proto.name!r} has sparse initializers")
        constants = {t.name: value_of(t) for t in proto.initializer}
        inputs = [i.name for i in proto.input if i.name not in constants]
        return cls(proto.node, inputs, [o.name for o in proto.output], constants, context)

    def run(self, values: MutableMapping[str, Any]) -> list:
        """The outputs. values: name -> value of the inputs and of what is captured; the graph writes into it."""
        for name, value in self.constants.items():
            values.setdefault(name, value)
        for step in self.steps:
            arguments = [values[n] if n else None for n in step.inputs]
            bound = {name: partial(graph.call, values) for name, graph in step.graphs.items()}
            try:
                results = step.run(*arguments, **bound)
            except Exception as error:
                error.add_note(f"in the ONNX node {step.label} of {', '.join(map(describe, arguments))}")
                raise
            results = results if type(results) is tuple else (results,)
            if len(results) < len(step.outputs):
                raise NotImplementedError(
                    f"ringtrain.onnx: {step.label} wants {len(step.outputs)} outputs; {len(results)} are computed"
                )
            values.update(item for item in zip(step.outputs, results, strict=False) if item[0])
            for name in step.drops:
                values.pop(name, None)
        return [values[n] for n in self.outputs]

    def call(self, outer: MutableMapping[str, Any], *arguments: Any) -> tuple:
        """Runs as the body of a control-flow node, which sees the values around it."""
        if len(arguments) != len(self.inputs):
            raise ValueError(f"ringtrain.onnx: a body of inputs {self.inputs} was given {len(arguments)}")
        inner: dict[str, Any] = {n: self.constants[n] for n in self.constants}
        inner.update(zip(self.inputs, arguments, strict=True))
        return tuple(self.run(_Scope(inner, outer)))


class _Scope(ChainMap):
    """The values of a body over those around it. Dropping one of its own names is all that pop does."""

    def pop(self, key: Any, *default: Any) -> Any:
        return self.maps[0].pop(key, *default)


def _step(node: Any, context: Context) -> Step:
    """A node with its function found and its attributes decoded."""
    domain = "" if node.domain == "ai.onnx" else node.domain
    version = context.opsets.get(domain, 1)
    label = f"{domain + '::' if domain else ''}{node.op_type}" + (f" {node.name!r}" if node.name else "")
    attributes, graphs = {}, {}
    for proto in node.attribute:
        if proto.ref_attr_name:
            if proto.ref_attr_name in context.attributes:
                attributes[proto.name] = context.attributes[proto.ref_attr_name]
        elif proto.type == AttributeProto.GRAPH:
            graphs[proto.name] = Graph.of(proto.g, context)
        else:
            attributes[proto.name] = attribute(proto)
    step = Step(label, _absent, list(node.input), list(node.output), graphs)
    local = context.functions.get((node.domain, node.op_type, node.overload))
    entry = lookup(domain, node.op_type, version)
    if local is not None:
        step.run = functions.local(local, attributes, context)
    elif entry is not None:
        step.fixed = entry.fixed
        unknown = sorted((attributes.keys() | graphs.keys()) - entry.options)
        if unknown:
            context.missing.add(f"{node.op_type} with {', '.join(unknown)} (opset {version})")
        given = {"n_outputs": len(node.output), "version": version}
        attributes |= {name: value for name, value in given.items() if name in entry.options}
        step.run = partial(entry.fn, **attributes) if attributes else entry.fn
    else:
        step.run = functions.of_schema(node, domain, version, attributes, graphs, context) or _absent
        if step.run is _absent:
            context.missing.add(f"{domain + '::' if domain else ''}{node.op_type} (opset {version})")
    return step


def _absent(*_: Any, **__: Any) -> Any:
    raise NotImplementedError("ringtrain.onnx: this op is not there")
