"""What an array is. A backend pairs an array library (`xp`) with a table of fused kernels.

Every tensor's data is an array of exactly one backend, found by its type. An op is written once over `xp`;
where the table has a kernel of the op's name, the kernel replaces that composed form. No op asks which
backend it has.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import numpy as np

__all__ = ["Backend", "get", "knows", "of", "register", "set_default_device", "using"]


class Backend:
    """An array library and its kernels.

    name      "cpu", "cuda" or "meta": the part of a device string before the colon
    xp        the module with NumPy's names
    kernels   fused kernels by name (see `kernel`)
    """

    name: str
    xp: Any
    abstract = False  # True where arrays have a shape and a dtype but no values
    waits = False  # True where work is queued, so that to ask for a value is to wait for all of it
    half_matrices = False  # True where `xp.matmul` of two 16-bit matrices is fast, and adds up in float32

    def __init__(self) -> None:
        self.kernels: dict[str, Any] = {}

    def kernel(self, name: str) -> Any:
        """The fused kernel of that name, or None where this backend runs the composed form."""
        return self.kernels.get(name)

    def device(self, array: Any) -> str:
        """The device string of an array, such as "cpu" or "cuda:1"."""
        raise NotImplementedError

    def place(self, index: int | None) -> str:
        """The device string of device `index`; None is the current one."""
        return self.name

    def use(self, index: int | None) -> None:
        """Makes device `index` the current one."""

    def asarray(self, data: Any, dtype: Any = None, index: int | None = None) -> Any:
        """An array of this backend on its device `index` (None: the current one); no copy where none is needed."""
        raise NotImplementedError

    def full(self, shape: tuple[int, ...], value: Any, dtype: Any, index: int | None = None) -> Any:
        """An array with every element equal to value."""
        return self.asarray(np.full(shape, value, dtype), None, index)

    def zeros_beside(self, size: int, dtype: Any, turn: int) -> Any:
        """A flat array of zeros, of several that loops go through together; `turn` counts them.

        A processor takes reads and writes that lie a multiple of 4 KiB apart for the same place until it knows better:
        on the CPU the arrays begin at different distances from such a multiple.
        """
        return self.xp.zeros(size, dtype)

    def to_numpy(self, array: Any) -> Any:
        """The values as a NumPy array; on the CPU the array itself."""
        raise NotImplementedError

    def read(self, *arrays: Any) -> list:
        """Arrays of one element and one dtype as Python's numbers; where the host waits for them it waits once."""
        return [array.item() for array in arrays]

    # --- what array libraries have under different names
    def special(self, name: str) -> Callable:
        """erf, erfc, erfinv, lgamma of an array, or polygamma of (n, array), in the array's dtype."""
        raise NotImplementedError

    def scatter(self, out: Any, index: Any, values: Any, how: str) -> None:
        """Adds values ("add") at the places of an index, or leaves the "maximum" or "minimum"; places may repeat."""
        raise NotImplementedError

    def linalg_errors(self) -> AbstractContextManager:
        """Within it `xp.linalg` raises LinAlgError for what has no solution."""
        return nullcontext()


_default = "cpu"
_by_type: dict[type, Backend] = {}
_by_name: dict[str, Backend] = {}
_modules = {"cpu": "numpy_", "cuda": "cupy_", "meta": "meta"}


def register(backend: Backend, array_type: type) -> Backend:
    """Makes `backend` the one of all arrays of that type."""
    _by_type[array_type] = backend
    _by_name[backend.name] = backend
    return backend


def of(array: Any) -> Backend:
    """The backend of an array, by its type.

    Raises TypeError for anything that is no array of a loaded backend.
    """
    try:
        return _by_type[type(array)]
    except KeyError:
        raise TypeError(
            f"{type(array).__name__} is no array of a backend in use ({', '.join(_by_name)}); wrap it in rt.tensor"
        ) from None


def knows(array: Any) -> bool:
    """Whether something is an array of a loaded backend."""
    return type(array) in _by_type


def using(xp: Any) -> Backend:
    """The loaded backend with values whose array library is xp."""
    return next(backend for backend in _by_name.values() if backend.xp is xp and not backend.abstract)


def get(device: str | None) -> tuple[Backend, int | None]:
    """The backend and device index that a device string names: "cpu", "cuda", "cuda:1", "meta"; None is the default.

    The index of "cuda" is None, which stands for the current GPU.
    Raises ValueError for another name, ImportError where the backend's library is not installed.
    """
    name, _, index = (device or _default).partition(":")
    if name not in _modules or (index and not index.isdigit()):
        raise ValueError(f"device {device!r} is unknown; use 'cpu', 'cuda', 'cuda:1' or 'meta'")
    if name not in _by_name:
        importlib.import_module(f"{__package__}.{_modules[name]}")
    return _by_name[name], int(index) if index else None


def set_default_device(device: str) -> None:
    """Where tensors and parameters are made from now on if no device is named: "cpu" at first.

    "cuda:1" also becomes the current GPU, on which this process computes. What wraps memory that is there already
    (`rt.from_numpy`, `rt.Tensor`, a data loader without a device) leaves it where it is.
    """
    global _default
    backend, index = get(device)
    if backend.abstract:
        raise ValueError("tensors on device 'meta' have no values; name it where it is meant")
    backend.use(index)
    _default = device
