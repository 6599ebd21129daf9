"""The modules cupy, cupy.cuda, cupyx and cupyx.scipy.special, made of the table and of NumPy; `install` puts them in.

A name that CuPy lacks is missing here, and so is a keyword. linalg raises for no singular matrix, as CuPy's does unless
cupyx.errstate says so.
"""

import sys
import types
from contextlib import contextmanager

import numpy as np

from .arrays import device, host, ndarray, put
from .gpus import Device, current
from .table import BFLOAT16, LOOPS, SIGNATURES
from .ufuncs import scatter, ufunc

MODULES = ("cupy", "cupy.cuda", "cupy.linalg", "cupyx", "cupyx.scipy", "cupyx.scipy.special")
_ARRAYS = {"a", "x", "x1", "ar", "ary", "arr", "array", "m", "A", "M", "v", "condition"}  # parameters that are one
_FROM_HOST = {"array", "asarray", "asanyarray", "ascontiguousarray", "asfortranarray", "asnumpy", "isscalar"}
_OF_METHODS = {"clip", "take", "argsort", "argmax", "argmin", "sort", "cumsum", "cumprod", "round", "searchsorted"}
_NUMPY = {"dtype", "finfo", "iinfo", "pi", "e", "inf", "nan", "newaxis", "euler_gamma", "generic", "number", "integer",
          "floating", "inexact", "broadcast_shapes", "promote_types", "can_cast", "size"}  # fmt: skip
_linalg_raises = False


def _function(name, compute):
    signature = SIGNATURES[name]
    first = next(iter(signature.parameters), "")

    def function(*args, **kwargs):
        bound = signature.bind(*args, **kwargs)
        if first in _ARRAYS and not isinstance(bound.arguments[first], ndarray):
            raise TypeError(f"cupy.{name} wants a cupy.ndarray; got {type(bound.arguments[first])}")
        if first in ("tup", "arrays") and not all(isinstance(part, ndarray) for part in bound.arguments[first]):
            raise TypeError(f"cupy.{name}: Only cupy arrays can be concatenated")
        with np.errstate(all="ignore"):
            return device(compute(*map(host, args), **{k: host(v) for k, v in kwargs.items()}))

    function.__name__ = name
    return function


def _by_method(name):
    signature = SIGNATURES[name]

    def function(*args, **kwargs):
        arguments = dict(signature.bind(*args, **kwargs).arguments)
        a = arguments.pop(next(iter(signature.parameters)))
        if not isinstance(a, ndarray):
            raise TypeError(f"cupy.{name} wants a cupy.ndarray; got {type(a)}")
        names = {"a_min": "min", "a_max": "max"}
        a = a.copy() if name == "sort" else a  # whose method sorts in place
        made = getattr(a, name)(**{names.get(k, k): v for k, v in arguments.items()})
        return a if made is None else made

    return function


# --- products and linear algebra --------------------------------------------------------------------------
def _matmul(a, b, **options):
    if BFLOAT16 in (a.dtype, b.dtype) and max(a.ndim, b.ndim) > 2:
        raise TypeError("matmul of more than two axes does not support bfloat16")
    dtype = np.result_type(a.dtype, b.dtype)
    wide = np.float32 if dtype.itemsize == 2 else dtype
    return np.matmul(a.astype(wide), b.astype(wide), **options).astype(dtype)


def _einsum(*operands, **options):
    if any(getattr(x, "dtype", None) == BFLOAT16 for x in operands):
        raise TypeError("einsum does not support bfloat16")
    return np.einsum(*operands, **options)


def _solver(name):
    def compute(*args, **kwargs):
        if any(getattr(a, "dtype", None) in (np.float16, BFLOAT16) for a in args):
            raise TypeError("float16 is unsupported in linalg")
        if name == "solve" and args[1].ndim > 1 and args[0].shape[:-1] != args[1].shape[:-1]:
            raise ValueError("a must have (..., M, M) shape and b must have (..., M, K) for multidimensional b")
        try:
            return getattr(np.linalg, name)(*args, **kwargs)
        except np.linalg.LinAlgError:
            if _linalg_raises:
                raise
            return np.full_like(args[-1], np.nan)

    return compute


@contextmanager
def _errstate(*, divide=None, over=None, under=None, invalid=None, linalg=None):
    global _linalg_raises
    before, _linalg_raises = _linalg_raises, linalg == "raise" if linalg else _linalg_raises
    try:
        yield
    finally:
        _linalg_raises = before


# --- special functions ------------------------------------------------------------------------------------
def _special(name):
    from ringtrain.backend import cpu_special

    if f"special.{name}" not in LOOPS | SIGNATURES:
        raise AttributeError(f"module 'cupyx.scipy.special' has no attribute {name!r}")

    if name == "polygamma":

        def polygamma(n, x):
            if not (isinstance(n, ndarray) and isinstance(x, ndarray)):
                raise TypeError("broadcast_arrays wants cupy arrays")
            return device(cpu_special.polygamma(int(n._memory), host(x).astype(np.float64)))

        return polygamma
    return ufunc(f"special.{name}", getattr(cpu_special, {"gammaln": "lgamma"}.get(name, name)))


# --- the modules ------------------------------------------------------------------------------------------
def _found(prefix, name):
    """What a module has under a name."""
    if f"{prefix}{name}" in LOOPS:
        return ufunc(name)
    if not prefix and name in _OF_METHODS:
        return _by_method(name)
    if not prefix and (name in _NUMPY or (isinstance(getattr(np, name, None), type) and issubclass(
            getattr(np, name), np.generic))):  # fmt: skip
        return getattr(np, name)
    if f"{prefix}{name}" not in SIGNATURES:
        raise AttributeError(f"module 'cupy' has no attribute {name!r}")
    if prefix:
        return _function(f"{prefix}{name}", _solver(name))
    return _function(name, {"matmul": _matmul, "einsum": _einsum}.get(name) or getattr(np, name))


def _where(condition, x, y):
    return ufunc("where", np.where)(condition.astype(bool, copy=False), x, y)


def _asarray(a, dtype=None, order=None, *, copy=None, blocking=False):
    return put(a, dtype, bool(copy))


def _full(shape, fill_value, dtype=None, order="C"):
    return put(np.full(shape, host(fill_value), dtype))


def _empty(shape, dtype=float, order="C"):
    memory = np.empty(shape, dtype)
    memory.reshape(-1).view(np.uint8)[...] = 0xA5
    return device(memory)


def _ascontiguousarray(a, dtype=None):
    return device(np.ascontiguousarray(host(put(a, dtype))))


def _result_type(*arrays_and_dtypes):
    return np.result_type(*(x.dtype if isinstance(x, ndarray) else x for x in arrays_and_dtypes))


def _module(name, prefix=None, **values):
    module = types.ModuleType(name)
    vars(module).update(values)
    if prefix is not None:

        def missing(attribute):
            if attribute.startswith("__"):
                raise AttributeError(attribute)
            setattr(module, attribute, _found(prefix, attribute))
            return getattr(module, attribute)

        module.__getattr__ = missing
    return module


linalg = _module("cupy.linalg", "linalg.", LinAlgError=np.linalg.LinAlgError)
cuda = _module(
    "cupy.cuda",
    Device=Device,
    is_available=lambda: True,
    runtime=types.SimpleNamespace(getDeviceCount=lambda: 2, getDevice=lambda: current.device),
)
cupy = _module(
    "cupy",
    "",
    ndarray=ndarray,
    linalg=linalg,
    cuda=cuda,
    empty=_empty,
    full=_full,
    asarray=_asarray,
    array=lambda obj, dtype=None, copy=True: put(obj, dtype, copy),
    ascontiguousarray=_ascontiguousarray,
    asnumpy=lambda a, *args, **kwargs: a.get(*args, **kwargs),
    where=_where,
    result_type=_result_type,
)
special = _module("cupyx.scipy.special")
special.__getattr__ = _special
scipy = _module("cupyx.scipy", special=special)
cupyx = _module(
    "cupyx",
    scipy=scipy,
    errstate=_errstate,
    scatter_add=lambda a, slices, value: scatter(a, slices, value, "add"),
    scatter_max=lambda a, slices, value: scatter(a, slices, value, "maximum"),
    scatter_min=lambda a, slices, value: scatter(a, slices, value, "minimum"),
)


@contextmanager
def installed():
    """Within it `import cupy` gives the stand-in, and "cuda" is a device of the engine's."""
    from ringtrain.backend import base

    ours = dict(zip(MODULES, (cupy, cuda, linalg, cupyx, scipy, special), strict=True))
    before = {name: sys.modules.get(name) for name in (*ours, "ringtrain.backend.cupy_")}
    kinds, names = dict(base._by_type), dict(base._by_name)
    sys.modules.update(ours)
    sys.modules.pop("ringtrain.backend.cupy_", None)
    try:
        yield cupy
    finally:
        for registry, entries in ((base._by_type, kinds), (base._by_name, names)):
            registry.clear()
            registry.update(entries)
        for name, module in before.items():
            sys.modules.pop(name, None)
            if module is not None:
                sys.modules[name] = module
