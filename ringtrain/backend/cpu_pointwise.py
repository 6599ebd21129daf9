"""Elementwise functions as compiled loops: an op's own rule, `(xp, *arrays, *numbers)`, run at every element.

In a loop `xp` is `cpu_math`, which has vector code for the functions that the C library computes one by one. One loop
is compiled for each rule and dtype at first use, and kept on disk.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from types import FunctionType
from typing import Any

import numpy as np

from .cpu_elementwise import GRAIN, SHARED, stamp
from .jit import jit
from .layout import dense, like
from .threads import shared


def _in_dtype(rule: Callable, dtype: Any) -> Callable:
    """The rule with its literals and global numbers of that dtype, and all its parameters positional.

    A literal would be float64 or int64 in a loop, and make everything around it float64. Rules that this one calls are
    treated alike, unless `cpu_math` has one of that name.
    """
    from . import cpu_math

    def typed(value: Any) -> Any:
        if type(value) in (float, int):
            return dtype.type(value)
        return _in_dtype(value, dtype) if type(value) is FunctionType else value

    code = rule.__code__
    used = [name for name in code.co_names if name in rule.__globals__]
    names = {name: getattr(cpu_math, name, None) or typed(rule.__globals__[name]) for name in used}
    code = code.replace(
        co_consts=tuple([typed(c) for c in code.co_consts]),
        co_argcount=code.co_argcount + code.co_kwonlyargcount,
        co_kwonlyargcount=0,
    )
    names["__name__"] = rule.__module__
    return cpu_math.inlined(FunctionType(code, names, rule.__name__, closure=rule.__closure__))


@cache
def _loop(rule: Callable, arrays: int, dtype: Any) -> Callable:
    from .loops import maps

    version = f"{rule.__qualname__} {stamp(rule)}"
    return jit(maps[arrays - 1](_in_dtype(rule, dtype), version, dtype.type(0)), contract=True)


_FLOATS = (np.dtype(np.float32), np.dtype(np.float64))


def pointwise(rule: Callable, args: Sequence) -> Any:
    """Kernel `pointwise`: a rule of up to three arrays of one shape and dtype, in any dense order, and then numbers.

    None for others. The last array is, of a vjp, an input or output of its op; before it is the gradient, in whatever
    layout.
    """
    count = 0
    for a in args:
        if type(a) is not np.ndarray:
            break
        count += 1
    arrays, numbers = args[:count], args[count:]
    last = arrays[-1]
    dtype, shape, strides = last.dtype, last.shape, last.strides
    if dtype not in _FLOATS or (numbers and any(hasattr(x, "shape") for x in numbers)):
        return None
    alike = True
    for a in arrays:
        if a.dtype is not dtype or a.shape != shape:
            return None
        alike = alike and a.strides == strides
    ordered = last.flags.c_contiguous
    if not ordered and not dense(last):
        return None
    out = np.empty(shape, dtype) if ordered else np.empty_like(last)
    whole = arrays if alike else [like(a, last) for a in arrays]
    loop, given = _loop(rule, count, dtype), tuple([dtype.type(x) for x in numbers]) if numbers else ()
    ids, size = [id(out), *map(id, whole)], last.size
    if size < SHARED:
        loop(*ids, 0, size, given)
    else:
        shared(size, GRAIN, lambda first, end: loop(*ids, first, end, given))
    return out
