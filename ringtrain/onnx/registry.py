"""The table of operators: for each (domain, name) what computes it, from which opset version on.

A handler is a function of the node's inputs, by position (None where one is left out), and of its attributes, by
keyword, with ONNX's defaults. An attribute that a handler does not take is an error when the model is loaded, never
ignored. Graphs among the attributes arrive as functions. `n_outputs`, where a handler takes it, is how many outputs
the node names; `version` is the opset version of the node's domain.
"""

from __future__ import annotations

import importlib
import inspect
import pkgutil
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any

__all__ = ["Entry", "handler", "lookup", "table"]

_TABLE: dict[tuple[str, str], list[Entry]] = {}


@dataclass(frozen=True)
class Entry:
    """What computes an op from an opset version on.

    fixed    the inputs whose values steer the computation and are not trained, such as running statistics
    options  the attributes that it takes
    family   the file that it stands in
    """

    since: int
    fn: Callable
    fixed: tuple[int, ...]
    options: frozenset[str]
    family: str


def handler(*names: str, since: int = 1, domain: str = "", fixed: tuple[int, ...] = ()) -> Callable:
    """Enters a function in the table under these names."""

    def enter(fn: Callable) -> Callable:
        parameters = inspect.signature(fn).parameters.values()
        options = frozenset(p.name for p in parameters if p.kind is p.KEYWORD_ONLY)
        family = getattr(fn, "__module__", __name__).rpartition(".")[2]
        for name in names:
            _TABLE.setdefault((domain, name), []).append(Entry(since, fn, fixed, options, family))
        return fn

    return enter


@cache
def table() -> dict[tuple[str, str], list[Entry]]:
    """The whole table, every family's file imported."""
    from . import handlers

    for module in pkgutil.iter_modules(handlers.__path__):
        importlib.import_module(f"{handlers.__name__}.{module.name}")
    return _TABLE


def lookup(domain: str, name: str, version: int) -> Entry | None:
    """The entry that holds at an opset version; None where there is none."""
    rows: Any = [e for e in table().get((domain, name), []) if e.since <= version]
    return max(rows, key=lambda e: e.since) if rows else None
