"""Batch normalisation by the statistics of all ranks, as if one rank had all of the batch."""

from __future__ import annotations

from typing import Any

import numpy as np

import collectives

from ..autograd import mode
from ..dtypes import wide
from ..function import Function
from ..nn.module import Module
from ..nn.norm import BatchNorm
from ..ops.create import zeros_like
from ..ops.elementwise import sqrt
from ..ops.shape import concatenate, split
from ..tensor import Tensor, describe, wrap

__all__ = ["SyncBatchNorm", "convert_sync_batchnorm"]


class _GroupSum(Function):
    """The sum over the ranks of a group; its gradient is that of the sum of all ranks' losses."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, group: Any) -> Tensor:
        ctx.group = group
        return wrap(group.allreduce(x._data, collectives.Sum, name="SyncBatchNorm.backward"))

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> tuple:
        return _GroupSum.apply(g, ctx.group), None


class _Moments(Function):
    """Means and biased variances (C,) of the channels of all ranks' x (N, C, ...), in float64, and how many elements
    a channel has (). One message of 2 C + 1 numbers forward, one of 2 C backward.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, group: Any) -> tuple[Tensor, Tensor, Tensor]:
        xp, data = x.backend.xp, x._data
        channels = data.shape[1]
        axes = (0, *range(2, data.ndim))
        own = xp.zeros((1, 1 + 2 * channels))
        own[0, 0] = count = data.size // channels
        if count:
            mean = data.mean(axis=axes, dtype=np.float64)
            pivot = mean.astype(data.dtype)  # the deviations are of x's dtype, and so of this
            squares = xp.square(data - _beside(pivot, data)).sum(axis=axes, dtype=np.float64)
            own[0, 1:] = xp.concatenate([mean, squares - count * xp.square(mean - pivot)])
        every = group.allgather(own, name="SyncBatchNorm.forward")
        counts, means, squares = every[:, :1], every[:, 1 : 1 + channels], every[:, 1 + channels :]
        total = int(counts.sum())
        if total < 2:
            raise ValueError(f"SyncBatchNorm in training needs more than one value a channel on all ranks together; "
                             f"this one has {describe(x)}")  # fmt: skip
        mean = (counts * means).sum(axis=0) / total
        var = (squares + counts * xp.square(means - mean)).sum(axis=0) / total
        ctx.group, ctx.total, ctx.mean = group, total, wrap(mean)
        ctx.save_for_backward(x)
        return wrap(mean), wrap(var), wrap(np.asarray(total))

    @staticmethod
    def backward(ctx: Any, g_mean: Tensor | None, g_var: Tensor | None, _: None) -> tuple:
        (x,) = ctx.saved_tensors
        given = [zeros_like(ctx.mean) if g is None else g for g in (g_mean, g_var)]
        of_mean, of_var = split(_GroupSum.apply(concatenate(given), ctx.group), 2)
        mean = _Moments.apply(x, ctx.group)[0] if mode.grad else ctx.mean  # for a second derivative, a function of x
        of_mean, of_var, mean = (_beside((t * s).astype(x.dtype), x) for t, s in
                                 ((of_mean, 1.0 / ctx.total), (of_var, 2.0 / ctx.total), (mean, 1.0)))  # fmt: skip
        return of_mean + (x - mean) * of_var, None


def _beside(values: Any, x: Any) -> Any:
    """(C,) as (1, C, 1, ...)."""
    return values.reshape((1, -1) + (1,) * (x.ndim - 2))


class SyncBatchNorm(BatchNorm):
    """`BatchNorm` that measures the batches of all ranks together, in training (as PyTorch's; MXNet's of that name).

    n ranks with batch b give what one rank with batch n b gives: outputs, gradients and running statistics; ranks may
    have batches, and images, of different sizes, also of none. Forward sends a message of 2 C + 1 numbers, backward one
    of 2 C; all ranks of the group must run it as often and in the same order. In evaluation, and on one rank, it is
    `BatchNorm`.

    process_group  a `collectives.Group`; None: all ranks
    Other arguments and the state are those of `BatchNorm`. Gradients are those of the sum of all ranks' losses, which
    `DistributedOptimizer` averages. Differentiable to any order.
    """

    def __init__(
        self,
        num_features: int | None,
        eps: float = 1e-5,
        momentum: float | None = 0.1,
        affine: bool = True,
        track_running_stats: bool = True,
        process_group: Any = None,
        dtype: Any = np.float32,
        *,
        bias: bool = True,
    ) -> None:
        super().__init__(num_features, eps, momentum, affine, track_running_stats, dtype, bias=bias)
        self.process_group = process_group

    def forward(self, x: Tensor) -> Tensor:
        group = collectives.world if self.process_group is None else self.process_group
        evaluating = not self.training and self.track_running_stats
        if evaluating or x.backend.abstract or not collectives.is_initialized() or group.size == 1:
            return super().forward(x)
        self._check(x, "SyncBatchNorm")
        accumulator = wide(x.dtype) or x.dtype
        wider = x.astype(accumulator)
        mean, var, total = _Moments.apply(wider, group)
        scale = 1.0 / sqrt(var + self.eps)
        if self.weight is not None:
            scale = scale * self.weight
        out = (wider - _beside(mean.astype(accumulator), x)) * _beside(scale.astype(accumulator), x)
        if self.bias is not None:
            out = out + _beside(self.bias, x)
        if self.track_running_stats:
            self._track(mean.detach(), var.detach(), int(total.item()))
        return out.astype(x.dtype)

    @classmethod
    def convert_sync_batchnorm(cls, module: Module, process_group: Any = None) -> Module:
        """`convert_sync_batchnorm` under the name that PyTorch has for it."""
        return convert_sync_batchnorm(module, process_group)


def convert_sync_batchnorm(module: Module, process_group: Any = None) -> Module:
    """The module with a `SyncBatchNorm` for every BatchNorm in it, changed in place; of a BatchNorm itself a new one.

    Parameters, buffers, hooks and the mode stay as they are, so that an optimiser built before remains right.
    """
    made: dict[int, Any] = {}

    def convert(value: Any) -> Any:
        if id(value) in made:
            return made[id(value)]
        if isinstance(value, (list, tuple)):
            parts = [convert(part) for part in value]
            if all(a is b for a, b in zip(parts, value, strict=True)):
                return value
            if isinstance(value, tuple):
                return type(value)(parts) if type(value) is tuple else type(value)(*parts)
            value[:] = parts
        elif isinstance(value, dict):
            value.update({key: convert(part) for key, part in value.items()})
        elif isinstance(value, Module):
            plain = isinstance(value, BatchNorm) and not isinstance(value, SyncBatchNorm)
            out = made[id(value)] = _synchronised(value, process_group) if plain else value
            for name, part in list(vars(out).items()):
                if isinstance(part, (Module, list, tuple, dict)):
                    vars(out)[name] = convert(part)
            return out
        return value

    return convert(module)


def _synchronised(norm: Module, group: Any) -> SyncBatchNorm:
    out = object.__new__(SyncBatchNorm)
    vars(out).update(vars(norm))
    out.process_group = group
    hooked = vars(out).get("forward")
    if hooked is not None:  # hooks go on about the new one
        hooked.module = out
    return out
