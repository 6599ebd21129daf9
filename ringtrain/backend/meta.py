"""Arrays with a shape and a dtype but no values: a model runs through them to learn its shapes for free."""

from __future__ import annotations

from typing import Any

import numpy as np

from .base import Backend, register


class MetaArray:
    """The shape and dtype of an array that does not exist."""

    __slots__ = ("dtype", "shape")

    def __init__(self, shape: tuple[int, ...], dtype: Any) -> None:
        self.shape = tuple(shape)
        self.dtype = np.dtype(dtype)

    @property
    def ndim(self) -> int:
        return len(self.shape)

    @property
    def size(self) -> int:
        return int(np.prod(self.shape, dtype=np.int64))

    @property
    def nbytes(self) -> int:
        return self.size * self.dtype.itemsize

    def copy(self) -> MetaArray:
        """Itself: there are no values that a copy could change."""
        return self

    def sample(self) -> np.ndarray:
        """A real array of one element (each axis of length 1), to ask NumPy for a result's dtype."""
        return np.ones((1,) * len(self.shape), self.dtype)

    def __repr__(self) -> str:
        return f"MetaArray({self.shape}, {self.dtype})"


class MetaBackend(Backend):
    name = "meta"
    xp = np
    abstract = True

    def device(self, array: Any) -> str:
        return "meta"

    def asarray(self, data: Any, dtype: Any = None, index: int | None = None) -> MetaArray:
        if not isinstance(data, MetaArray):
            data = np.asarray(data)
        return MetaArray(data.shape, dtype or data.dtype)

    def to_numpy(self, array: MetaArray) -> Any:
        raise RuntimeError(f"a tensor on device 'meta' has a shape {array.shape} but no values")


BACKEND = register(MetaBackend(), MetaArray)
