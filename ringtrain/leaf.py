"""Leaf: where the gradient of a tensor that the user made arrives, the end of every edge of the graph."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from typing import Any

import numpy as np

__all__ = ["Leaf"]


class Leaf:
    """The node of a tensor that the user made.

    grad      the gradient so far, as a raw array; a Tensor where create_graph made it; None before the first one
    buffer    a view of an optimiser's flat gradient buffer that `grad` must live in, or None
    hooks     called with the tensor the moment a backward pass has made its gradient final
    taps      (None, function) pairs that see, and may replace, each gradient before it is added
    """

    __slots__ = ("__weakref__", "buffer", "dtype", "edges", "grad", "hooks", "owner", "shape", "taps", "version")

    def __init__(self, owner: Any) -> None:
        data = owner._data
        self.shape = data.shape
        self.dtype = data.dtype
        self.edges = ()
        self.grad: Any = None
        self.buffer: Any = None
        self.hooks: list[Callable[[Any], None]] = []
        self.taps: list | None = None
        self.version = [0]
        self.owner = weakref.ref(owner)

    def accumulate(self, g: Any) -> None:
        """Adds a raw gradient of this leaf's shape and dtype; the first one is copied, unless it is in the buffer."""
        self.version[0] += 1
        if self.grad is not None:
            self.grad += g
        elif self.buffer is not None:
            if g is not self.buffer:
                self.buffer[...] = g
            self.grad = self.buffer
        else:  # NumPy's ops give scalars, which cannot be added to in place, for arrays of no axes
            self.grad = np.array(g) if isinstance(g, np.generic) else g.copy()

    def clear(self, set_to_none: bool = True) -> None:
        """Drops the gradient; or makes zeros of it, where there is one."""
        if set_to_none or self.grad is None:
            self.grad = None
            return
        self.version[0] += 1
        if self.buffer is None:  # a tensor of the graph keeps its values
            self.grad = getattr(self.grad, "_data", self.grad).copy()
        else:
            self.grad = self.buffer
        self.grad[...] = 0

    def fire(self) -> None:
        """Runs the hooks: the gradient is final for this backward pass."""
        owner = self.owner()
        if owner is not None:
            for hook in tuple(self.hooks):
                hook(owner)
