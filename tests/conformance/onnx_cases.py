"""ONNX's own backend tests of single nodes: a model, inputs and the outputs that are right, as the wheel ships them."""

from __future__ import annotations

import json
import warnings
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx.backend.test.runner import Runner

import ringtrain.onnx
from ringtrain.onnx.proto import value_of
from ringtrain.onnx.registry import lookup
from ringtrain.tensor import Tensor

DATA = Path(onnx.__file__).parent / "backend" / "test" / "data"


@dataclass
class Case:
    """A directory of the test data."""

    name: str
    kind: str = "node"

    @property
    def path(self) -> Path:
        return DATA / self.kind / self.name

    @property
    def expanded(self) -> bool:
        """Whether the node is written out as the function that defines it."""
        return "_expanded" in self.name

    def model(self) -> Any:
        return onnx.load(self.path / "model.onnx")

    @cached_property
    def op(self) -> str:
        """The op that it tests, "domain::Name" or "Name"; for one written out, that which was."""
        nodes = Case(self.name.partition("_expanded")[0]).model().graph.node
        kinds = [n for n in nodes if n.op_type not in ("Constant", "SequenceEmpty", "SequenceConstruct")] or nodes
        return f"{kinds[0].domain}::{kinds[0].op_type}".removeprefix("::").removeprefix("ai.onnx::")

    @property
    def family(self) -> str:
        """The file that its op's handler stands in; "function" where ONNX's own definition runs, "none"."""
        domain, _, name = self.op.rpartition("::")
        entry = lookup(domain, name, 10**6)
        if entry:
            return entry.family
        schema = onnx.defs.get_schema(name, domain=domain)
        return "function" if schema.has_function or schema.has_context_dependent_function else "none"


def cases(kind: str = "node") -> list[Case]:
    """All cases, by name. Beside "node" there are "simple", "pytorch-converted" and "pytorch-operator"."""
    return [Case(p.name, kind) for p in sorted((DATA / kind).iterdir()) if (p / "model.onnx").exists()]


def _read(path: Path, declared: Any) -> Any:
    kinds = {"optional_type": onnx.OptionalProto, "sequence_type": onnx.SequenceProto, "tensor_type": onnx.TensorProto}
    kind = declared.type.WhichOneof("value")
    return value_of(kinds[kind].FromString(path.read_bytes()))


def _plain(value: Any) -> Any:
    if isinstance(value, Tensor):
        return value.detach().numpy()
    return [_plain(v) for v in value] if isinstance(value, (list, tuple)) else value


def run(case: Case) -> None:
    """Runs a case as ONNX's runner does, with its tolerance; raises where the outputs are not those it wants."""
    limits = {"rtol": 1e-3, "atol": 1e-7}
    if (case.path / "data.json").exists():
        limits |= {k: v for k, v in json.loads((case.path / "data.json").read_text()).items() if k in limits}
    proto = case.model()
    model = ringtrain.onnx.load(proto)
    for data in sorted(case.path.glob("test_data_set_*")):
        kinds = {v.name: v for v in proto.graph.input}
        inputs = [_read(data / f"input_{i}.pb", kinds[name]) for i, name in enumerate(model.inputs)]
        wanted = [_plain(_read(data / f"output_{i}.pb", v)) for i, v in enumerate(proto.graph.output)]
        with warnings.catch_warnings(), np.errstate(all="ignore"):  # many inputs are there to divide by zero
            warnings.simplefilter("ignore")
            made = model(*inputs)
        made = [_plain(v) for v in (made if isinstance(made, tuple) else (made,))]
        for want, made_ in zip(wanted, made, strict=True):  # a sequence is a list of outputs
            pair = (want, made_) if isinstance(want, list) else ([want], [made_])
            Runner.assert_similar_outputs(*pair, **limits)


def run_network(name: str) -> None:
    """Runs one of the networks of image classifiers that come without their trained weights, as ONNX's runner does."""
    proto = onnx.load(DATA / "light" / f"light_{name}.onnx")
    model = ringtrain.onnx.load(proto)
    types = {v.name: v.type.tensor_type for v in proto.graph.input}
    shapes = [[d.dim_value or 1 for d in types[n].shape.dim] for n in model.inputs]
    inputs = [(np.arange(np.prod(s)).reshape(s) / np.prod(s)).astype(np.float32) for s in shapes]
    wanted = onnx.TensorProto.FromString((DATA / "light" / f"light_{name}_output_0.pb").read_bytes())
    Runner.assert_similar_outputs([_plain(value_of(wanted))], [_plain(model(*inputs))], rtol=1e-3, atol=1e-7)
