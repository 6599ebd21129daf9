"""Ops that are defined by other ops: a model's own functions, and those whose schema in ONNX has a body."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from functools import partial
from typing import Any

from .proto import attribute, onnx, schema_of, type_of

__all__ = ["local", "of_schema"]


def _graph(proto: Any, attributes: dict[str, Any], context: Any) -> Any:
    """The body of a FunctionProto with its attributes bound."""
    from .graph import Graph

    defaults = {a.name: attribute(a) for a in proto.attribute_proto}
    own = {("" if o.domain == "ai.onnx" else o.domain): o.version for o in proto.opset_import}
    # a body that leaves a domain out means the model's version of it
    inner = dataclasses.replace(context, opsets=context.opsets | own, attributes=defaults | attributes)
    return Graph(proto.node, proto.input, proto.output, {}, inner)


def _call(graph: Any, *arguments: Any) -> tuple:
    """Runs a body; inputs that are left out are None."""
    given = [*arguments, *[None] * (len(graph.inputs) - len(arguments))]
    # an optional output that was not asked for may have no node, and then no value
    values = dict.fromkeys(graph.captured) | dict(zip(graph.inputs, given, strict=True))
    return tuple(graph.run(values))


def local(proto: Any, attributes: dict[str, Any], context: Any) -> Callable:
    """A model's own function as a handler."""
    graph = _graph(proto, attributes, context)
    return partial(_call, graph)


def _nearest(versions: list[int], version: int) -> int:
    """The last version of a body up to the model's; the first where all are later."""
    return max((v for v in versions if v <= version), default=min(versions))


def of_schema(
    node: Any, domain: str, version: int, attributes: dict[str, Any], graphs: dict[str, Any], context: Any
) -> Callable | None:
    """The body that ONNX gives an op, as a handler; None where it gives none, or one of ops that are not here."""
    schema = schema_of(domain, node.op_type, version)
    if schema is None:
        return None
    defaults = {n: attribute(a.default_value) for n, a in schema.attributes.items() if a.default_value.name}
    attributes = defaults | attributes
    if schema.has_function and not graphs:
        body = schema.get_function_with_opset_version(_nearest(schema.function_opset_versions, version))
        inner = dataclasses.replace(context, missing=set())
        graph = _graph(onnx.FunctionProto.FromString(body), attributes, inner)
        return None if inner.missing else partial(_call, graph)
    if schema.has_context_dependent_function:
        return _by_types(node, schema, version, attributes, context)
    return None


def _by_types(node: Any, schema: Any, version: int, attributes: dict[str, Any], context: Any) -> Callable:
    """A handler whose body hangs on the types of the inputs: built for each as it comes."""
    at = _nearest(schema.context_dependent_function_opset_versions, version)
    bodies: dict[Any, Any] = {}

    def run(*arguments: Any, **_: Any) -> tuple:  # graphs among the attributes are in the body already
        types = [type_of(a).SerializeToString() for a in arguments]
        key = tuple(types)
        if key not in bodies:
            body = schema.get_context_dependent_function_with_opset_version(at, node.SerializeToString(), types)
            inner = dataclasses.replace(context, missing=set())
            bodies[key] = _graph(onnx.FunctionProto.FromString(body), attributes, inner)
            if inner.missing:
                raise NotImplementedError(f"ringtrain.onnx: {node.op_type} is made of {', '.join(inner.missing)}")
        return _call(bodies[key], *arguments)

    return run
