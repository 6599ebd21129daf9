"""The GPU backend: CuPy arrays. Imported only when a tensor is first put on a "cuda" device."""

from __future__ import annotations

from typing import Any

import numpy as np

from .base import Backend, register

try:
    import cupy
except ImportError as error:
    raise ImportError(
        "device 'cuda' needs CuPy, which is not installed; pip install 'ringtrain[cuda13]' (or [cuda12])"
    ) from error
if not cupy.cuda.is_available():
    raise RuntimeError("device 'cuda' needs an NVIDIA GPU and its driver; CuPy is installed but finds none")


class CupyBackend(Backend):
    name = "cuda"
    xp = cupy

    def device(self, array: Any) -> str:
        return f"cuda:{array.device.id}"

    def asarray(self, data: Any, dtype: Any = None, index: int = 0) -> Any:
        with cupy.cuda.Device(index):
            return cupy.asarray(data, dtype)

    def to_numpy(self, array: Any) -> np.ndarray:
        return cupy.asnumpy(array)


BACKEND = register(CupyBackend(), cupy.ndarray)
