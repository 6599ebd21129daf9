"""Flat buffers: parameters and their gradients as views of contiguous memory, cut into buckets.

A bucket is what an optimiser updates in one fused pass and what data-parallel training reduces in one piece, with
no packing. Buckets hold parameters in reverse order of registration, which is about the order in which backward
finishes their gradients.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from ..backend import Backend
from ..tensor import Tensor, describe, raw

__all__ = ["Allocator", "Bucket", "Cut", "cut"]

_ALIGN = 64  # bytes: a cache line, and the widest vector
_NOT_COPIED = ("_data", "_grad", "_scratch", "backend")
MASTER = "master"

Allocator = Callable[[int, np.dtype, Backend], Any]  # a flat array of a backend


class Cut:
    """How arrays of these shapes lie side by side in a flat one: `spans` of elements, `size` with the gaps."""

    def __init__(self, shapes: Sequence[tuple[int, ...]], itemsize: int) -> None:
        pad = _ALIGN // itemsize
        self.shapes = [tuple(shape) for shape in shapes]
        self.spans: list[tuple[int, int]] = []
        self.size = 0
        for shape in self.shapes:
            count = math.prod(shape)
            self.spans.append((self.size, self.size + count))
            self.size += -(-count // pad) * pad

    def views(self, flat: Any) -> list[Any]:
        """Each array, in a flat one cut this way."""
        return [flat[a:b].reshape(shape) for (a, b), shape in zip(self.spans, self.shapes, strict=True)]


class Bucket:
    """Parameters of one dtype and device whose data and gradients lie side by side.

    params   in the order in which they lie
    spans    (start, stop) of each in elements; the gaps between them, for alignment, hold zeros
    data, grad   the flat arrays
    state    further flat arrays, by name: what an optimiser keeps, in `wide` numbers
    cuts     how each of those lies: for most as the parameters do
    narrow   whether the parameters have 16 bits, and updates are computed on a wider copy
    wide     the dtype that updates are computed in: float32 for 16-bit parameters, else that of the parameters
    steps    for each parameter how many updates it has had
    options  the optimiser's options for these parameters
    settled  what of the options the state has been made for
    """

    def __init__(self, params: Sequence[Tensor], options: dict[str, Any], allocate: Allocator | None = None) -> None:
        first = params[0]
        self.params = list(params)
        self.options = options
        self.backend = first.backend
        self.state: dict[str, Any] = {}
        self.cuts: dict[str, Cut] = {}
        self.steps = [0] * len(params)
        self.settled: Any = None
        self.narrow = first.dtype.itemsize < 4
        self.wide = np.dtype(np.float32) if self.narrow else first.dtype
        self.cut = Cut([p.shape for p in params], first.dtype.itemsize)
        self.spans, self.size = self.cut.spans, self.cut.size
        make = allocate or (lambda n, dtype, backend: backend.zeros_beside(n, dtype, 0))
        self.data = self.backend.zeros_beside(self.size, first.dtype, 1)
        self.grad = make(self.size, first.dtype, self.backend)
        self.grad[...] = 0
        self._cut()
        self.adopt()

    def _cut(self) -> None:
        self._data, self._grad = self.cut.views(self.data), self.cut.views(self.grad)
        self._scratch: Any = None

    def __getstate__(self) -> dict[str, Any]:
        # a copied view is no view any more: they are cut again
        return {name: value for name, value in vars(self).items() if name not in _NOT_COPIED}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        self.backend = self.params[0].backend
        self._cut()

    def kept(self) -> Iterator[tuple[Tensor, int, dict[str, Any]]]:
        """(parameter, number of updates, copies of its part of the state by name)."""
        for i, (p, step) in enumerate(zip(self.params, self.steps, strict=True)):
            yield p, step, {name: view.copy() for name, view in self.part(i).items()}

    def part(self, i: int) -> dict[str, Any]:
        """The state of parameter number i of the bucket, by name: views."""
        found = {}
        for name, flat in self.state.items():
            a, b = self.cuts[name].spans[i]
            found[name] = flat[a:b].reshape(self.cuts[name].shapes[i])
        return found

    def keep(self, slots: Mapping[str, Sequence[tuple[int, ...]]]) -> None:
        """Makes the state exactly these slots, of these shapes for each parameter; what is new holds zeros.

        The slot "master" holds the parameters themselves, for those of 16 bits: a sum of updates each too small to
        change them.
        """
        for name in [n for n, cut in self.cuts.items() if n not in slots or cut.shapes != list(slots[n])]:
            del self.state[name], self.cuts[name]
        own = self.cut.shapes
        for name in (name for name in slots if name not in self.state):
            as_data = all(shape == mine for shape, mine in zip(slots[name], own, strict=True))
            self.cuts[name] = self.cut if as_data else Cut(slots[name], self.data.dtype.itemsize)
            self.state[name] = self.backend.zeros_beside(self.cuts[name].size, self.wide, 2 + len(self.state))
            if name == MASTER:
                self.state[name][...] = self.data

    def scratch(self, count: int) -> Any:
        """Wide memory for that many numbers of one parameter, to be used before the next call."""
        if self._scratch is None:
            self._scratch = self.backend.xp.empty(max(p.size for p in self.params), self.wide)
        return self._scratch[:count]

    def adopt(self) -> None:
        """Makes every parameter and gradient a view of the buffers again, keeping its values.

        Parameters leave them when somebody assigns their data, or builds another optimiser on them. A graph recorded
        before is still good: what it saved stays as it was.
        """
        for p, data in zip(self.params, self._data, strict=True):
            if p._data is not data:
                if p._data.shape != data.shape or p._data.dtype != data.dtype or type(p._data) is not type(data):
                    raise RuntimeError(
                        f"a parameter became {describe(p)} after its optimiser was built for {describe(data)}; "
                        "convert or move the model first, then build the optimiser"
                    )
                data[...] = p._data
                p._data = data
        self.adopt_gradients()

    def adopt_gradients(self) -> None:
        """Makes every gradient a view of the buffer again, keeping its values.

        Gradients leave it when a backward pass makes them with create_graph, or the parameter has become a new leaf.
        """
        for p, grad in zip(self.params, self._grad, strict=True):
            leaf = p._node
            if leaf is None or (leaf.buffer is grad and (leaf.grad is grad or leaf.grad is None)):
                continue
            leaf.buffer = grad
            if leaf.grad is not None:
                grad[...] = raw(leaf.grad)
                leaf.grad = grad

    def complete(self) -> None:
        """Zero-fills the gradients that backward did not reach, so that the whole buffer may be sent."""
        for p, grad in zip(self.params, self._grad, strict=True):
            if p._node is None or p._node.grad is None:
                grad[...] = 0

    def present(self) -> list[bool]:
        """Which parameters have a gradient."""
        return [p._node is not None and p._node.grad is not None for p in self.params]

    def mark(self, there: Any) -> None:
        """Says which parameters have a gradient: their part of the buffer is it, whatever was there before."""
        for p, grad, has in zip(self.params, self._grad, there, strict=True):
            if p._node is not None:
                p._node.grad = grad if has else None

    def runs(self) -> Iterator[tuple[int, int, int]]:
        """(first, last + 1, step) of the longest rows of parameters that can be updated in one pass.

        Parameters without a gradient are skipped, and those of one row have had the same number of updates. The
        steps are advanced: `step` counts this update, from 1.
        """
        first, count = 0, 0
        present, steps = self.present(), self.steps
        if all(present) and steps.count(steps[0]) == len(steps):  # most often
            self.steps = [steps[0] + 1] * len(steps)
            yield 0, len(steps), steps[0] + 1
            return
        for i, there in enumerate([*present, False]):
            step = self.steps[i] + 1 if there else 0
            if step != count:
                if count:
                    yield first, i, count
                first, count = i, step
            if there:
                self.steps[i] = step

    def written(self) -> None:
        """Says that parameters with a gradient have changed: a graph that saved them must not be gone through."""
        for p in self.params:
            if p._node is not None and p._node.grad is not None:
                p._version[0] += 1


def cut(
    params: Sequence[tuple[Tensor, dict[str, Any]]],
    bucket_bytes: int | None = None,
    allocate: Allocator | None = None,
) -> list[Bucket]:
    """Buckets of (parameter, its group's options) in reverse order, each of one group, dtype and device.

    bucket_bytes  where a bucket is closed; None makes one for each run of the same group, dtype and device
    allocate      makes the gradient buffers; None takes plain memory
    """
    buckets: list[Bucket] = []
    part: list[Tensor] = []
    options: dict[str, Any] = {}
    size = 0
    for p, group in reversed(params):
        fits = part and group is options and p.dtype == part[0].dtype and p.device == part[0].device
        if part and (not fits or (bucket_bytes is not None and size + p.nbytes > bucket_bytes)):
            buckets.append(Bucket(part, options, allocate))
            part, size = [], 0
        options = group
        part.append(p)
        size += p.nbytes
    if part:
        buckets.append(Bucket(part, options, allocate))
    return buckets
