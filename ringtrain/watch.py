"""Watching ops: what the profiler and anomaly mode see. With nobody watching, none of this is in any op's way.

The first watcher puts watched versions in the place of the methods that run ops and vjps, and closes the short ways
of `ops/define.py`; when the last one leaves, the originals are put back. All threads are watched.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

from .autograd import Node, Op
from .ops.define import short_ways
from .ops.fused import Fused

__all__ = ["Watcher", "unwatch", "watch"]


class Watcher:
    """Subclass it and override what is of interest."""

    def begin(self, kind: str, name: str) -> None:
        """An op ("op") or the vjp of one ("backward") is about to run."""

    def end_op(self, name: str, inputs: tuple, result: Any) -> None:
        """An op has run; inputs are tensors, arrays or numbers, the result a tensor or several."""

    def end_vjp(self, node: Node, g: Any, results: Any) -> None:
        """The gradients of a node's inputs, None where there is none, from that of its output or outputs."""

    def failed(self, kind: str, name: str) -> None:
        """What had begun has raised."""


_watchers: list[Watcher] = []
_originals: dict[Any, Callable] = {}
_lock = threading.Lock()


def watch(watcher: Watcher) -> None:
    """Shows all ops to a watcher from now on."""
    with _lock:
        if not _watchers:
            _install()
        _watchers.append(watcher)


def unwatch(watcher: Watcher) -> None:
    """Ends it."""
    with _lock:
        _watchers.remove(watcher)
        if not _watchers:
            _uninstall()


def _install() -> None:
    for kind in (Op, Fused):
        _originals[kind] = kind.__call__
        kind.__call__ = _watched_call(kind.__call__)  # type: ignore[method-assign]
    _originals[Node] = Node.vjp
    Node.vjp = _watched_vjp(Node.vjp)  # type: ignore[method-assign]
    short_ways(False)


def _uninstall() -> None:
    short_ways(True)
    for kind in (Op, Fused):
        kind.__call__ = _originals[kind]  # type: ignore[method-assign]
    Node.vjp = _originals[Node]  # type: ignore[method-assign]


def _watched_call(call: Callable) -> Callable:
    def watched(self: Any, *inputs: Any, **attributes: Any) -> Any:
        watchers = tuple(_watchers)
        for w in watchers:
            w.begin("op", self.name)
        try:
            result = call(self, *inputs, **attributes)
        except BaseException:
            for w in watchers:
                w.failed("op", self.name)
            raise
        for w in reversed(watchers):
            w.end_op(self.name, inputs, result)
        return result

    return watched


def _watched_vjp(vjp: Callable) -> Callable:
    def watched(self: Node, xp: Any, g: Any, *places: Any) -> Any:
        watchers = tuple(_watchers)
        for w in watchers:
            w.begin("backward", self.op.name)
        try:
            results = vjp(self, xp, g, *places)
        except BaseException:
            for w in watchers:
                w.failed("backward", self.op.name)
            raise
        for w in reversed(watchers):
            w.end_vjp(self, g, results)
        return results

    return watched
