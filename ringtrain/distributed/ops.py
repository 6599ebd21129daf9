"""Collectives on tensors, with gradients.

Each works on Tensors and on plain arrays. The gradient of every one is that of the sum of all ranks' losses, so all
ranks must call backward as they called forward.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

import collectives
from collectives import Average, Sum

from ..function import Function
from ..ops.create import zeros_like
from ..tensor import Tensor, raw, wrap


def _like(x: Any, array: Any) -> Any:
    """The result in the wrapping of the input."""
    return wrap(array) if isinstance(x, Tensor) else array


class _Allreduce(Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, op: Any, options: dict) -> Tensor:
        ctx.op, ctx.options = op, options
        return wrap(collectives.allreduce(x._data, op, **options))

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> tuple:
        if ctx.op not in (Sum, Average):
            raise RuntimeError(f"the gradient of allreduce exists for Sum and Average, not for {ctx.op}")
        return allreduce(g, ctx.op, **ctx.options), None, None


def allreduce(
    x: Any, op: Any = Average, *, name: str | None = None, prescale: float = 1.0, postscale: float = 1.0
) -> Any:
    """The reduction of all ranks' x by op, on every rank: postscale * op(prescale * x)."""
    options: dict[str, Any] = {"name": name, "prescale": prescale, "postscale": postscale}
    if isinstance(x, Tensor) and x.requires_grad:
        return _Allreduce.apply(x, op, options)
    return _like(x, collectives.allreduce(raw(x), op, **options))


def allreduce_(x: Any, op: Any = Average, **options: Any) -> Any:
    """`allreduce` in place, outside the graph. Returns x."""
    collectives.allreduce_(raw(x), op, **options)
    _written(x)
    return x


def _written(x: Any) -> None:
    if isinstance(x, Tensor):
        x._version[0] += 1


class AsyncTensor:
    """An operation under way: `wait()` gives its tensor, `done()` asks."""

    def __init__(self, handle: Any, finish: Callable[[Any], Any]) -> None:
        self._handle, self._finish = handle, finish

    def done(self) -> bool:
        return self._handle.done()

    def wait(self, timeout: float | None = None) -> Any:
        return self._finish(self._handle.wait(timeout))


def allreduce_async(x: Any, op: Any = Average, **options: Any) -> AsyncTensor:
    """`allreduce` in the background, outside the graph; leave x as it is until it is done."""
    return AsyncTensor(collectives.allreduce_async(raw(x), op, **options), lambda out: _like(x, out))


def allreduce_async_(x: Any, op: Any = Average, **options: Any) -> AsyncTensor:
    """`allreduce_` in the background; leave x alone until it is done."""
    _written(x)
    return AsyncTensor(collectives.allreduce_async_(raw(x), op, **options), lambda _: x)


def grouped_allreduce(xs: Sequence[Any], op: Any = Average, **options: Any) -> list[Any]:
    """`allreduce` of several at once, in one fused operation, outside the graph."""
    outs = collectives.grouped_allreduce([raw(x) for x in xs], op, **options)
    return [_like(x, out) for x, out in zip(xs, outs, strict=True)]


class _Allgather(Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, name: str | None) -> Tensor:
        lengths = collectives.allgather(np.array([x.shape[0]]))
        ctx.start = int(lengths[: collectives.rank()].sum())
        ctx.length = x.shape[0]
        return wrap(collectives.allgather(x._data, name=name))

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> tuple:
        return allreduce(g, Sum)[ctx.start : ctx.start + ctx.length], None


def allgather(x: Any, *, name: str | None = None) -> Any:
    """All ranks' x one after the other along the first axis, which may differ in length."""
    if isinstance(x, Tensor) and x.requires_grad:
        return _Allgather.apply(x, name)
    return _like(x, collectives.allgather(raw(x), name=name))


class _Broadcast(Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, root_rank: int, name: str | None) -> Tensor:
        ctx.root = root_rank
        return wrap(collectives.broadcast(x._data, root_rank, name=name))

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> tuple:
        total = allreduce(g, Sum)
        return (total if collectives.rank() == ctx.root else zeros_like(total)), None, None


def broadcast(x: Any, root_rank: int, *, name: str | None = None) -> Any:
    """The x of rank root_rank, on every rank."""
    if isinstance(x, Tensor) and x.requires_grad:
        return _Broadcast.apply(x, root_rank, name)
    return _like(x, collectives.broadcast(raw(x), root_rank, name=name))


def broadcast_(x: Any, root_rank: int, *, name: str | None = None) -> Any:
    """`broadcast` in place, outside the graph. Returns x."""
    collectives.broadcast_(raw(x), root_rank, name=name)
    _written(x)
    return x


class _Reducescatter(Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, op: Any, name: str | None) -> Tensor:
        if op not in (Sum, Average):
            raise RuntimeError(f"the gradient of reducescatter exists for Sum and Average, not for {op}")
        ctx.op = op
        return wrap(collectives.reduce_scatter(x._data, op, name=name))

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> tuple:
        return allgather(g if ctx.op is Sum else g * (1.0 / collectives.size())), None, None


def reducescatter(x: Any, op: Any = Average, *, name: str | None = None) -> Any:
    """This rank's rows of the reduction of all ranks' x; where rows do not divide, the first ranks get one more."""
    if isinstance(x, Tensor) and x.requires_grad:
        return _Reducescatter.apply(x, op, name)
    return _like(x, collectives.reduce_scatter(raw(x), op, name=name))
