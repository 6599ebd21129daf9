"""A table of a model: its modules, the shapes of what they give, and their parameters."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from ..autograd import no_grad
from ..backend.meta import MetaArray
from ..tensor import Tensor, describe

__all__ = ["Summary", "summarize"]


@dataclass
class Summary:
    """A model's modules in order of their first call.

    rows        (path, class, shape of the output, own parameters): a parameter counts where it is met first
    parameters, trainable  elements in all, and of those that require a gradient; a shared one counts once
    nbytes      of all parameters and buffers
    """

    rows: list[tuple[str, str, str, int]]
    parameters: int
    trainable: int
    nbytes: int

    def __str__(self) -> str:
        head = ("module", "class", "output", "parameters")
        table = [head, *((n or "(model)", kind, shape, f"{count:,}") for n, kind, shape, count in self.rows)]
        widths = [max(len(row[i]) for row in table) for i in range(4)]
        lines = [
            "  ".join([*(text.ljust(w) for text, w in zip(row[:3], widths[:3], strict=True)), row[3].rjust(widths[3])])
            for row in table
        ]
        lines.insert(1, "-" * len(lines[0]))
        lines.append(lines[1])
        lines.append(f"{self.parameters:,} parameters, {self.trainable:,} trainable, {self.nbytes / 1e6:.2f} MB")
        return "\n".join(lines)

    __repr__ = __str__


def _shapes(out: Any) -> str:
    """The shapes of what a module gave."""
    if isinstance(out, Tensor):
        return describe(out)
    if isinstance(out, (tuple, list)):
        return ", ".join(map(_shapes, out))
    if isinstance(out, dict):
        return ", ".join(f"{key}: {_shapes(value)}" for key, value in out.items())
    return type(out).__name__


def _example(given: Any, dtype: Any) -> Any:
    if isinstance(given, (tuple, list)) and all(isinstance(n, (int, np.integer)) for n in given):
        return Tensor(MetaArray(tuple(given), dtype))
    return given


def summarize(model: Any, *inputs: Any, dtype: Any = np.float32) -> Summary:
    """Runs the model without data on the shapes of its inputs, in evaluation; see `Module.summary`."""
    modules = list(model.named_modules())
    before = [module.training for _, module in modules]
    outputs: dict[int, str] = {}

    def note(module: Any, args: Any, out: Any) -> None:
        outputs.setdefault(id(module), _shapes(out))

    handles = [module.register_forward_hook(note) for _, module in modules]
    try:
        model.eval()
        with no_grad():
            model(*(_example(given, dtype) for given in inputs))
    finally:
        for handle in handles:
            handle.remove()
        for (_, module), training in zip(modules, before, strict=True):
            module.training = training
    counted: set[int] = set()
    rows = []
    for name, module in modules:
        below = {id(p) for child in module.children() for p in child.parameters()}
        own = {id(p): p for p in module.parameters() if id(p) not in below and id(p) not in counted}
        counted |= own.keys()
        rows.append((name, type(module).__name__, outputs.get(id(module), "-"), sum(p.size for p in own.values())))
    parameters = list(model.parameters())
    return Summary(
        rows,
        sum(p.size for p in parameters),
        sum(p.size for p in parameters if p.requires_grad),
        sum(t.nbytes for t in [*parameters, *model.buffers()]),
    )
