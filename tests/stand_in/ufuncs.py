"""Ufuncs that find loops for dtypes as CuPy's do, and the operators of arrays, which are ufuncs."""

import numpy as np

from .arrays import device, host, ndarray, wrapped
from .table import BFLOAT16, LOOPS


def _fits(given, weak, wanted):
    if np.can_cast(given, wanted):
        return True
    return weak is not None and np.result_type(weak(0), wanted) == wanted


def _kind(x):
    """(dtype, the kind of a Python number, which never widens a dtype)."""
    if type(x) in (bool, int, float):
        return np.dtype(type(x)), None if type(x) is bool else type(x)
    if isinstance(x, (np.ndarray, np.generic)):
        return x.dtype, None
    raise TypeError(f"Unsupported type {type(x)}")


class Ufunc:
    def __init__(self, name, compute):
        self.__name__, self.loops, self.compute = name, LOOPS[name], compute
        self.nin, self.nout = len(self.loops[0][0]), len(self.loops[0][1])

    def __call__(self, *args, out=None, dtype=None, casting="same_kind"):
        if not self.nin <= len(args) <= self.nin + self.nout:
            raise TypeError(f"Wrong number of arguments for {self.__name__}")
        if len(args) > self.nin:
            args, out = args[: self.nin], args[self.nin]
        inputs = [host(x) for x in args]
        given, made = self._loop([_kind(x) for x in inputs], dtype)
        wide = [np.float32 if t in (BFLOAT16, np.float16) else t for t in given]
        with np.errstate(all="ignore"):
            results = self.compute(*(np.asarray(x).astype(t) for x, t in zip(inputs, wide, strict=True)))
        results = results if self.nout > 1 else (results,)
        if out is not None:
            target = host(out)
            if not np.can_cast(made[0], target.dtype, casting):
                raise TypeError(f"output (typecode '{made[0]}') could not be coerced to '{target.dtype}'")
            target[...] = results[0].astype(made[0]).astype(target.dtype)
            return out
        outs = tuple(device(np.asarray(r).astype(t)) for r, t in zip(results, made, strict=True))
        return outs if self.nout > 1 else outs[0]

    def _loop(self, kinds, dtype):
        """The first loop that takes these; arrays decide, unless all are numbers or a number's kind is above theirs."""
        order = {"b": 0, "i": 1, "u": 1, "f": 2, "V": 2, "c": 3}
        strong = [order[t.kind] for t, weak in kinds if weak is None]
        weaker = [order[t.kind] for t, weak in kinds if weak is not None]
        if not strong or (weaker and max(weaker) > max(strong)):
            kinds = [(t, None) for t, _ in kinds]
        for given, made in self.loops:
            if dtype is not None and made[0] == dtype:
                return given, made
            if dtype is None and all(_fits(t, weak, want) for (t, weak), want in zip(kinds, given, strict=True)):
                return given, made
        raise TypeError(f"Wrong type ({[t.name for t, _ in kinds]}) of arguments for {self.__name__}")

    def at(self, a, indices, b):
        scatter(a, indices, b, self.__name__)


_UFUNCS = {}


def ufunc(name, compute=None):
    if name not in _UFUNCS:
        _UFUNCS[name] = Ufunc(name, compute or getattr(np, name))
    return _UFUNCS[name]


# --- scatter ----------------------------------------------------------------------------------------------
_SCATTERS = {
    "add": (np.add.at, "iILQefd"),
    "maximum": (np.maximum.at, "iILQfd"),
    "minimum": (np.minimum.at, "iILQfd"),
}


def scatter(a, key, value, name):
    """cupyx.scatter_add and its kin."""
    index, advanced = wrapped(a.shape, key)
    memory, values = host(a), host(value) if isinstance(value, ndarray) else np.asarray(value, a.dtype)
    at, able = _SCATTERS[name]
    if advanced and memory.dtype.char not in able:
        raise TypeError(f"cupy.{name}.at does not support {memory.dtype}")
    at(memory, index, values.astype(a.dtype))


# --- operators --------------------------------------------------------------------------------------------
def _operator(function, reflected=False):
    def operator(self, other):
        if getattr(other, "__array_ufunc__", self) is None:
            return NotImplemented
        return ufunc(function)(other, self) if reflected else ufunc(function)(self, other)

    return operator


def _in_place(function):
    return lambda self, other: ufunc(function)(self, other, self)


_BINARY = {
    "add": "add",
    "sub": "subtract",
    "mul": "multiply",
    "truediv": "true_divide",
    "floordiv": "floor_divide",
    "mod": "remainder",
    "pow": "power",
    "and": "bitwise_and",
    "or": "bitwise_or",
    "xor": "bitwise_xor",
    "lshift": "left_shift",
    "rshift": "right_shift",
}
for _short, _long in _BINARY.items():
    setattr(ndarray, f"__{_short}__", _operator(_long))
    setattr(ndarray, f"__r{_short}__", _operator(_long, reflected=True))
    setattr(ndarray, f"__i{_short}__", _in_place(_long))
_COMPARE = {"eq": "equal", "ne": "not_equal", "lt": "less", "le": "less_equal", "gt": "greater", "ge": "greater_equal"}
for _short, _long in _COMPARE.items():
    setattr(ndarray, f"__{_short}__", _operator(_long))
for _short, _long in {"neg": "negative", "abs": "absolute", "invert": "invert"}.items():
    setattr(ndarray, f"__{_short}__", lambda self, _long=_long: ufunc(_long)(self))


def _matmul(a, b):
    from .modules import cupy

    return NotImplemented if getattr(b, "__array_ufunc__", a) is None else cupy.matmul(a, b)


ndarray.__matmul__ = _matmul
