"""ONNX models, run and trained with ringtrain's own ops: `model = rt.onnx.load("model.onnx"); y = model(x)`.

Reading a model needs the package `onnx`: pip install 'ringtrain[onnx]'. It is imported at the first call.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .model import Model

__all__ = ["load", "supported_ops"]


def load(source: str | os.PathLike | bytes | Any) -> Model:
    """A model as a module: `model(x)` runs its graph, `model.parameters()` are its float weights.

    source  the path of an .onnx file (weights kept outside it are read from beside it), its bytes, or a ModelProto

    Raises ImportError without the package `onnx`, and NotImplementedError that lists every op of the model that
    ringtrain does not have, at its opset version.
    """
    from .model import Model, read

    return Model(read(source))


def supported_ops() -> dict[str, list[int]]:
    """The ops that have a handler, as "domain::Name" or "Name", with the opset versions at which their meaning changes.

    Ops that ONNX itself defines by others (functions, such as Celu) run too where those others are here.
    """
    from .registry import table

    return {f"{domain}::{name}" if domain else name: sorted(e.since for e in rows)
            for (domain, name), rows in sorted(table().items())}  # fmt: skip
