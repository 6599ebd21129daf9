"""The GPU backend: CuPy arrays. Imported only when a tensor is first put on a "cuda" device.

Everything runs on the current GPU, which is one for the whole process (`rt.set_default_device("cuda:1")` changes it):
a rank has one GPU. Arrays on another one can be made, moved and read.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

import numpy as np

from ..dtypes import is_float, wide
from .base import Backend, knows, of, register

try:
    import cupy
except ImportError as error:
    raise ImportError(
        "device 'cuda' needs CuPy, which is not installed; pip install 'ringtrain[cuda13]' (or [cuda12])"
    ) from error
if not cupy.cuda.is_available():
    raise RuntimeError("device 'cuda' needs an NVIDIA GPU and its driver; CuPy is installed but finds none")

_NAMES = {"lgamma": "gammaln"}  # CuPy's and SciPy's
_ATOMIC = "iILQfd"  # dtypes that every scatter takes


class CupyBackend(Backend):
    name = "cuda"
    xp = cupy
    waits = True
    half_matrices = True

    def device(self, array: Any) -> str:
        return f"cuda:{array.device.id}"

    def place(self, index: int | None) -> str:
        return f"cuda:{cupy.cuda.Device().id if index is None else index}"

    def use(self, index: int | None) -> None:
        self._at(index).use()

    def _at(self, index: int | None) -> Any:
        count = cupy.cuda.runtime.getDeviceCount()
        if index is not None and index >= count:
            raise ValueError(f"device 'cuda:{index}' does not exist; this machine has {count} GPUs, numbered from 0")
        return cupy.cuda.Device(index)

    def asarray(self, data: Any, dtype: Any = None, index: int | None = None) -> Any:
        if knows(data) and of(data) is not self:
            data = of(data).to_numpy(data)
        with self._at(index):
            return cupy.asarray(data, dtype)

    def full(self, shape: tuple[int, ...], value: Any, dtype: Any, index: int | None = None) -> Any:
        with self._at(index):
            return cupy.full(shape, value, dtype)

    def to_numpy(self, array: Any) -> np.ndarray:
        return cupy.asnumpy(array)

    def read(self, *arrays: Any) -> list:
        return cupy.stack(arrays).reshape(-1).tolist() if arrays else []

    def special(self, name: str) -> Callable:
        from cupyx.scipy import special

        function = getattr(special, _NAMES.get(name, name))

        def inside(*args: Any) -> Any:
            *orders, x = args
            x = cupy.asarray(x)
            dtype = x.dtype if is_float(x.dtype) else np.dtype(np.float64)
            x = x.astype(wide(dtype) or dtype, copy=False)
            return function(*(cupy.asarray(n) for n in orders), x).astype(dtype, copy=False)

        return inside

    def scatter(self, out: Any, index: Any, values: Any, how: str) -> None:
        import cupyx

        function = {"add": cupyx.scatter_add, "maximum": cupyx.scatter_max, "minimum": cupyx.scatter_min}[how]
        if out.dtype.char in _ATOMIC:
            function(out, index, values)
            return
        # integers wrap, as they do; with the sign's bit turned over, numbers below 0 come before those above
        turn = np.uint64(1 << 63) if out.dtype.kind == "i" and how != "add" else np.uint64(0)
        wide = np.dtype(np.float32 if is_float(out.dtype) else np.uint64)
        wider, values = (v.astype(wide) if hasattr(v, "dtype") else v for v in (out, values))
        if turn:
            wider, values = wider ^ turn, values ^ turn
        function(wider, index, values)
        out[...] = wider ^ turn if turn else wider

    def linalg_errors(self) -> AbstractContextManager:
        import cupyx

        return cupyx.errstate(linalg="raise")


BACKEND = register(CupyBackend(), cupy.ndarray)
