"""The CPU backend: NumPy arrays, fused kernels by NumPy and numba."""

from __future__ import annotations

import importlib
from typing import Any

import numpy as np

from .base import Backend, register

# Kernel name -> module of this package that provides it; loaded at first use, so that importing costs nothing.
_PROVIDERS = {
    "conv2d": "cpu_conv",
    "max_pool2d": "cpu_pool",
    "cross_entropy": "cpu_loss",
}


class NumpyBackend(Backend):
    name = "cpu"
    xp = np

    def kernel(self, name: str) -> Any:
        try:
            return self.kernels[name]
        except KeyError:
            provider = _PROVIDERS.get(name)
            found = importlib.import_module(f"ringtrain.backend.{provider}").KERNEL if provider else None
            self.kernels[name] = found
            return found

    def device(self, array: Any) -> str:
        return "cpu"

    def asarray(self, data: Any, dtype: Any = None, index: int = 0) -> np.ndarray:
        if index:
            raise ValueError(f"device 'cpu:{index}' does not exist; the CPU is one device, 'cpu'")
        return np.asarray(data, dtype)

    def to_numpy(self, array: np.ndarray) -> np.ndarray:
        return array


BACKEND = register(NumpyBackend(), np.ndarray)
