"""What an array is. A backend pairs an array library (`xp`) with a table of fused kernels.

Every tensor's data is an array of exactly one backend, found by its type. An op is written once over `xp`;
where the table has a kernel of the op's name, the kernel replaces that composed form. No op asks which
backend it has.
"""

from __future__ import annotations

import importlib
from typing import Any

__all__ = ["Backend", "get", "knows", "of", "register"]


class Backend:
    """An array library and its kernels.

    name      "cpu", "cuda" or "meta": the part of a device string before the colon
    xp        the module with NumPy's names
    kernels   fused kernels by name (see `kernel`)
    """

    name: str
    xp: Any
    abstract = False  # True where arrays have a shape and a dtype but no values

    def __init__(self) -> None:
        self.kernels: dict[str, Any] = {}

    def kernel(self, name: str) -> Any:
        """The fused kernel of that name, or None where this backend runs the composed form."""
        return self.kernels.get(name)

    def device(self, array: Any) -> str:
        """The device string of an array, such as "cpu" or "cuda:1"."""
        raise NotImplementedError

    def asarray(self, data: Any, dtype: Any = None, index: int = 0) -> Any:
        """An array of this backend on its device `index`; no copy where none is needed."""
        raise NotImplementedError

    def to_numpy(self, array: Any) -> Any:
        """The values as a NumPy array; on the CPU the array itself."""
        raise NotImplementedError


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


def get(device: str | None) -> tuple[Backend, int]:
    """The backend and device index that a device string names: "cpu", "cuda", "cuda:1", "meta"; None is "cpu".

    Raises ValueError for another name, ImportError where the backend's library is not installed.
    """
    name, _, index = (device or "cpu").partition(":")
    if name not in _modules or (index and not index.isdigit()):
        raise ValueError(f"device {device!r} is unknown; use 'cpu', 'cuda', 'cuda:1' or 'meta'")
    if name not in _by_name:
        importlib.import_module(f"{__package__}.{_modules[name]}")
    return _by_name[name], int(index or 0)
