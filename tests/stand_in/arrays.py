"""CuPy's ndarray, on the memory of the host: as strict as CuPy, or stricter.

It mixes with no array of NumPy's, becomes none unasked, has the methods and keywords that CuPy's has, wraps indices
round where NumPy raises, and finds loops for dtypes as CuPy does. What CuPy leaves undefined raises: a write to one
place twice, a write through a broadcast view, a kernel on an array of another GPU than the current one.
"""

import types

import numpy as np

from .gpus import Device, current, traffic
from .table import BFLOAT16, DTYPES, LOOPS, SIGNATURES


# --- there and back ---------------------------------------------------------------------------------------
def host(x):
    """The memory behind an argument of a kernel; raises for what CuPy takes for none."""
    if isinstance(x, ndarray):
        if x._device != current.device:
            raise ValueError(f"The device where the array resides ({x._device}) is different from the current one")
        return x._memory
    if isinstance(x, np.ndarray):
        raise TypeError("Unsupported type <class 'numpy.ndarray'>")
    if isinstance(x, (tuple, list)):
        return type(x)(map(host, x))
    return x


def device(x, source=None):
    """What NumPy made, on the GPU."""
    if isinstance(x, (np.ndarray, np.generic)):
        memory = np.asarray(x)
        if memory.dtype not in DTYPES:
            raise ValueError(f"Unsupported dtype {memory.dtype}")
        base = None
        if source is not None and np.may_share_memory(memory, source._memory):
            base = source if source.base is None else source.base
        return ndarray(memory, base)
    if isinstance(x, (tuple, list)):
        return tuple(device(part) for part in x) if isinstance(x, tuple) else [device(part) for part in x]
    return x


def put(data, dtype=None, copy=False):
    """cupy.array: of the host's values, or of an array."""
    if isinstance(data, ndarray):
        if data._device != current.device:
            return ndarray(np.array(data._memory, dtype))
        kept = not copy and (dtype is None or data.dtype == dtype)
        return data if kept else ndarray(np.array(data._memory, dtype))
    if isinstance(data, (list, tuple)) and any(isinstance(part, ndarray) for part in data):
        return ndarray(np.array([host(part) for part in data], dtype))
    traffic["put"] += 1
    return device(np.array(data, dtype))


# --- indices ----------------------------------------------------------------------------------------------
def wrapped(shape, key):
    """An index for NumPy: arrays on the host, Ellipsis last, and numbers beyond an axis wrapped round it."""
    parts = [np.asarray(k) if isinstance(k, list) else host(k) if isinstance(k, ndarray) else k for k in
             (key if isinstance(key, tuple) else (key,))]  # fmt: skip
    used = sum(p.ndim if isinstance(p, np.ndarray) and p.dtype == bool else p is not None for p in parts
               if p is not Ellipsis)  # fmt: skip
    out, axis = [], 0
    for part in parts:
        if part is Ellipsis:
            axis += len(shape) - used
        elif isinstance(part, np.ndarray) and part.dtype == bool:
            axis += part.ndim
        elif isinstance(part, np.ndarray):
            if part.dtype.kind not in "iu" and part.size:
                raise IndexError(f"arrays used as indices must be of integer or boolean type. (actual: {part.dtype})")
            part = part.astype(np.int64) % max(shape[axis], 1) if axis < len(shape) else part
            axis += 1
        elif part is not None:
            axis += 1
        out.append(part)
    advanced = any(isinstance(part, np.ndarray) for part in out)
    return tuple(out) if advanced or Ellipsis in out else (*out, Ellipsis), advanced


# --- the array --------------------------------------------------------------------------------------------
class ndarray:
    __slots__ = ("_device", "_memory", "base")
    __hash__ = None
    __array_priority__ = 100

    def __init__(self, memory, base=None):
        self._memory, self.base, self._device = memory, base, current.device if base is None else base._device

    def __array__(self, *_, **__):
        raise TypeError("Implicit conversion to a NumPy array is not allowed. Please use `.get()`")

    def __array_ufunc__(self, function, method, *inputs, **kwargs):
        if method != "__call__" or function.__name__ not in LOOPS:
            return NotImplemented
        from .ufuncs import ufunc

        if "out" in kwargs:
            (kwargs["out"],) = kwargs["out"]
        return ufunc(function.__name__)(*inputs, **kwargs)

    def __array_function__(self, function, _, args, kwargs):
        from . import modules

        module = getattr(modules, function.__module__.partition(".")[2] or "cupy", None)
        found = getattr(module, function.__name__, None)
        return NotImplemented if found is None else found(*args, **kwargs)

    dtype = property(lambda self: self._memory.dtype)
    ndim = property(lambda self: self._memory.ndim)
    size = property(lambda self: self._memory.size)
    nbytes = property(lambda self: self._memory.nbytes)
    itemsize = property(lambda self: self._memory.itemsize)
    strides = property(lambda self: self._memory.strides)
    shape = property(lambda self: self._memory.shape)
    device = property(lambda self: Device(self._device))
    T = property(lambda self: device(host(self).T, self))
    data = property(lambda self: types.SimpleNamespace(ptr=self._memory.__array_interface__["data"][0]))

    @property
    def flags(self):
        flags = self._memory.flags
        return types.SimpleNamespace(
            c_contiguous=flags.c_contiguous, f_contiguous=flags.f_contiguous, owndata=self.base is None
        )

    def __len__(self):
        return len(self._memory)

    def __iter__(self):
        return (self[i] for i in range(len(self)))

    # --- values, for which the host waits
    def get(self, stream=None, order="C", out=None, blocking=True):
        traffic["read"] += 1
        return np.array(self._memory, order=order)

    def item(self):
        return self.get().item()

    def tolist(self):
        return self.get().tolist()

    def __bool__(self):
        return bool(self.get())

    def __int__(self):
        return int(self.get())

    def __float__(self):
        return float(self.get())

    def __repr__(self):
        return f"cupy.{self._memory!r}"

    def __reduce__(self):
        return put, (self.get(),)

    def __copy__(self):
        return self.copy()

    def __deepcopy__(self, memo):
        with Device(self._device):
            return self.copy()

    # --- indices
    def __getitem__(self, key):
        index, advanced = wrapped(self.shape, key)
        return device(host(self)[index], None if advanced else self)

    def __setitem__(self, key, value):
        index, advanced = wrapped(self.shape, key)
        values = host(value) if isinstance(value, ndarray) else np.asarray(value).astype(self.dtype)
        if not advanced:
            if not isinstance(value, ndarray) and values.ndim:
                raise ValueError("non-scalar numpy.ndarray cannot be used for fill")
            host(self)[index] = values
            return
        place = host(self)[index]
        values = np.broadcast_to(values, place.shape).astype(self.dtype)
        host(self)[index] = values
        if not np.array_equal(self._memory[index], values, equal_nan=self.dtype.kind == "f"):
            raise AssertionError("two values were written to one place: CuPy leaves open which one stays")

    def astype(self, dtype, order="K", casting=None, subok=None, copy=True):
        if np.dtype(dtype) not in DTYPES:
            raise ValueError(f"Unsupported dtype {dtype}")
        with np.errstate(all="ignore"):
            made = host(self).astype(dtype, order=order, copy=copy)
        return self if made is self._memory else device(made)

    def fill(self, value):
        self[...] = value

    def take(self, indices, axis=None, out=None):
        index = host(indices) if isinstance(indices, ndarray) else np.asarray(indices)
        return device(np.take(host(self), index, axis, mode="wrap"))

    def clip(self, min=None, max=None, out=None):
        if self.dtype == BFLOAT16 and None in (min, max):
            raise TypeError("Unsupported type <class 'NoneType'>")
        made = device(np.clip(host(self), host(min), host(max)))
        if out is None:
            return made
        out[...] = made
        return out


# NumPy's own loops do for them what CuPy's do, but not for bfloat16
_NO_BFLOAT16 = {"argmax", "argmin", "argsort", "sort", "searchsorted", "cumsum", "cumprod", "partition", "round"}


def _method(name):
    signature = SIGNATURES[f"ndarray.{name}"]

    def method(self, *args, **kwargs):
        signature.bind(self, *args, **kwargs)
        if self.dtype == BFLOAT16 and name in _NO_BFLOAT16:
            raise TypeError(f"{name} does not support bfloat16")
        with np.errstate(all="ignore"):
            return device(getattr(host(self), name)(*map(host, args), **{k: host(v) for k, v in kwargs.items()}), self)

    method.__name__ = name
    return method


for _name in (row.removeprefix("ndarray.") for row in SIGNATURES if row.startswith("ndarray.")):
    if _name not in vars(ndarray) and hasattr(np.ndarray, _name):
        setattr(ndarray, _name, _method(_name))


ndarray.__module__ = "cupy"  # whose operators `ufuncs` adds
