"""CuPy arrays: telling them from NumPy's, and copying them to the host and back.

Nothing here imports CuPy for a program that does not use it: where nobody has imported it, no array
is CuPy's. Copies go through page-locked memory, which a GPU reads at full speed; CuPy's own pool keeps
that by size. No other part of this package may read a CuPy array's memory on the host, and none hands its
address to MPI, which need not know what to do with it.
"""

import sys
from collections.abc import Iterable
from typing import Any

import numpy as np


def is_gpu(x: Any) -> bool:
    """Whether x is a CuPy array."""
    cupy = sys.modules.get("cupy")
    return cupy is not None and isinstance(x, getattr(cupy, "ndarray", ()))


def library(array: Any) -> Any:
    """The module that makes arrays of this kind, numpy or cupy."""
    return np if isinstance(array, np.ndarray) else sys.modules["cupy"]


def device_of(arguments: Iterable[Any]) -> int | None:
    """The number of the GPU that a verb's CuPy arrays lie on; None if it has none.

    Stops at the first NumPy array, so that those cost little. Raises ValueError where they lie on several.
    """
    found: set[int] = set()
    for x in arguments:
        if type(x) is np.ndarray:
            break
        arrays = x if type(x) in (list, tuple) else (x,)
        found.update(array.device.id for array in arrays if is_gpu(array))
    if len(found) > 1:
        raise ValueError(f"the arrays lie on GPUs {sorted(found)}: copy them to one, which carries a group's work")
    return found.pop() if found else None


def on(array: Any) -> Any:
    """A context in which a CuPy array's GPU is the current one; an object of its own for each thread."""
    return sys.modules["cupy"].cuda.Device(array.device.id)


def of_one_kind(arrays: Iterable[Any]) -> None:
    """Raise TypeError for NumPy and CuPy arrays in one call."""
    if len({is_gpu(array) for array in arrays}) > 1:
        raise TypeError("NumPy and CuPy arrays in one call: make all of one kind, with cupy.asarray or cupy.asnumpy")


def duplicate(array: Any) -> Any:
    """A C-contiguous copy."""
    if isinstance(array, np.ndarray):
        return np.array(array, order="C")
    with on(array):
        return array.copy(order="C")


def pinned(shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
    """An uninitialised NumPy array in page-locked memory, which is reused when nothing refers to it any more."""
    length = int(np.prod(shape, dtype=np.int64)) * dtype.itemsize
    if length == 0:
        return np.empty(shape, dtype)
    memory = sys.modules["cupy"].cuda.alloc_pinned_memory(length)
    return np.frombuffer(memory, np.uint8, length).view(dtype).reshape(shape)


def to_host(array: Any) -> np.ndarray:
    """A CuPy array's values as they are when its current stream has done all that it has been given."""
    with on(array):
        host = pinned(array.shape, array.dtype)
        if array.size:
            stream = sys.modules["cupy"].cuda.get_current_stream()
            array.get(stream=stream, out=host)
            stream.synchronize()
    return host


def into(host: np.ndarray, array: Any) -> None:
    """Host values into a C-contiguous CuPy array, in the order of its current stream; done on return."""
    if array.size == 0:
        return
    with on(array):
        stream = sys.modules["cupy"].cuda.get_current_stream()
        array.set(host, stream=stream)
        stream.synchronize()  # from here on the host's memory may change


def to_gpu(host: np.ndarray, gpu: int | None = None) -> Any:
    """Host values as a new CuPy array, on the current GPU unless told otherwise."""
    import cupy

    with cupy.cuda.Device(gpu):
        array = cupy.empty(host.shape, host.dtype)
        into(host, array)
    return array
