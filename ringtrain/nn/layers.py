"""Affine and bilinear layers, embeddings, distances. Weights are drawn as PyTorch draws them unless told otherwise."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from .. import random
from ..ops import distance, embedding, linalg, shape
from ..ops.create import tensor
from ..tensor import Tensor
from .init import Initializer, Kaiming, Normal, Uniform, Zeros
from .module import LazyParameter, Module, Parameter, parameter

_TORCH_DEFAULT = Kaiming(slope=math.sqrt(5.0))  # uniform in +-1 / sqrt(fan_in)


class Linear(Module):
    """y = x @ weight.T + bias, over the last axis: (..., in_features) -> (..., out_features).

    weight (out_features, in_features), bias (out_features,). in_features None: taken from the first input.
    """

    def __init__(
        self,
        in_features: int | None,
        out_features: int,
        bias: bool = True,
        weight_init: Initializer = _TORCH_DEFAULT,
        bias_init: Initializer | None = None,
        dtype: Any = np.float32,
    ) -> None:
        if out_features < 1 or (in_features is not None and in_features < 1):
            raise ValueError(f"Linear: features must be >= 1; got {in_features} -> {out_features}")
        self._name = random.next_name("Linear")
        self._options = (weight_init, bias_init, dtype)
        self.in_features, self.out_features = in_features, out_features
        self.weight: Any = LazyParameter("Linear's input size comes from its first input")
        self.bias: Any = LazyParameter("its weight has none either") if bias else None
        if in_features is not None:
            self._build(in_features)

    def _build(self, n: int) -> None:
        weight_init, bias_init, dtype = self._options
        self.in_features = n
        self.weight = parameter(weight_init, (self.out_features, n), f"{self._name}.weight", dtype)
        if self.bias is not None:
            init = Uniform(1.0 / math.sqrt(n)) if bias_init is None else bias_init
            self.bias = parameter(init, (self.out_features,), f"{self._name}.bias", dtype)

    def forward(self, x: Tensor) -> Tensor:
        if self.in_features is None:
            self._build(x.shape[-1])
        return linalg.linear(x, self.weight, self.bias)

    def extra_repr(self) -> str:
        return f"{self.in_features}, {self.out_features}" + ("" if self.bias is not None else ", bias=False")


class Flatten(Module):
    """All axes from start_axis to end_axis made one; the default keeps the batch."""

    def __init__(self, start_axis: int = 1, end_axis: int = -1) -> None:
        self._axes = (start_axis, end_axis)

    def forward(self, x: Tensor) -> Tensor:
        return shape.flatten(x, *self._axes)

    def extra_repr(self) -> str:
        return "" if self._axes == (1, -1) else f"start_axis={self._axes[0]}, end_axis={self._axes[1]}"


class Unflatten(Module):
    """One axis made several, of the given lengths; one of them may be -1."""

    def __init__(self, axis: int, lengths: tuple[int, ...]) -> None:
        self._options = (axis, tuple(lengths))

    def forward(self, x: Tensor) -> Tensor:
        axis, lengths = self._options
        a = shape.axis_of(axis, x.ndim, "Unflatten")
        return shape.reshape(x, (*x.shape[:a], *lengths, *x.shape[a + 1 :]))

    def extra_repr(self) -> str:
        return f"axis={self._options[0]}, lengths={self._options[1]}"


class Bilinear(Module):
    """y_k = a' W_k b + bias_k over the last axes: (..., in1), (..., in2) -> (..., out).

    weight (out, in1, in2), bias (out,), drawn from +-1 / sqrt(in1).
    """

    def __init__(
        self, in1_features: int, in2_features: int, out_features: int, bias: bool = True, dtype: Any = np.float32
    ) -> None:
        if min(in1_features, in2_features, out_features) < 1:
            raise ValueError(f"Bilinear: features must be >= 1; got {in1_features}, {in2_features} -> {out_features}")
        name = random.next_name("Bilinear")
        draw = Uniform(1.0 / math.sqrt(in1_features))
        self.weight = parameter(draw, (out_features, in1_features, in2_features), f"{name}.weight", dtype)
        self.bias = parameter(draw, (out_features,), f"{name}.bias", dtype) if bias else None

    def forward(self, a: Tensor, b: Tensor) -> Tensor:
        return linalg.bilinear(a, b, self.weight, self.bias)

    def extra_repr(self) -> str:
        o, m, n = self.weight.shape
        return f"{m}, {n}, {o}" + ("" if self.bias is not None else ", bias=False")


class Embedding(Module):
    """A table of vectors: integers (...) -> (..., embedding_dim). weight (num_embeddings, embedding_dim).

    padding_idx: this row begins as zeros and gets no gradient. The others are drawn from a normal of variance 1.
    max_norm, norm_type, scale_grad_by_freq: see `rt.nn.embedding`.
    """

    def __init__(
        self,
        num_embeddings: int,
        embedding_dim: int,
        padding_idx: int | None = None,
        max_norm: float | None = None,
        norm_type: float = 2.0,
        scale_grad_by_freq: bool = False,
        weight_init: Initializer = Normal(1.0),  # noqa: B008  never changed
        dtype: Any = np.float32,
    ) -> None:
        self.weight = _table(self, num_embeddings, embedding_dim, padding_idx, weight_init, dtype)
        self.padding_idx, self.max_norm, self.norm_type = padding_idx, max_norm, norm_type
        self.scale_grad_by_freq = scale_grad_by_freq

    @classmethod
    def from_pretrained(
        cls, embeddings: Any, freeze: bool = True, padding_idx: int | None = None, **options: Any
    ) -> Any:
        """A layer around a table (n, d), whose memory it shares where that is a tensor; freeze: it is not trained."""
        return _around(cls, embeddings, freeze, padding_idx=padding_idx, **options)

    def forward(self, indices: Any) -> Tensor:
        options = (self.padding_idx, self.max_norm, self.norm_type, self.scale_grad_by_freq)
        return embedding.embedding(indices, self.weight, *options)

    def extra_repr(self) -> str:
        n, d = self.weight.shape
        return f"{n}, {d}" + ("" if self.padding_idx is None else f", padding_idx={self.padding_idx}")


def _table(module: Module, n: int, d: int, padding_idx: int | None, weight_init: Initializer, dtype: Any) -> Parameter:
    kind = type(module).__name__
    if n < 1 or d < 1 or (padding_idx is not None and not -n <= padding_idx < n):
        raise ValueError(f"{kind}: a table of {n} x {d} with padding row {padding_idx}")
    weight = parameter(weight_init, (n, d), f"{random.next_name(kind)}.weight", dtype)
    if padding_idx is not None:
        weight._data[padding_idx] = 0
    return weight


def _around(kind: Any, embeddings: Any, freeze: bool, **options: Any) -> Any:
    """A layer with a table that is there."""
    table = embeddings if isinstance(embeddings, Tensor) else tensor(embeddings, np.asarray(embeddings).dtype)
    if table.ndim != 2:
        raise ValueError(f"{kind.__name__}.from_pretrained wants a table (n, d); got {table.shape}")
    layer = kind(*table.shape, **options, weight_init=Zeros(), dtype=table.dtype)
    layer.weight = Parameter(table.detach(), not freeze)
    return layer


class EmbeddingBag(Module):
    """Bags of vectors of a table, combined: see `rt.nn.embedding_bag`. weight (num_embeddings, embedding_dim)."""

    def __init__(
        self,
        num_embeddings: int,
        embedding_dim: int,
        max_norm: float | None = None,
        norm_type: float = 2.0,
        scale_grad_by_freq: bool = False,
        mode: str = "mean",
        include_last_offset: bool = False,
        padding_idx: int | None = None,
        weight_init: Initializer = Normal(1.0),  # noqa: B008  never changed
        dtype: Any = np.float32,
    ) -> None:
        self.weight = _table(self, num_embeddings, embedding_dim, padding_idx, weight_init, dtype)
        self.mode, self.padding_idx, self.include_last_offset = mode, padding_idx, include_last_offset
        self.max_norm, self.norm_type, self.scale_grad_by_freq = max_norm, norm_type, scale_grad_by_freq

    @classmethod
    def from_pretrained(cls, embeddings: Any, freeze: bool = True, **options: Any) -> Any:
        """As `Embedding.from_pretrained`."""
        return _around(cls, embeddings, freeze, **options)

    def forward(self, indices: Any, offsets: Any = None, per_sample_weights: Tensor | None = None) -> Tensor:
        more = (self.include_last_offset, self.max_norm, self.norm_type, self.scale_grad_by_freq)
        options = (offsets, self.mode, per_sample_weights, self.padding_idx, *more)
        return embedding.embedding_bag(indices, self.weight, *options)

    def extra_repr(self) -> str:
        n, d = self.weight.shape
        text = f"{n}, {d}, mode={self.mode!r}"
        return text + ("" if self.padding_idx is None else f", padding_idx={self.padding_idx}")


class CosineSimilarity(Module):
    """`rt.nn.cosine_similarity` along an axis."""

    def __init__(self, axis: int = 1, eps: float = 1e-8) -> None:
        self._options = (axis, eps)

    def forward(self, a: Tensor, b: Tensor) -> Tensor:
        return distance.cosine_similarity(a, b, *self._options)


class PairwiseDistance(Module):
    """`rt.nn.pairwise_distance` over the last axis."""

    def __init__(self, p: float = 2.0, eps: float = 1e-6, keepdims: bool = False) -> None:
        self._options = (p, eps, keepdims)

    def forward(self, a: Tensor, b: Tensor) -> Tensor:
        return distance.pairwise_distance(a, b, *self._options)
