"""Initialisers of whole weights: identities, orthogonal and sparse matrices, interpolation, gates of an LSTM."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ... import random


class Eye:
    """The identity, of a matrix: ones on the diagonal, zeros elsewhere."""

    def __call__(self, shape: tuple[int, ...], name: str, dtype: Any) -> np.ndarray:
        if len(shape) != 2:
            raise ValueError(f"Eye is for matrices; got the shape {shape}")
        return np.eye(*shape, dtype=dtype)


class Dirac:
    """The identity, of a convolution's weight (out, in, *window): channel i of each group goes to output i."""

    def __init__(self, groups: int = 1) -> None:
        self.groups = groups

    def __call__(self, shape: tuple[int, ...], name: str, dtype: Any) -> np.ndarray:
        if not 3 <= len(shape) <= 5 or shape[0] % self.groups:
            raise ValueError(f"Dirac is for (out, in, *window) in {self.groups} groups; got the shape {shape}")
        out = np.zeros(shape, dtype)
        each = shape[0] // self.groups
        centre = tuple(n // 2 for n in shape[2:])
        for group in range(self.groups):
            for i in range(min(each, shape[1])):
                out[(group * each + i, i, *centre)] = 1
        return out


class Orthogonal:
    """Rows, or columns where there are fewer, that are orthonormal, times gain (Saxe et al. 2013).

    Of the weight as a matrix (out, everything else), from the QR decomposition of a normal one, each sign as likely.
    """

    def __init__(self, gain: float = 1.0) -> None:
        self.gain = gain

    def __call__(self, shape: tuple[int, ...], name: str, dtype: Any) -> np.ndarray:
        if len(shape) < 2:
            raise ValueError(f"Orthogonal is for two axes or more; got the shape {shape}")
        rows, columns = shape[0], math.prod(shape[1:])
        size = (max(rows, columns), min(rows, columns))
        q, r = np.linalg.qr(random.normal(size, 0.0, 1.0, name, dtype=np.float64))
        q = q * np.where(np.diagonal(r) < 0, -1.0, 1.0)
        return (self.gain * (q if rows >= columns else q.T)).reshape(shape).astype(dtype)


class Sparse:
    """A matrix with a part `sparsity` of each column zero, the rest normal (Martens 2010)."""

    def __init__(self, sparsity: float, sigma: float = 0.01) -> None:
        if not 0.0 <= sparsity <= 1.0:
            raise ValueError(f"Sparse: sparsity lies in 0 .. 1; got {sparsity}")
        self.sparsity, self.sigma = sparsity, sigma

    def __call__(self, shape: tuple[int, ...], name: str, dtype: Any) -> np.ndarray:
        if len(shape) != 2:
            raise ValueError(f"Sparse is for matrices; got the shape {shape}")
        values = random.normal(shape, 0.0, self.sigma, name, dtype=dtype)
        order = np.argsort(random.bits(shape, f"{name}/zeros"), axis=0, kind="stable")
        np.put_along_axis(values, order[: math.ceil(self.sparsity * shape[0])], values.dtype.type(0), axis=0)
        return values


class Bilinear:
    """Interpolation as a transposed convolution's weight (..., height, width): MXNet's, for upsampling."""

    def __call__(self, shape: tuple[int, ...], name: str, dtype: Any) -> np.ndarray:
        if len(shape) < 2:
            raise ValueError(f"Bilinear is for (..., height, width); got the shape {shape}")

        def ramp(n: int) -> np.ndarray:
            half = math.ceil(shape[-1] / 2.0)  # MXNet takes both slopes from the width
            centre = (2 * half - 1 - half % 2) / (2.0 * half)
            return 1 - abs(np.arange(n) / half - centre)

        return np.broadcast_to(np.outer(ramp(shape[-2]), ramp(shape[-1])), shape).astype(dtype)


class LSTMBias:
    """The bias (4 * hidden,) of an LSTM, gates in, forget, cell, out: zeros, forget_bias for the second."""

    def __init__(self, forget_bias: float = 1.0) -> None:
        self.forget_bias = forget_bias

    def __call__(self, shape: tuple[int, ...], name: str, dtype: Any) -> np.ndarray:
        if len(shape) != 1 or shape[0] % 4:
            raise ValueError(f"LSTMBias is for (4 * hidden,); got the shape {shape}")
        out = np.zeros(shape, dtype)
        hidden = shape[0] // 4
        out[hidden : 2 * hidden] = self.forget_bias
        return out
