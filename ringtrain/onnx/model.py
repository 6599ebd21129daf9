"""A model as a module: its weights, its checks of what goes in, and the run of its graph."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from ..dtypes import is_float
from ..nn.module import Module, Parameter
from ..ops.create import from_numpy
from ..tensor import Tensor, describe
from .graph import Context, Graph
from .proto import dtype_of, read

__all__ = ["Model", "read"]


class Model(Module):
    """An ONNX model. Call it with its inputs in order, or by name: tensors or arrays.

    Gives a tensor, or a tuple where the model has several outputs; a sequence is a list, an empty optional None.

    Its float weights (initializers) are Parameters under their ONNX names, so that it can be trained on. Buffers, not
    trained, are integers, scalars without axes, and what steers an op: a batch norm's statistics, sizes, bounds. The
    graph is run as it is written: a batch norm in inference form stays one under `train()`.
    """

    def __init__(self, proto: Any) -> None:
        context = Context(
            {("" if o.domain == "ai.onnx" else o.domain): o.version for o in proto.opset_import},
            {(f.domain, f.name, f.overload): f for f in proto.functions},
        )
        self._graph = Graph.of(proto.graph, context)
        if context.missing:
            raise NotImplementedError(
                "ringtrain.onnx: the model uses what ringtrain does not have:\n  "
                + "\n  ".join(sorted(context.missing))
            )
        if self._graph.captured:
            raise ValueError(
                f"the ONNX graph reads values that nothing makes: {', '.join(sorted(self._graph.captured))}"
            )
        steers = {name for s in self._graph.steps for i, name in enumerate(s.inputs) if i in s.fixed}
        self._values = {n: _weight(t, n in steers) for n, t in self._graph.constants.items()}
        self._graph.constants = {}
        self._types = {i.name: i.type for i in proto.graph.input}

    def _attributes(self) -> Iterable[tuple[str, Any]]:
        return self._values.items()

    @property
    def inputs(self) -> list[str]:
        """The names of what goes in."""
        return list(self._graph.inputs)

    @property
    def outputs(self) -> list[str]:
        """The names of what comes out."""
        return list(self._graph.outputs)

    def forward(self, *inputs: Any, **named: Any) -> Any:
        names = self._graph.inputs
        if len(inputs) > len(names):
            raise TypeError(f"the model has {len(names)} inputs ({', '.join(names)}); {len(inputs)} were given")
        given = dict(zip(names, inputs, strict=False))
        wrong = [n for n in named if n in given or n not in self._types]
        given |= named
        missing = [n for n in names if n not in given]
        if wrong or missing:
            raise TypeError(f"the model's inputs are {', '.join(names)}; missing: {missing}, unknown or twice: {wrong}")
        values = {**self._values, **{n: _checked(n, v, self._types[n]) for n, v in given.items()}}
        results = self._graph.run(values)
        return results[0] if len(results) == 1 else tuple(results)

    def extra_repr(self) -> str:
        return f"{', '.join(self.inputs)} -> {', '.join(self.outputs)}"


def _weight(value: Any, steers: bool) -> Any:
    trained = isinstance(value, Tensor) and is_float(value.dtype) and value.ndim > 0 and not steers
    return Parameter(value) if trained else value


def _checked(name: str, value: Any, type_proto: Any) -> Any:
    """An input as the graph's type wants it."""
    if type_proto.HasField("optional_type"):
        return None if value is None else _checked(name, value, type_proto.optional_type.elem_type)
    if type_proto.HasField("sequence_type"):
        if not isinstance(value, (list, tuple)):
            raise TypeError(f"the model's input {name!r} is a sequence; got {describe(value)}")
        return [_checked(f"{name}[{i}]", v, type_proto.sequence_type.elem_type) for i, v in enumerate(value)]
    value = value if isinstance(value, Tensor) else from_numpy(np.asarray(value))
    if not type_proto.HasField("tensor_type"):
        return value
    declared = type_proto.tensor_type
    wanted = dtype_of(declared.elem_type)
    if value.dtype != wanted:
        raise TypeError(f"the model's input {name!r} is {wanted}; got {describe(value)}: convert it with .astype")
    if declared.HasField("shape"):
        dims = [d.dim_value if d.HasField("dim_value") else None for d in declared.shape.dim]
        fits = len(dims) == value.ndim and all(d in (None, n) for d, n in zip(dims, value.shape, strict=True))
        if not fits:
            shape = ", ".join(d.dim_param or str(d.dim_value or "?") for d in declared.shape.dim)
            raise ValueError(f"the model's input {name!r} has shape ({shape}); got {describe(value)}")
    return value
