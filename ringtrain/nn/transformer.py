"""Encoders and decoders of a transformer (Vaswani et al. 2017), with PyTorch's arguments, defaults and state."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import numpy as np

from ..ops import activations, elementwise
from ..ops.shape import swapaxes
from ..tensor import Tensor
from .attention import MultiHeadAttention
from .dropout import Dropout
from .init import xavier_uniform_
from .layers import Linear
from .module import Module
from .norm import LayerNorm

_ACTIVATIONS: dict[str, Callable] = {"relu": elementwise.relu, "gelu": activations.gelu}


class _Layer(Module):
    """What both kinds of layer have and do: attentions and a feed-forward part, each with a residual connection, a norm
    and dropout.
    """

    _attentions: tuple[str, ...]
    self_attn: MultiHeadAttention

    def __init__(
        self,
        d_model: int,
        nhead: int,
        dim_feedforward: int = 2048,
        dropout: float = 0.1,
        activation: str | Callable = "relu",
        layer_norm_eps: float = 1e-5,
        batch_first: bool = False,
        norm_first: bool = False,
        bias: bool = True,
        dtype: Any = np.float32,
    ) -> None:
        if not callable(activation) and activation not in _ACTIVATIONS:
            raise ValueError(f"activation {activation!r} is unknown; use 'relu', 'gelu' or a function of a tensor")
        self.batch_first, self.norm_first = batch_first, norm_first
        for name in self._attentions:
            part = MultiHeadAttention(d_model, nhead, dropout, bias, batch_first=batch_first, dtype=dtype)
            setattr(self, name, part)
        self.linear1 = Linear(d_model, dim_feedforward, bias, dtype=dtype)
        self.dropout = Dropout(dropout)
        self.linear2 = Linear(dim_feedforward, d_model, bias, dtype=dtype)
        parts = range(1, len(self._attentions) + 2)
        for k in parts:
            setattr(self, f"norm{k}", LayerNorm(d_model, layer_norm_eps, bias=bias, dtype=dtype))
        for k in parts:
            setattr(self, f"dropout{k}", Dropout(dropout))
        self.activation = activation if callable(activation) else _ACTIVATIONS[activation]

    def _around(self, x: Tensor, part: Callable, k: int) -> Tensor:
        """x and the part's result, which sees x after the k-th norm (norm_first) or before it."""
        norm, drop = getattr(self, f"norm{k}"), getattr(self, f"dropout{k}")
        if self.norm_first:
            return x + self._dropped(drop, part(norm(x)))
        return norm(x + self._dropped(drop, part(x)))

    def _dropped(self, drop: Dropout, x: Tensor) -> Tensor:
        """Dropout is drawn by sample, so that it is the same on any number of ranks: batch first."""
        if self.batch_first or x.ndim == 2 or not self.training:
            return drop(x)
        return swapaxes(drop(swapaxes(x, 0, 1)), 0, 1)

    def _feed_forward(self, x: Tensor) -> Tensor:
        return self.linear2(self._dropped(self.dropout, self.activation(self.linear1(x))))


class TransformerEncoderLayer(_Layer):
    """Self-attention, then a network of one hidden layer for each position.

    d_model, nhead   features and heads
    dim_feedforward  hidden features of the feed-forward part
    dropout          of attention weights, hidden features and both parts' results
    activation       "relu", "gelu" or a function of a tensor
    norm_first       normalise what goes into a part (Xiong et al. 2020) instead of the sum that comes out
    batch_first      (B, T, d_model) instead of (T, B, d_model)
    """

    _attentions = ("self_attn",)

    def forward(
        self, src: Tensor, src_mask: Any = None, src_key_padding_mask: Any = None, is_causal: bool = False
    ) -> Tensor:
        """src (T, B, d_model); masks as in `MultiHeadAttention`."""

        def attend(x: Tensor) -> Tensor:
            return self.self_attn(x, x, x, src_key_padding_mask, attn_mask=src_mask, is_causal=is_causal)[0]

        return self._around(self._around(src, attend, 1), self._feed_forward, 2)


class TransformerDecoderLayer(_Layer):
    """Self-attention, attention to the encoder's results, feed-forward; arguments as in `TransformerEncoderLayer`."""

    _attentions = ("self_attn", "multihead_attn")
    multihead_attn: MultiHeadAttention

    def forward(
        self,
        tgt: Tensor,
        memory: Tensor,
        tgt_mask: Any = None,
        memory_mask: Any = None,
        tgt_key_padding_mask: Any = None,
        memory_key_padding_mask: Any = None,
        tgt_is_causal: bool = False,
        memory_is_causal: bool = False,
    ) -> Tensor:
        """tgt (T, B, d_model), memory (S, B, d_model): the encoder's results; masks as in `MultiHeadAttention`."""

        def attend(x: Tensor) -> Tensor:
            return self.self_attn(x, x, x, tgt_key_padding_mask, attn_mask=tgt_mask, is_causal=tgt_is_causal)[0]

        def look_up(x: Tensor) -> Tensor:
            options = {"attn_mask": memory_mask, "is_causal": memory_is_causal}
            return self.multihead_attn(x, memory, memory, memory_key_padding_mask, **options)[0]

        x = self._around(self._around(tgt, attend, 1), look_up, 2)
        return self._around(x, self._feed_forward, 3)


class _Stack(Module):
    """Copies of a layer, one after the other, and a norm at the end if there is one."""

    def __init__(self, layer: Module, num_layers: int, norm: Module | None = None) -> None:
        if num_layers < 1:
            raise ValueError(f"{type(self).__name__}: num_layers must be >= 1; got {num_layers}")
        self.layers = [copy.deepcopy(layer) for _ in range(num_layers)]
        self.num_layers, self.norm = num_layers, norm

    def _all(self, x: Tensor, *args: Any) -> Tensor:
        for layer in self.layers:
            x = layer(x, *args)
        return x if self.norm is None else self.norm(x)


class TransformerEncoder(_Stack):
    """num_layers copies of an encoder layer, which begin with the same weights (as PyTorch's do), and a last norm."""

    def forward(
        self, src: Tensor, mask: Any = None, src_key_padding_mask: Any = None, is_causal: bool = False
    ) -> Tensor:
        """src (T, B, d_model); masks as in `MultiHeadAttention`, the same for all layers."""
        return self._all(src, mask, src_key_padding_mask, is_causal)


class TransformerDecoder(_Stack):
    """num_layers copies of a decoder layer, which begin with the same weights (as PyTorch's do), and a last norm."""

    def forward(
        self,
        tgt: Tensor,
        memory: Tensor,
        tgt_mask: Any = None,
        memory_mask: Any = None,
        tgt_key_padding_mask: Any = None,
        memory_key_padding_mask: Any = None,
        tgt_is_causal: bool = False,
        memory_is_causal: bool = False,
    ) -> Tensor:
        """See `TransformerDecoderLayer`; the same memory and masks for all layers."""
        padding = (tgt_key_padding_mask, memory_key_padding_mask)
        return self._all(tgt, memory, tgt_mask, memory_mask, *padding, tgt_is_causal, memory_is_causal)


class Transformer(Module):
    """An encoder, and a decoder that looks at its results (Vaswani et al. 2017), with PyTorch's arguments and state.

    Embeddings, positions and the last projection are the user's. Matrices begin as Xavier's uniform ones, each layer
    with its own.

    num_encoder_layers, num_decoder_layers  how many layers there are
    custom_encoder, custom_decoder          modules to use instead, called as `TransformerEncoder` and its like
    Other arguments as in `TransformerEncoderLayer`.
    """

    def __init__(
        self,
        d_model: int = 512,
        nhead: int = 8,
        num_encoder_layers: int = 6,
        num_decoder_layers: int = 6,
        dim_feedforward: int = 2048,
        dropout: float = 0.1,
        activation: str | Callable = "relu",
        custom_encoder: Module | None = None,
        custom_decoder: Module | None = None,
        layer_norm_eps: float = 1e-5,
        batch_first: bool = False,
        norm_first: bool = False,
        bias: bool = True,
        dtype: Any = np.float32,
    ) -> None:
        layer = (d_model, nhead, dim_feedforward, dropout, activation, layer_norm_eps, batch_first, norm_first, bias)

        def last() -> LayerNorm:
            return LayerNorm(d_model, layer_norm_eps, bias=bias, dtype=dtype)

        if custom_encoder is None:
            part = TransformerEncoderLayer(*layer, dtype=dtype)
            custom_encoder = TransformerEncoder(part, num_encoder_layers, last())
        if custom_decoder is None:
            other = TransformerDecoderLayer(*layer, dtype=dtype)
            custom_decoder = TransformerDecoder(other, num_decoder_layers, last())
        self.encoder, self.decoder = custom_encoder, custom_decoder
        for p in self.parameters():
            if p.ndim > 1:
                xavier_uniform_(p)
        self.d_model, self.nhead, self.batch_first = d_model, nhead, batch_first

    def forward(
        self,
        src: Tensor,
        tgt: Tensor,
        src_mask: Any = None,
        tgt_mask: Any = None,
        memory_mask: Any = None,
        src_key_padding_mask: Any = None,
        tgt_key_padding_mask: Any = None,
        memory_key_padding_mask: Any = None,
        src_is_causal: bool = False,
        tgt_is_causal: bool = False,
        memory_is_causal: bool = False,
    ) -> Tensor:
        """src (S, B, d_model), tgt (T, B, d_model), or batch first -> as tgt; masks as in `MultiHeadAttention`."""
        if src.shape[-1:] != (self.d_model,) or tgt.shape[-1:] != (self.d_model,):
            raise ValueError(f"Transformer: src {src.shape} and tgt {tgt.shape} must have {self.d_model} features")
        memory = self.encoder(src, src_mask, src_key_padding_mask, src_is_causal)
        padding = (tgt_key_padding_mask, memory_key_padding_mask)
        return self.decoder(tgt, memory, tgt_mask, memory_mask, *padding, tgt_is_causal, memory_is_causal)

    @staticmethod
    def generate_square_subsequent_mask(sz: int, dtype: Any = np.float32) -> Tensor:
        """(sz, sz) of floats to be added to scores: 0 up to the diagonal, -inf above; is_causal=True is quicker."""
        return Tensor(np.triu(np.full((sz, sz), -np.inf, dtype), 1))
