"""The engine's modes: whether ops record the graph."""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable
from typing import Any

__all__ = ["enable_grad", "inference", "is_grad_enabled", "mode", "no_grad"]


class _Mode(threading.local):
    """All modes in one object, which hot paths read once."""

    grad = True


mode = _Mode()


class _GradMode:
    """Switches the recording of the graph; a context manager and a decorator."""

    def __init__(self, value: bool) -> None:
        self._value = value
        self._before: list[bool] = []

    def __enter__(self) -> None:
        self._before.append(mode.grad)
        mode.grad = self._value

    def __exit__(self, *exc: object) -> None:
        mode.grad = self._before.pop()

    def __call__(self, fn: Callable) -> Callable:
        @functools.wraps(fn)
        def inside(*args: Any, **kwargs: Any) -> Any:
            with _GradMode(self._value):
                return fn(*args, **kwargs)

        return inside


def no_grad() -> _GradMode:
    """Within it, ops leave no graph behind: `with rt.no_grad(): ...` or `@rt.no_grad()`."""
    return _GradMode(False)


def inference() -> _GradMode:
    """For evaluation and serving: within it no op leaves a graph behind, so intermediate results are freed at once.

    The same as `no_grad`, under the name that says what for; PyTorch's `inference_mode`. Tensors made within may be
    used in training afterwards.
    """
    return _GradMode(False)


def enable_grad() -> _GradMode:
    """Within it, ops are recorded again, inside no_grad too."""
    return _GradMode(True)


def is_grad_enabled() -> bool:
    """Whether ops are being recorded."""
    return mode.grad
