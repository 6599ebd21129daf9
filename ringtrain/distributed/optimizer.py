"""DistributedOptimizer: gradients are averaged over the ranks while backward still runs.

Gradients live in flat buckets. The moment backward has finished a bucket's last gradient the bucket is sent, as it
lies, while the rest of backward goes on. Buckets leave in one fixed order on every rank, so results are the same bit
for bit from run to run. Each bucket carries a flag for each parameter, so that a parameter which only some ranks'
losses depend on is updated, by the same value, on all.
"""

from __future__ import annotations

import weakref
from collections import Counter
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

import collectives
from collectives import Average, Sum

from ..backend import Backend
from ..optim import Optimizer
from ..optim.flat import Allocator, Bucket
from ..tensor import Tensor
from .state import must_agree

__all__ = ["DistributedOptimizer"]


class _Shipment:
    """A bucket's way through one step.

    missing  how many of its gradients are not final yet
    array    what is sent: the gradients and, behind them, the flags
    """

    def __init__(self, bucket: Bucket, name: str, sent: Any) -> None:
        self.bucket = bucket
        self.name = name
        self.array = sent
        self.flags = sent[bucket.size :]
        self.missing = len(bucket.params)
        self.handle: Any = None

    def send(self, op: Any, wait: bool = False) -> None:
        """Sends the bucket, in the background unless told to wait for the result here."""
        self.bucket.adopt_gradients()
        backend = self.bucket.backend
        self.flags[...] = backend.asarray(np.array(self.bucket.present(), self.flags.dtype))
        self.bucket.complete()
        if wait:
            collectives.allreduce_(self.array, op, name=self.name)
        else:
            self.handle = collectives.allreduce_async_(self.array, op, name=self.name)

    def receive(self) -> None:
        """Waits, and takes gradients that other ranks had as this rank's own."""
        if self.handle is not None:
            self.handle.wait()
        self.bucket.mark(self.bucket.backend.to_numpy(self.flags > 0))

    def reset(self) -> None:
        self.missing = len(self.bucket.params)
        self.handle = None


class DistributedOptimizer:
    """Wraps an optimiser: `step()` updates by gradients averaged over all ranks.

    optimizer          any of `rt.optim`
    named_parameters   (name, parameter) pairs, as `model.named_parameters()`; names appear in messages, and their
                       order decides the buckets. None numbers them in the optimiser's order
    op                 Average or Sum over the ranks
    backward_passes_per_step   how many backward passes add up before the gradients are sent
    bucket_bytes       size at which a bucket is closed

    Every rank must make the same calls. A second backward before `step()`, beyond backward_passes_per_step, raises
    RuntimeError: its gradients would be lost. With one rank it is the optimiser itself. It listens to its parameters
    for as long as it lives, so let go of it before making another on the same ones.
    """

    def __init__(
        self,
        optimizer: Optimizer,
        named_parameters: Iterable[tuple[str, Tensor]] | None = None,
        op: Any = Average,
        backward_passes_per_step: int = 1,
        bucket_bytes: int = 4 << 20,
    ) -> None:
        if backward_passes_per_step < 1:
            raise ValueError(f"backward_passes_per_step must be >= 1; got {backward_passes_per_step}")
        if op not in (Average, Sum):
            raise ValueError(f"gradients are reduced by Average or Sum, not by {op}")
        self.optimizer = optimizer
        self.op = op
        self.passes = backward_passes_per_step
        own = [p for group in optimizer.param_groups for p in group["params"]]
        named = list(named_parameters) if named_parameters is not None else [(str(i), p) for i, p in enumerate(own)]
        names = _names(named, own)
        self._arrived = {id(p): 0 for p in own}
        self._shipments: list[_Shipment] = []
        self._next = 0
        self._synchronized = False
        if collectives.size() > 1:
            buffers: list[Any] = []
            order = [p for _, p in named if id(p) in self._arrived]
            # buckets are sent by position: an order of its own on one rank would add up different parameters
            places = {f"parameter {i}": (names[id(p)], p.shape, p.dtype.name) for i, p in enumerate(order)}
            must_agree("DistributedOptimizer", places)
            optimizer.rebucket(bucket_bytes, _allocator(buffers, len(own)), order)
            self._buckets = optimizer.buckets
            self._ship(names, buffers)

    def _ship(self, names: dict[int, str], buffers: list[Any]) -> None:
        count = len(self.optimizer.buckets)
        self._names, self._place = names, {}
        hook, hooks = _weakly(self._ready), []
        hook.under_way = _weakly(self._under_way)  # type: ignore[attr-defined]
        for i, (bucket, buffer) in enumerate(zip(self.optimizer.buckets, buffers, strict=True)):
            first, last = (names[id(p)] for p in (bucket.params[0], bucket.params[-1]))
            sent = buffer[: bucket.size + len(bucket.params)]
            self._shipments.append(_Shipment(bucket, f"gradients {i + 1} of {count} ({first} ... {last})", sent))
            for p in bucket.params:
                self._place[id(p)] = i
                hooks.append(p.on_grad_ready(hook))
        weakref.finalize(self, _call_all, hooks).atexit = False

    def _ready(self, p: Tensor) -> None:
        """A parameter's gradient is final for this backward pass."""
        self._arrived[id(p)] += 1
        if self._synchronized:
            raise RuntimeError(
                f"the gradient of {self._names[id(p)]} was computed after synchronize() and would not be sent; "
                "call step() or zero_grad() first"
            )
        if self._arrived[id(p)] > self.passes:
            raise RuntimeError(
                f"the gradient of {self._names[id(p)]} was computed {self._arrived[id(p)]} times before step(); "
                f"backward_passes_per_step is {self.passes}. Call step() and zero_grad() after each backward, "
                "or raise it"
            )
        if self._arrived[id(p)] == self.passes:
            self._shipments[self._place[id(p)]].missing -= 1
            # the last bucket has no backward left to travel beside: synchronize() sends it, without another thread
            while self._next < len(self._shipments) - 1 and self._shipments[self._next].missing == 0:
                self._shipments[self._next].send(self.op)
                self._next += 1

    def _under_way(self) -> bool:
        """Whether gradients are this rank's own, or on their way: what clipping must not see."""
        return not self._synchronized and any(self._arrived.values())

    def synchronize(self) -> None:
        """Sends what is left and waits for all: afterwards `.grad` is the same on every rank.

        `step()` and `rt.optim.clip_grad_norm_` do this; call it yourself to look at gradients first.
        """
        if self._synchronized:
            return
        if self._shipments and self.optimizer.buckets is not self._buckets:
            raise RuntimeError(
                "the optimiser's parameters were laid out anew after it was wrapped (add_param_group?); "
                "do that first, then wrap it in a DistributedOptimizer"
            )
        for shipment in self._shipments[self._next :]:
            shipment.send(self.op, wait=shipment is self._shipments[-1])
        for shipment in self._shipments:
            shipment.receive()
        self._next = len(self._shipments)
        self._synchronized = True

    def step(self) -> None:
        """Averages the gradients over the ranks and updates the parameters."""
        self.synchronize()
        self.optimizer.step()
        self._reset()

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Drops the gradients, those under way too; or makes zeros of those there are."""
        if any(self._arrived.values()):  # some rank may have sent a bucket that this one has not
            self.synchronize()
        self._reset()
        self.optimizer.zero_grad(set_to_none)

    def _reset(self) -> None:
        self._synchronized = False
        self._next = 0
        for shipment in self._shipments:
            shipment.reset()
        for key in self._arrived:
            self._arrived[key] = 0

    @property
    def param_groups(self) -> list[dict[str, Any]]:
        return self.optimizer.param_groups

    def state_dict(self) -> dict[str, Any]:
        """That of the optimiser: it can be loaded with or without ranks."""
        return self.optimizer.state_dict()

    def load_state_dict(self, saved: Any) -> None:
        self.optimizer.load_state_dict(saved)

    def __reduce__(self) -> Any:
        raise TypeError(
            "a DistributedOptimizer cannot be copied or pickled: its buckets are those that the ranks send; "
            "copy its .optimizer, or use state_dict()"
        )

    def __repr__(self) -> str:
        return f"DistributedOptimizer({self.optimizer!r}, ranks={collectives.size()})"


def _allocator(buffers: list[Any], flags: int) -> Allocator:
    """Gradient buffers with room for the flags behind them; on the CPU in memory that the ranks of a host share."""

    def allocate(count: int, dtype: np.dtype, backend: Backend) -> Any:
        shared = backend.name == "cpu"
        buffer = collectives.empty(count + flags, dtype) if shared else backend.xp.empty(count + flags, dtype)
        buffer[...] = 0
        buffers.append(buffer)
        return buffer[:count]

    return allocate


def _weakly(method: Callable[..., Any]) -> Callable[..., Any]:
    """The method for as long as its object lives; it does not keep the object alive."""
    reference = weakref.WeakMethod(method)

    def call(*arguments: Any) -> Any:
        alive = reference()
        return alive(*arguments) if alive is not None else None

    return call


def _call_all(functions: Iterable[Callable[[], None]]) -> None:
    for function in functions:
        function()


def _names(named: list[tuple[str, Tensor]], own: list[Tensor]) -> dict[int, str]:
    """id -> name of every parameter; raises where the names and the optimiser's parameters do not match."""
    if not all(isinstance(pair, tuple) and len(pair) == 2 and isinstance(pair[1], Tensor) for pair in named):
        raise TypeError("named_parameters must give (name, parameter) pairs, as model.named_parameters() does")
    names = {id(p): n for n, p in named}
    repeated = [n for n, times in Counter(n for n, _ in named).items() if times > 1]
    if repeated or len(names) < len(named):
        what = f"names more than once: {repeated[:5]}" if repeated else "a parameter under two names"
        raise ValueError(f"named_parameters has {what}")
    lacking = [i for i, p in enumerate(own) if id(p) not in names]
    if lacking:
        raise ValueError(
            f"named_parameters names {len(named)} parameters, but not number {lacking[0]} of the optimiser's "
            f"{len(own)}; pass model.named_parameters() of the model whose parameters the optimiser has"
        )
    return names
