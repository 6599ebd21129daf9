"""Initialisers: small objects that draw a parameter's first values.

Values are a function of (seed, name, index) alone (see `ringtrain.random`), so every rank draws the same ones. Each
is called as `init(shape, name, dtype)` and returns a NumPy array. The fans of a weight (out, in, *window) are
in * window and out * window elements, as in MXNet and PyTorch.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from .. import random

__all__ = ["Constant", "Initializer", "Kaiming", "Normal", "Ones", "Uniform", "Xavier", "Zeros", "fans"]

Initializer = Callable[[tuple[int, ...], str, Any], np.ndarray]


def fans(shape: tuple[int, ...]) -> tuple[int, int]:
    """(fan_in, fan_out) of a weight (out, in, *window)."""
    if len(shape) < 2:
        raise ValueError(f"a weight of shape {shape} has no fans: it needs an output and an input axis")
    window = math.prod(shape[2:])
    return shape[1] * window, shape[0] * window


class Constant:
    """Every element the same."""

    def __init__(self, value: float) -> None:
        self.value = value

    def __call__(self, shape: tuple[int, ...], name: str, dtype: Any) -> np.ndarray:
        return np.full(shape, self.value, dtype)


class Zeros(Constant):
    """Zeros."""

    def __init__(self) -> None:
        super().__init__(0.0)


class Ones(Constant):
    """Ones."""

    def __init__(self) -> None:
        super().__init__(1.0)


class Uniform:
    """Uniform in [-scale, scale)."""

    def __init__(self, scale: float = 0.07) -> None:
        self.scale = scale

    def __call__(self, shape: tuple[int, ...], name: str, dtype: Any) -> np.ndarray:
        return random.uniform(shape, -self.scale, self.scale, name, dtype=dtype)


class Normal:
    """Normal with mean 0 and standard deviation sigma."""

    def __init__(self, sigma: float = 0.01) -> None:
        self.sigma = sigma

    def __call__(self, shape: tuple[int, ...], name: str, dtype: Any) -> np.ndarray:
        return random.normal(shape, 0.0, self.sigma, name, dtype=dtype)


def _scaled(distribution: str, variance: float, shape: tuple[int, ...], name: str, dtype: Any) -> np.ndarray:
    """A draw of the given variance."""
    if distribution == "uniform":
        return Uniform(math.sqrt(3.0 * variance))(shape, name, dtype)
    if distribution == "normal":
        return Normal(math.sqrt(variance))(shape, name, dtype)
    raise ValueError(f"distribution {distribution!r} is unknown; use 'uniform' or 'normal'")


class Xavier:
    """Glorot and Bengio 2010, with MXNet's parameters and defaults.

    The variance is magnitude / (3 factor) when uniform, magnitude / factor when normal, the factor being the mean of
    the fans ("avg"), "in" or "out". The defaults draw from +-sqrt(6 / (fan_in + fan_out)).
    """

    def __init__(self, distribution: str = "uniform", factor: str = "avg", magnitude: float = 3.0) -> None:
        if factor not in ("avg", "in", "out"):
            raise ValueError(f"Xavier: factor {factor!r} is unknown; use 'avg', 'in' or 'out'")
        self.distribution, self.factor, self.magnitude = distribution, factor, magnitude

    def __call__(self, shape: tuple[int, ...], name: str, dtype: Any) -> np.ndarray:
        fan_in, fan_out = fans(shape)
        factor = {"avg": (fan_in + fan_out) / 2.0, "in": fan_in, "out": fan_out}[self.factor]
        variance = self.magnitude / factor / (3.0 if self.distribution == "uniform" else 1.0)
        return _scaled(self.distribution, variance, shape, name, dtype)


class Kaiming:
    """He et al. 2015: variance gain^2 / fan, gain^2 = 2 / (1 + slope^2) for a leaky ReLU of that negative slope.

    mode: "fan_in" or "fan_out". slope sqrt(5) with "uniform" is PyTorch's default for linear and convolution layers.
    """

    def __init__(self, distribution: str = "uniform", mode: str = "fan_in", slope: float = 0.0) -> None:
        if mode not in ("fan_in", "fan_out"):
            raise ValueError(f"Kaiming: mode {mode!r} is unknown; use 'fan_in' or 'fan_out'")
        self.distribution, self.mode, self.slope = distribution, mode, slope

    def __call__(self, shape: tuple[int, ...], name: str, dtype: Any) -> np.ndarray:
        fan = fans(shape)[self.mode == "fan_out"]
        variance = 2.0 / (1.0 + self.slope**2) / max(fan, 1)
        return _scaled(self.distribution, variance, shape, name, dtype)
