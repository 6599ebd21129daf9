"""Anomaly mode: the first NaN or inf, and who made it."""

from __future__ import annotations

import os
import sys
from typing import Any

import numpy as np

from .autograd import Node
from .tensor import Tensor, describe, is_float, raw
from .watch import Watcher, unwatch, watch

__all__ = ["AnomalyError", "detect_anomaly"]

_HERE = os.path.dirname(os.path.abspath(__file__)) + os.sep


class AnomalyError(FloatingPointError):
    """An op gave NaN or inf; the message says which, where it was called, and for which tensor."""


class detect_anomaly(Watcher):
    """`with rt.detect_anomaly(): ...`: the first op whose result or gradient is NaN or inf raises AnomalyError.

    The message names the op, the line of your program that called it (of forward, where it went wrong in backward),
    the tensor and the shapes. A result of inf does not count where an input holds inf already, as masked scores do.
    Every result is looked at, and graphs are remembered until the end: for finding a fault, not for training.
    """

    def __init__(self) -> None:
        self._lines: dict[Node, str] = {}

    def __enter__(self) -> detect_anomaly:
        watch(self)
        return self

    def __exit__(self, *exc: object) -> None:
        unwatch(self)
        self._lines.clear()

    def end_op(self, name: str, inputs: tuple, result: Any) -> None:
        outs = result if isinstance(result, tuple) else (result,)
        for k, out in enumerate(outs):
            found = _found(out)
            if found and not (found == "inf" and any(_found(x) == "inf" for x in inputs)):
                which = "its result" if len(outs) == 1 else f"its result {k}"
                raise AnomalyError(_forward(name, which, found, out, inputs))
        if any(isinstance(out, Tensor) and type(out._node) is Node for out in outs):
            line = _users_line()
            for out in outs:
                if type(out._node) is Node:
                    self._lines.setdefault(out._node, line)

    def end_vjp(self, node: Node, g: Any, results: Any) -> None:
        heads = g if type(g) is list else [g]
        before = [_found(h) for h in heads]
        for k, (edge, got) in enumerate(zip(node.edges, results, strict=False)):
            found = None if edge is None else _found(got)
            if found and not (found == "inf" and "inf" in before):
                source = next((f"; {f} came in with the gradient of its result" for f in before if f), "")
                raise AnomalyError(
                    f"{found} in the backward of {node.op.name}, called at {self._lines.get(node, 'an unseen line')}: "
                    f"the gradient of input {k} ({describe(got)}){source}; results and their gradients: "
                    f"{', '.join(describe(h) for h in heads if h is not None)}"
                )


def _found(x: Any) -> str | None:
    """ "nan" or "inf" where there is one; NaN first."""
    data = raw(x)
    if isinstance(data, float):
        return None if np.isfinite(data) else "nan" if np.isnan(data) else "inf"
    if not hasattr(data, "dtype") or not is_float(data.dtype) or not hasattr(data, "__array_interface__"):
        return None if not hasattr(data, "get") else _found(data.get())  # CuPy
    if np.isfinite(data).all():
        return None
    return "nan" if np.isnan(data).any() else "inf"


def _forward(name: str, which: str, found: str, out: Any, inputs: tuple) -> str:
    shown = ", ".join(describe(x) for x in inputs if x is not None)
    held = [f"input {k} held {f}" for k, f in enumerate(map(_found, inputs)) if f]
    source = f"; before it {' and '.join(held)}" if held else ""
    return f"{found} in {which} ({describe(out)}) of {name}, called at {_users_line()}; inputs: {shown}{source}"


def _users_line() -> str:
    """file:line of the innermost call from outside the library."""
    frame: Any = sys._getframe(1)
    while frame is not None and os.path.abspath(frame.f_code.co_filename).startswith(_HERE):
        frame = frame.f_back
    return f"{frame.f_code.co_filename}:{frame.f_lineno}" if frame is not None else "an unseen line"
