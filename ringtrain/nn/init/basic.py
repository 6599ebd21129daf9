"""Initialisers of independent elements: constants, uniform and normal, and those scaled by a weight's fans."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from ... import random
from ...backend.cpu_special import erfinv

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
    """Uniform in [-scale, scale), or in [low, high) where both are given."""

    def __init__(self, scale: float = 0.07, low: float | None = None, high: float | None = None) -> None:
        self.low, self.high = (-scale if low is None else low), (scale if high is None else high)
        if not self.low <= self.high:
            raise ValueError(f"Uniform: low <= high; got {self.low} and {self.high}")

    def __call__(self, shape: tuple[int, ...], name: str, dtype: Any) -> np.ndarray:
        return random.uniform(shape, self.low, self.high, name, dtype=dtype)


class Normal:
    """Normal with standard deviation sigma."""

    def __init__(self, sigma: float = 0.01, mean: float = 0.0) -> None:
        if not sigma >= 0:
            raise ValueError(f"Normal: sigma >= 0; got {sigma}")
        self.sigma, self.mean = sigma, mean

    def __call__(self, shape: tuple[int, ...], name: str, dtype: Any) -> np.ndarray:
        return random.normal(shape, self.mean, self.sigma, name, dtype=dtype)


def _scaled(distribution: str, variance: float, shape: tuple[int, ...], name: str, dtype: Any) -> np.ndarray:
    """A draw of the given variance."""
    if distribution == "uniform":
        return Uniform(math.sqrt(3.0 * variance))(shape, name, dtype)
    if distribution == "normal":
        return Normal(math.sqrt(variance))(shape, name, dtype)
    raise ValueError(f"distribution {distribution!r} is unknown; use 'uniform' or 'normal'")


class TruncNormal:
    """Normal with the given mean and standard deviation, cut to low .. high by the inverse of its distribution."""

    def __init__(self, mean: float = 0.0, std: float = 1.0, low: float = -2.0, high: float = 2.0) -> None:
        if std <= 0 or not low < high:
            raise ValueError(f"TruncNormal: std > 0 and low < high; got {std}, {low}, {high}")
        self.mean, self.std, self.low, self.high = mean, std, low, high

    def __call__(self, shape: tuple[int, ...], name: str, dtype: Any) -> np.ndarray:
        low, high = [math.erf((v - self.mean) / (self.std * math.sqrt(2.0))) for v in (self.low, self.high)]
        values = (
            erfinv(random.uniform(shape, low, high, name, dtype=np.float64)) * (self.std * math.sqrt(2.0)) + self.mean
        )
        return np.clip(values, self.low, self.high).astype(dtype)


class Xavier:
    """Glorot and Bengio 2010, with MXNet's parameters and defaults.

    rnd_type     "uniform" or "gaussian" ("normal" is the same)
    factor_type  what the variance is divided by: the mean of the fans ("avg"), "in" or "out"
    magnitude    the variance is magnitude / (3 factor) when uniform, magnitude / factor when normal
    The defaults draw from +-sqrt(6 / (fan_in + fan_out)), as PyTorch's `xavier_uniform_`; its `xavier_normal_` is
    Xavier("normal", "avg", 1).
    """

    def __init__(self, rnd_type: str = "uniform", factor_type: str = "avg", magnitude: float = 3.0) -> None:
        if factor_type not in ("avg", "in", "out"):
            raise ValueError(f"Xavier: factor_type {factor_type!r} is unknown; use 'avg', 'in' or 'out'")
        self.rnd_type = "normal" if rnd_type == "gaussian" else rnd_type
        self.factor_type, self.magnitude = factor_type, magnitude

    def __call__(self, shape: tuple[int, ...], name: str, dtype: Any) -> np.ndarray:
        fan_in, fan_out = fans(shape)
        factor = {"avg": (fan_in + fan_out) / 2.0, "in": fan_in, "out": fan_out}[self.factor_type]
        variance = self.magnitude / max(factor, 1) / (3.0 if self.rnd_type == "uniform" else 1.0)
        return _scaled(self.rnd_type, variance, shape, name, dtype)


_GAINS = {
    **dict.fromkeys(("linear", "sigmoid"), 1.0),
    **{f"conv{way}{d}d": 1.0 for way in ("", "_transpose") for d in (1, 2, 3)},
    "tanh": 5.0 / 3.0,
    "relu": math.sqrt(2.0),
    "selu": 0.75,
}


def calculate_gain(nonlinearity: str, slope: float = 0.01) -> float:
    """By how much a weight's deviation makes up for its nonlinearity: PyTorch's values; slope is leaky_relu's."""
    if nonlinearity == "leaky_relu":
        return math.sqrt(2.0 / (1.0 + slope**2))
    if nonlinearity not in _GAINS:
        known = ", ".join(map(repr, ["leaky_relu", *_GAINS]))
        raise ValueError(f"nonlinearity {nonlinearity!r} is unknown; use {known}")
    return _GAINS[nonlinearity]


class Kaiming:
    """He et al. 2015: variance gain^2 / fan, the gain that of a leaky ReLU of that negative slope.

    mode: "fan_in" or "fan_out". nonlinearity: another one of `calculate_gain`. slope sqrt(5) with "uniform" is
    PyTorch's default for linear and convolution layers.
    """

    def __init__(
        self,
        distribution: str = "uniform",
        mode: str = "fan_in",
        slope: float = 0.0,
        nonlinearity: str = "leaky_relu",
    ) -> None:
        if mode not in ("fan_in", "fan_out"):
            raise ValueError(f"Kaiming: mode {mode!r} is unknown; use 'fan_in' or 'fan_out'")
        self.distribution, self.mode = distribution, mode
        self.gain = calculate_gain(nonlinearity, slope)

    def __call__(self, shape: tuple[int, ...], name: str, dtype: Any) -> np.ndarray:
        fan = fans(shape)[self.mode == "fan_out"]
        return _scaled(self.distribution, self.gain**2 / max(fan, 1), shape, name, dtype)


class MSRAPrelu(Xavier):
    """MXNet's name for He et al.'s: normal, variance 2 / (1 + slope^2) / factor."""

    def __init__(self, factor_type: str = "avg", slope: float = 0.25) -> None:
        super().__init__("normal", factor_type, 2.0 / (1.0 + slope**2))
