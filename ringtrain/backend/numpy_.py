"""The CPU backend: NumPy arrays, fused kernels by NumPy and numba."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any

import numpy as np

from .base import Backend, knows, of, register
from .jit import available
from .layout import PAGE, on_lines

# Kernel name -> module of this package and the object in it; loaded at first use, so that importing costs nothing.
_PROVIDERS = {
    "bin_means": "cpu_bins:KERNEL",
    "batch_norm": "cpu_normalize:BATCH_NORM",
    "glu": "cpu_rows:GLU",
    "group_norm": "cpu_group_norm:KERNEL",
    "layer_norm": "cpu_normalize:LAYER_NORM",
    "add_at": "cpu_scatter:KERNEL",
    "attention": "cpu_attention:KERNEL",
    "conv2d": "cpu_conv:KERNEL",
    "conv3d": "cpu_conv:KERNEL",
    "conv_transpose2d": "cpu_conv_transpose:KERNEL",
    "conv_transpose3d": "cpu_conv_transpose:KERNEL",
    "linear_back": "cpu_matmul:linear_back",
    "matmul": "cpu_matmul:matmul",
    "max_pool2d": "cpu_pool:KERNEL",
    "ctc": "cpu_ctc:KERNEL",
    "count_labels": "cpu_rows:count_labels",
    "cross_entropy": "cpu_rows:CROSS_ENTROPY",
    "log_softmax": "cpu_rows:LOG_SOFTMAX",
    "softmax": "cpu_rows:SOFTMAX",
    "pointwise": "cpu_pointwise:pointwise",
    "elementwise": "cpu_elementwise:KERNEL",
    "square_sum": "cpu_norm:KERNEL",
    "sum_of_rows": "cpu_rows:sum_of_rows",
    "top_k": "cpu_rows:TOP_K",
    "rectified": "cpu_matmul:rectified",
    "rnn": "cpu_rnn:KERNEL",
}
_COMPILED = set(_PROVIDERS) - {"ctc", "matmul"}  # those that need numba


class NumpyBackend(Backend):
    name = "cpu"
    xp = np

    def kernel(self, name: str) -> Any:
        try:
            return self.kernels[name]
        except KeyError:
            found = None
            if name in _PROVIDERS and (name not in _COMPILED or available()):
                module, attribute = _PROVIDERS[name].split(":")
                found = getattr(importlib.import_module(f"ringtrain.backend.{module}"), attribute)
            self.kernels[name] = found
            return found

    def device(self, array: Any) -> str:
        return "cpu"

    def asarray(self, data: Any, dtype: Any = None, index: int | None = None) -> np.ndarray:
        if index:
            raise ValueError(f"device 'cpu:{index}' does not exist; the CPU is one device, 'cpu'")
        return np.asarray(of(data).to_numpy(data) if knows(data) else data, dtype)

    def zeros_beside(self, size: int, dtype: Any, turn: int) -> np.ndarray:
        return on_lines((size,), dtype, zeros=True, start=turn * 1024 % PAGE)

    def to_numpy(self, array: np.ndarray) -> np.ndarray:
        return array

    def special(self, name: str) -> Callable:
        from . import cpu_special

        return getattr(cpu_special, name)

    def scatter(self, out: np.ndarray, index: Any, values: Any, how: str) -> None:
        getattr(np, how).at(out, index, values)


BACKEND = register(NumpyBackend(), np.ndarray)
