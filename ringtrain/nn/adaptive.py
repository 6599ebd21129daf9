"""A softmax over many classes in clusters, the rare ones with fewer features (Grave et al. 2017)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from ..backend.meta import MetaArray
from ..ops.index import getitem, placed, take_along_axis
from ..ops.reduce import argmax, log_softmax, mean
from ..ops.shape import concatenate, squeeze
from ..tensor import Tensor, describe, raw, wrap
from .containers import ModuleList, Sequential
from .layers import Linear
from .module import Module


class AdaptiveLogSoftmax(NamedTuple):
    """output (N,): the log probability of each sample's class; loss (): minus their mean."""

    output: Tensor
    loss: Tensor


class AdaptiveLogSoftmaxWithLoss(Module):
    """log probabilities of classes that are numbered from the most to the least frequent, and their loss.

    in_features, n_classes  D and the number of classes
    cutoffs     where clusters end: the classes below cutoffs[0] are in the head, beside one output for each cluster;
                cluster i has cutoffs[i] .. cutoffs[i + 1] - 1, the last one up to n_classes - 1
    div_value   cluster i is reached through D / div_value^(i + 1) features
    head_bias   whether the head has a bias

    Its state is PyTorch's: head.weight, tail.i.0.weight, tail.i.1.weight.
    """

    def __init__(
        self,
        in_features: int,
        n_classes: int,
        cutoffs: Sequence[int],
        div_value: float = 4.0,
        head_bias: bool = False,
        dtype: Any = np.float32,
    ) -> None:
        cutoffs = list(cutoffs)
        if not cutoffs or cutoffs != sorted(set(cutoffs)) or cutoffs[0] < 1 or cutoffs[-1] > n_classes - 1:
            raise ValueError(f"AdaptiveLogSoftmaxWithLoss: cutoffs rise within 1 .. {n_classes - 1}; got {cutoffs}")
        self.in_features, self.n_classes, self.div_value, self.head_bias = in_features, n_classes, div_value, head_bias
        self.cutoffs = [*cutoffs, n_classes]
        self.head = Linear(in_features, cutoffs[0] + len(cutoffs), head_bias, dtype=dtype)
        self.tail = ModuleList()
        for i, (start, stop) in enumerate(zip(self.cutoffs, self.cutoffs[1:], strict=False)):
            width = int(in_features // div_value ** (i + 1))
            if width < 1:
                raise ValueError(f"AdaptiveLogSoftmaxWithLoss: div_value={div_value} leaves cluster {i} no features")
            narrow = Linear(in_features, width, False, dtype=dtype)
            self.tail.append(Sequential(narrow, Linear(width, stop - start, False, dtype=dtype)))

    def forward(self, x: Tensor, target: Any) -> AdaptiveLogSoftmax:
        """x (N, D), target (N,) class numbers; or (D,) and one number."""
        if x.ndim == 1:
            out = type(self).forward(self, x[None], np.asarray(raw(target)).reshape(1))
            return AdaptiveLogSoftmax(squeeze(out.output, 0), out.loss)
        labels = np.asarray(target) if isinstance(target, (list, tuple)) else raw(target)
        self._check(x, labels)
        head = log_softmax(self.head(x), axis=1)
        if isinstance(labels, MetaArray) or x.backend.abstract:
            output = head[:, 0]
            return AdaptiveLogSoftmax(output, -mean(output))
        xp = x.backend.xp
        labels = xp.asarray(labels)
        if labels.size and not 0 <= int(labels.min()) <= int(labels.max()) < self.n_classes:
            raise ValueError(f"AdaptiveLogSoftmaxWithLoss: a target is no class of 0 .. {self.n_classes - 1}")
        first = self.cutoffs[0]
        column = xp.where(labels < first, labels, 0)
        for i, start in enumerate(self.cutoffs[:-1]):
            column = xp.where(labels >= start, first + i, column)
        output = squeeze(take_along_axis(head, column[:, None], 1), 1)
        for i, (start, stop) in enumerate(zip(self.cutoffs, self.cutoffs[1:], strict=False)):
            mine = xp.nonzero((labels >= start) & (labels < stop))[0]
            if len(mine):
                inside = log_softmax(self.tail[i](getitem(x, mine)), axis=1)
                chosen = squeeze(take_along_axis(inside, (labels[mine] - start)[:, None], 1), 1)
                output = output + placed(chosen, mine, output.shape)
        return AdaptiveLogSoftmax(output, -mean(output))

    def log_prob(self, x: Tensor) -> Tensor:
        """The log probabilities of all classes: (N, D) -> (N, n_classes)."""
        head = log_softmax(self.head(x), axis=1)
        first = self.cutoffs[0]
        parts = [head[:, :first]]
        parts += [log_softmax(part(x), axis=1) + head[:, first + i, None] for i, part in enumerate(self.tail)]
        return concatenate(parts, 1)

    def predict(self, x: Tensor) -> Tensor:
        """The likeliest class of each sample: (N, D) -> (N,) int64; clusters that cannot win are not computed."""
        head = argmax(self.head(x), axis=1)
        if x.backend.abstract:
            return head
        best = raw(head).copy()
        rare = x.backend.xp.nonzero(best >= self.cutoffs[0])[0]
        if len(rare):
            best[rare] = raw(argmax(self.log_prob(getitem(x, rare)), axis=1))
        return wrap(best)

    def _check(self, x: Tensor, labels: Any) -> None:
        if x.ndim != 2 or x.shape[1] != self.in_features or labels.shape != x.shape[:1]:
            raise ValueError(
                f"AdaptiveLogSoftmaxWithLoss wants (N, {self.in_features}) and targets (N,); got {describe(x)} and "
                f"{labels.shape}"
            )

    def extra_repr(self) -> str:
        return f"{self.in_features}, {self.n_classes}, cutoffs={self.cutoffs[:-1]}"
