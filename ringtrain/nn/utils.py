"""What PyTorch keeps in `nn.utils`: parameters as one vector, sequences of one length, parametrizations, clipping."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from ..autograd import no_grad
from ..ops.shape import concatenate, pad, reshape, stack
from ..optim.clip import clip_grad_norm_, clip_grad_value_
from ..tensor import Tensor, raw
from .parametrize import (
    is_parametrized,
    register_parametrization,
    remove_parametrizations,
    spectral_norm,
    weight_norm,
)

__all__ = [
    "clip_grad_norm_",
    "clip_grad_value_",
    "is_parametrized",
    "pad_sequence",
    "parameters_to_vector",
    "register_parametrization",
    "remove_parametrizations",
    "spectral_norm",
    "unpad_sequence",
    "vector_to_parameters",
    "weight_norm",
]


def parameters_to_vector(parameters: Iterable[Tensor]) -> Tensor:
    """All elements of the parameters, one after the other: (n,). Differentiable."""
    parts = [reshape(p, (-1,)) for p in parameters]
    if not parts:
        raise ValueError("parameters_to_vector: there are no parameters")
    return concatenate(parts)


def vector_to_parameters(vector: Tensor, parameters: Iterable[Tensor]) -> None:
    """Writes the elements of a vector (n,) into the parameters, in order, in place and outside the graph.

    Raises ValueError, and writes nothing, where the vector has not as many elements as they have.
    """
    own = list(parameters)
    count = sum(p.size for p in own)
    if vector.shape != (count,):
        raise ValueError(f"vector_to_parameters: the parameters have {count} elements, the vector is {vector.shape}")
    start = 0
    with no_grad():
        for p in own:
            p[...] = reshape(vector[start : start + p.size], p.shape).detach()
            start += p.size


def pad_sequence(sequences: Sequence[Tensor], batch_first: bool = False, padding_value: float = 0.0) -> Tensor:
    """Sequences (T_i, ...) of different lengths as one tensor (T, B, ...), or (B, T, ...), filled up at the end.

    The recurrent layers take their lengths as `lengths=`.
    """
    if not sequences:
        raise ValueError("pad_sequence: there are no sequences")
    longest = max(len(s) for s in sequences)
    rows = [pad(s, [(0, longest - len(s)), *[(0, 0)] * (s.ndim - 1)], padding_value) for s in sequences]
    return stack(rows, 0 if batch_first else 1)


def unpad_sequence(padded: Tensor, lengths: Any, batch_first: bool = False) -> list[Tensor]:
    """The sequences (T_i, ...) of a tensor that `pad_sequence` made, given their lengths (B,)."""
    counts = np.asarray(raw(lengths)).tolist()
    if len(counts) != padded.shape[0 if batch_first else 1]:
        raise ValueError(f"unpad_sequence: {len(counts)} lengths for {padded.shape}")
    return [padded[i, :n] if batch_first else padded[:n, i] for i, n in enumerate(counts)]
