"""Normalisation layers, with PyTorch's arguments and defaults.

Gluon's differ: its momentum is the weight of the old running value (0.9, here 0.1 of the new), InstanceNorm has a bias
but no weight, and channels left open are in_channels=0, here None.

One rule for running statistics, on every backend: they move in forward, in training,
running = (1 - momentum) running + momentum batch, and the variance that goes in is the unbiased one (n - 1), while the
batch itself is normalised by its biased one. momentum None gives the plain average over all batches so far. Each rank
measures its own batch; `SyncBatchNorm` measures those of all ranks.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from .. import random
from ..autograd import no_grad
from ..ops import norm
from ..ops.create import ones, zeros
from ..tensor import Tensor, describe
from .init import Ones, Zeros
from .module import LazyParameter, Module, parameter


class _Affine(Module):
    """A weight of ones and a bias of zeros, which may wait for the first input."""

    weight: Any
    bias: Any

    def _start(self, shape: Any, weight: bool, bias: bool, dtype: Any, open_: str) -> None:
        """Makes the parameters, or, with shape None, keeps their places; `open_` says what the first input tells."""
        self._name = random.next_name(type(self).__name__)
        self._affine = (weight, bias, dtype)
        lazy = LazyParameter(f"{type(self).__name__}'s {open_} comes from its first input")
        self.weight, self.bias = (lazy if weight else None), (lazy if bias else None)
        if shape is not None:
            self._build(shape)

    def _build(self, shape: tuple[int, ...]) -> None:
        weight, bias, dtype = self._affine
        if min(shape, default=0) < 1:
            raise ValueError(f"{type(self).__name__}: every length of {shape} must be >= 1")
        if weight:
            self.weight = parameter(Ones(), shape, f"{self._name}.weight", dtype)
        if bias:
            self.bias = parameter(Zeros(), shape, f"{self._name}.bias", dtype)


class _Tracked(_Affine):
    """Channels (N, C, ...) with running statistics, if they are tracked."""

    _axes: tuple[int, ...] = ()

    def __init__(
        self,
        num_features: int | None,
        eps: float,
        momentum: float | None,
        affine: bool,
        track_running_stats: bool,
        dtype: Any,
        bias: bool,
    ) -> None:
        self.num_features, self.eps, self.momentum = num_features, eps, momentum
        self.affine, self.track_running_stats = affine, track_running_stats
        if track_running_stats:
            lazy = LazyParameter("its number of channels comes from the first input")
            self.running_mean: Any = lazy
            self.running_var: Any = lazy
            self.num_batches_tracked = zeros((), np.int64)
        shape = None if num_features is None else (num_features,)
        self._start(shape, affine, affine and bias, dtype, "number of channels")

    def _build(self, shape: tuple[int, ...]) -> None:
        super()._build(shape)
        self.num_features = shape[0]
        if self.track_running_stats:
            self.running_mean = zeros(shape, self._affine[2])
            self.running_var = ones(shape, self._affine[2])

    def _check(self, x: Tensor, kind: str) -> int:
        """The number of channels, which x must have; the first input decides it where it was open."""
        name = type(self).__name__
        if self._axes and x.ndim not in self._axes:
            raise ValueError(f"{name} wants {' or '.join(map(str, self._axes))} axes; got {describe(x)}")
        if self.num_features is None and x.ndim >= 2:
            self._build((x.shape[1],))
        if x.ndim < 2 or x.shape[1] != self.num_features:
            raise ValueError(f"{kind} wants an input (N, {self.num_features}, ...); got {describe(x)}")
        return x.shape[1]

    def _track(self, mean: Tensor, var: Tensor, count: int) -> None:
        """Moves the running statistics by a batch's mean and biased variance over `count` elements."""
        if mean.device == "meta" or random.state.replay is not None:  # run again in backward: it has moved already
            return
        with no_grad():
            self.num_batches_tracked[...] = self.num_batches_tracked + 1
            new = 1.0 / float(self.num_batches_tracked.item()) if self.momentum is None else self.momentum
            for running, batch in ((self.running_mean, mean), (self.running_var, var * (count / (count - 1)))):
                running[...] = running * (1.0 - new) + batch * new

    def extra_repr(self) -> str:
        text = f"{self.num_features}, eps={self.eps}, momentum={self.momentum}"
        text += "" if self.affine else ", affine=False"
        return text + ("" if self.track_running_stats else ", track_running_stats=False")


class BatchNorm(_Tracked):
    """Batch normalisation of the channels of (N, C, ...) (Ioffe and Szegedy 2015).

    In training it normalises by the batch's mean and biased variance, and moves the running statistics in forward:
    running = (1 - momentum) running + momentum batch, with the unbiased variance (n - 1), as PyTorch does; the same on
    every backend. In evaluation it normalises by the running statistics. Each rank measures its own batch; that of all
    ranks is what `SyncBatchNorm` measures.

    num_features         C; None: taken from the first input
    momentum             None: running statistics are the plain average over all batches
    affine               whether there are a weight and a bias (C,); with bias=False a weight alone
    track_running_stats  False: no running statistics, evaluation normalises by the batch too

    Buffers: running_mean, running_var (C,), num_batches_tracked (), as in PyTorch's state.
    """

    def __init__(
        self,
        num_features: int | None,
        eps: float = 1e-5,
        momentum: float | None = 0.1,
        affine: bool = True,
        track_running_stats: bool = True,
        dtype: Any = np.float32,
        *,
        bias: bool = True,
    ) -> None:
        super().__init__(num_features, eps, momentum, affine, track_running_stats, dtype, bias)

    def forward(self, x: Tensor) -> Tensor:
        channels = self._check(x, "BatchNorm")
        if not self.training and self.track_running_stats:
            return norm.normalize(x, self.running_mean, self.running_var, self.weight, self.bias, self.eps)
        count = x.size // channels
        if count < 2:
            raise ValueError(f"BatchNorm in training needs more than one value a channel; got {describe(x)}")
        out, mean, var = norm.batch_norm(x, self.weight, self.bias, self.eps)
        if self.track_running_stats:
            self._track(mean, var, count)
        return out


class BatchNorm1d(BatchNorm):
    """`BatchNorm` of (N, C) or (N, C, L)."""

    _axes = (2, 3)


class BatchNorm2d(BatchNorm):
    """`BatchNorm` of (N, C, H, W)."""

    _axes = (4,)


class BatchNorm3d(BatchNorm):
    """`BatchNorm` of (N, C, D, H, W)."""

    _axes = (5,)


class InstanceNorm(_Tracked):
    """Normalises each channel of each sample of (N, C, ...) over its spatial axes (Ulyanov et al. 2016).

    With track_running_stats evaluation normalises by running statistics, which training moves by the mean over the
    batch of each sample's mean and unbiased variance. Arguments as in `BatchNorm`; by default, PyTorch's, there are
    neither a weight and a bias nor running statistics.
    """

    def __init__(
        self,
        num_features: int | None,
        eps: float = 1e-5,
        momentum: float | None = 0.1,
        affine: bool = False,
        track_running_stats: bool = False,
        dtype: Any = np.float32,
        *,
        bias: bool = True,
    ) -> None:
        super().__init__(num_features, eps, momentum, affine, track_running_stats, dtype, bias)

    def forward(self, x: Tensor) -> Tensor:
        self._check(x, "InstanceNorm")
        if not self.training and self.track_running_stats:
            return norm.normalize(x, self.running_mean, self.running_var, self.weight, self.bias, self.eps)
        out, mean, var = norm.instance_statistics(x, self.weight, self.bias, self.eps)
        if self.track_running_stats and x.shape[0]:
            self._track(mean.mean(axis=0), var.mean(axis=0), x.size // (x.shape[0] * x.shape[1]))
        return out


class InstanceNorm1d(InstanceNorm):
    """`InstanceNorm` of (N, C, L)."""

    _axes = (3,)


class InstanceNorm2d(InstanceNorm):
    """`InstanceNorm` of (N, C, H, W)."""

    _axes = (4,)


class InstanceNorm3d(InstanceNorm):
    """`InstanceNorm` of (N, C, D, H, W)."""

    _axes = (5,)


class LayerNorm(_Affine):
    """Normalises each sample over its last axes (Ba et al. 2016): see `rt.nn.layer_norm`.

    normalized_shape  the last length, or the last lengths; None: the last length of the first input
    """

    def __init__(
        self,
        normalized_shape: int | Sequence[int] | None,
        eps: float = 1e-5,
        elementwise_affine: bool = True,
        bias: bool = True,
        dtype: Any = np.float32,
    ) -> None:
        self.normalized_shape, self.eps = _shape_of(normalized_shape), eps
        self._start(self.normalized_shape, elementwise_affine, elementwise_affine and bias, dtype, "last length")

    def forward(self, x: Tensor) -> Tensor:
        if self.normalized_shape is None:
            self.normalized_shape = x.shape[-1:]
            self._build(self.normalized_shape)
        return norm.layer_norm(x, self.normalized_shape, self.weight, self.bias, self.eps)

    def extra_repr(self) -> str:
        return f"{self.normalized_shape}, eps={self.eps}" + ("" if self._affine[0] else ", elementwise_affine=False")


class RMSNorm(_Affine):
    """x / sqrt(mean(x^2) + eps) * weight over the last axes (Zhang and Sennrich 2019): see `rt.nn.rms_norm`.

    normalized_shape as in `LayerNorm`; eps None is the machine epsilon of the dtype that is computed in.
    """

    def __init__(
        self,
        normalized_shape: int | Sequence[int] | None,
        eps: float | None = None,
        elementwise_affine: bool = True,
        dtype: Any = np.float32,
    ) -> None:
        self.normalized_shape, self.eps = _shape_of(normalized_shape), eps
        self._start(self.normalized_shape, elementwise_affine, False, dtype, "last length")

    def forward(self, x: Tensor) -> Tensor:
        if self.normalized_shape is None:
            self.normalized_shape = x.shape[-1:]
            self._build(self.normalized_shape)
        return norm.rms_norm(x, self.normalized_shape, self.weight, self.eps)

    def extra_repr(self) -> str:
        return f"{self.normalized_shape}, eps={self.eps}" + ("" if self._affine[0] else ", elementwise_affine=False")


class GroupNorm(_Affine):
    """Normalises groups of channels of each sample of (N, C, ...) (Wu and He 2018): see `rt.nn.group_norm`.

    num_channels None: taken from the first input. affine: a weight and a bias for each channel; bias=False: no bias.
    """

    def __init__(
        self,
        num_groups: int,
        num_channels: int | None,
        eps: float = 1e-5,
        affine: bool = True,
        dtype: Any = np.float32,
        *,
        bias: bool = True,
    ) -> None:
        if num_groups < 1 or (num_channels or 0) % num_groups:
            raise ValueError(f"GroupNorm: num_groups={num_groups} must divide num_channels={num_channels}")
        self.num_groups, self.num_channels, self.eps = num_groups, num_channels, eps
        shape = None if num_channels is None else (num_channels,)
        self._start(shape, affine, affine and bias, dtype, "number of channels")

    def forward(self, x: Tensor) -> Tensor:
        if self.num_channels is None and x.ndim >= 2 and x.shape[1] % self.num_groups == 0:
            self.num_channels = x.shape[1]
            self._build((x.shape[1],))
        if x.ndim >= 2 and self.num_channels is not None and x.shape[1] != self.num_channels:
            raise ValueError(f"GroupNorm wants an input (N, {self.num_channels}, ...); got {describe(x)}")
        return norm.group_norm(x, self.num_groups, self.weight, self.bias, self.eps)

    def extra_repr(self) -> str:
        text = f"{self.num_groups}, {self.num_channels}, eps={self.eps}"
        return text + ("" if self._affine[0] else ", affine=False")


class LocalResponseNorm(Module):
    """x / (k + alpha mean of x^2 over neighbouring channels)^beta: see `rt.nn.local_response_norm`.

    alpha=1e-4, beta=0.75, k=1, as in PyTorch; MXNet's LRN has k=2.
    """

    def __init__(self, size: int, alpha: float = 1e-4, beta: float = 0.75, k: float = 1.0) -> None:
        self.size, self.alpha, self.beta, self.k = size, alpha, beta, k

    def forward(self, x: Tensor) -> Tensor:
        return norm.local_response_norm(x, self.size, self.alpha, self.beta, self.k)

    def extra_repr(self) -> str:
        return f"{self.size}, alpha={self.alpha}, beta={self.beta}, k={self.k}"


def _shape_of(value: int | Sequence[int] | None) -> tuple[int, ...] | None:
    """A normalized_shape as a tuple."""
    if value is None:
        return None
    return (int(value),) if isinstance(value, (int, np.integer)) else tuple(int(v) for v in value)
