"""Profiler: how often each op, vjp and module ran, and for how long."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .autograd import Node
from .nn.module import Module
from .tensor import describe
from .watch import Watcher, unwatch, watch

__all__ = ["Row", "profile"]


@dataclass
class Row:
    """What one op, vjp or module cost: times in seconds; `own` is without what ran inside it of the same kind."""

    kind: str  # "op", "backward" or "module"
    name: str
    calls: int = 0
    total: float = 0.0
    own: float = 0.0


@dataclass
class _Event:
    kind: str
    name: str
    start: float
    inner: float = 0.0  # seconds of events of the same kind inside it
    shapes: str = ""
    thread: int = 0
    end: float = 0.0


class profile(Watcher):
    """`with rt.profiler.profile() as p: ...; print(p)`: calls and times by op, backward of an op, and module.

    model   whose modules are to be named by their paths instead of their classes
    shapes  note the inputs' shapes: rows are kept apart by them, and the trace shows them

    Times are those of the host: GPU work that is still running is not waited for. Ops take longer while they are
    watched, small ones most.
    """

    def __init__(self, model: Module | None = None, shapes: bool = False) -> None:
        self._paths = {} if model is None else {id(m): path or type(m).__name__ for path, m in model.named_modules()}
        self._shapes = shapes
        self._open = threading.local()
        self._events: list[_Event] = []
        self._call: Callable | None = None

    def __enter__(self) -> profile:
        self._events.clear()
        self._start = time.perf_counter()
        call = self._call = Module.__call__

        def watched(module: Module, *args: Any, **kwargs: Any) -> Any:
            name = self._paths.get(id(module), type(module).__name__)
            self.begin("module", name)
            try:
                return call(module, *args, **kwargs)
            finally:
                self._close("module", args)

        Module.__call__ = watched  # type: ignore[method-assign, assignment]
        watch(self)
        return self

    def __exit__(self, *exc: object) -> None:
        unwatch(self)
        assert self._call is not None
        Module.__call__ = self._call  # type: ignore[method-assign]

    # --- what is seen -------------------------------------------------------------------------------------
    def _stack(self, kind: str) -> list[_Event]:
        return self._open.__dict__.setdefault(kind, [])

    def begin(self, kind: str, name: str) -> None:
        self._stack(kind).append(_Event(kind, name, time.perf_counter()))

    def end_op(self, name: str, inputs: tuple, result: Any) -> None:
        self._close("op", inputs)

    def end_vjp(self, node: Node, g: Any, results: Any) -> None:
        self._close("backward", tuple(g) if type(g) is list else (g,))

    def failed(self, kind: str, name: str) -> None:
        self._close(kind, ())

    def _close(self, kind: str, inputs: tuple) -> None:
        now = time.perf_counter()
        stack = self._stack(kind)
        if not stack:  # begun before the profile was
            return
        event = stack.pop()
        event.end, event.thread = now, threading.get_ident()
        if self._shapes:
            event.shapes = ", ".join(describe(x) for x in inputs if x is not None)
        if stack:
            stack[-1].inner += now - event.start
        self._events.append(event)

    # --- what it comes to ---------------------------------------------------------------------------------
    def rows(self) -> list[Row]:
        """A row for each kind and name (and shapes, if they are noted), the longest own time first."""
        found: dict[tuple[str, str], Row] = {}
        for e in self._events:
            name = f"{e.name}({e.shapes})" if e.shapes else e.name
            row = found.setdefault((e.kind, name), Row(e.kind, name))
            row.calls += 1
            row.total += e.end - e.start
            row.own += e.end - e.start - e.inner
        return sorted(found.values(), key=lambda row: -row.own)

    def __str__(self) -> str:
        """A table for each kind; times in milliseconds, shares of the kind's own time."""
        rows, lines = self.rows(), []
        width = max([len(row.name) for row in rows] + [8])
        for kind in ("op", "backward", "module"):
            part = [row for row in rows if row.kind == kind]
            whole = sum(row.own for row in part) or 1.0
            if part:
                lines.append(f"{kind:<{width}}  {'calls':>7}  {'total ms':>10}  {'self ms':>10}  {'self':>6}")
                for r in part:
                    times = f"{r.total * 1e3:>10.3f}  {r.own * 1e3:>10.3f}  {r.own / whole:>6.1%}"
                    lines.append(f"{r.name:<{width}}  {r.calls:>7}  {times}")
                lines.append("")
        return "\n".join(lines[:-1])

    def export_chrome_trace(self, path: str | Path) -> None:
        """Writes the events as a trace for Perfetto or chrome://tracing."""
        events = [
            {
                "name": e.name,
                "cat": e.kind,
                "ph": "X",
                "ts": (e.start - self._start) * 1e6,
                "dur": (e.end - e.start) * 1e6,
                "pid": 0,
                "tid": e.thread,
                "args": {"shapes": e.shapes} if e.shapes else {},
            }
            for e in sorted(self._events, key=lambda e: e.start)
        ]
        Path(path).write_text(json.dumps({"traceEvents": events, "displayTimeUnit": "ms"}))
