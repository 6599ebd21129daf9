# mypy: ignore-errors
# What numba compiles is typed by numba.
"""Compiled reductions, one for each dtype: the arithmetic of the shared-memory path.

A reducer takes addresses and gives no thought to where its operands come from or who else computes.
Values are combined in rank order, one element at a time, so that a result depends neither on how
the data is cut nor on which rank computes it. Importing this loads numba: import it only when used.
"""

import hashlib
from functools import cache
from pathlib import Path
from types import CellType, FunctionType

import numpy as np
from llvmlite import ir
from numba import carray, cfunc, njit, types
from numba.core import cgutils
from numba.extending import intrinsic, overload

from .reduce import BFLOAT16, FLOAT16, Op, is_wide

CODES = {Op.Sum: 0, Op.Average: 0, Op.Min: 1, Op.Max: 2, Op.Product: 3}
SUM, MIN, MAX, PRODUCT = range(4)
BLOCK = 1024  # items combined at a time: a block of the total and those of two ranks fit the first-level cache
# numba has none of these dtypes: their bits travel as integers
STORED = {FLOAT16: np.dtype(np.uint16), BFLOAT16: np.dtype(np.int16), np.dtype(bool): np.dtype(np.uint8)}

# sources, size, targets, how many targets, items, op, prescale, postscale, divisor
SIGNATURE = types.void(*[types.int64] * 6, *[types.float64] * 3)

_memcpy = types.ExternalFunction("memcpy", types.voidptr(types.voidptr, types.voidptr, types.uintp))

_jit = njit(nogil=True, boundscheck=False, error_model="numpy")


def kept(compiler, signature, **options):
    """A decorator that compiles, and keeps the result on disk where there is a place that can be written."""

    def compile(function):
        try:
            return compiler(signature, cache=True, **options)(_versioned(function))
        except RuntimeError:
            return compiler(signature, **options)(function)

    return compile


def _versioned(function):
    """The function with the state of this package among what numba tells functions apart by.

    numba takes machine code from the disk while the function's own file is the same. But functions and constants of
    other files are part of it: after an update ranks would agree on nothing.
    """
    code = function.__code__
    code = code.replace(co_freevars=(*code.co_freevars, "version"))  # numba looks at the cells of a function
    cells = (*(function.__closure__ or ()), CellType(_version()))
    return FunctionType(code, function.__globals__, function.__name__, function.__defaults__, cells)


@cache
def _version() -> str:
    files = sorted(Path(__file__).parent.glob("*.py"))
    return hashlib.sha256(b"".join(path.read_bytes() for path in files)).hexdigest()


@cache
def reducer(dtype: np.dtype) -> int:
    """The address of a C function that reduces arrays of this dtype; `SIGNATURE` says what it takes.

    sources: the address of int64 addresses by rank; targets: of those that the result is written to,
    which may be among the sources. Compiled on first use, a second or two, and then kept on disk.
    """
    return _compile(np.dtype(np.float32) if is_wide(dtype) else STORED.get(dtype, dtype), STORED.get(dtype, dtype))


def _compile(combined: np.dtype, stored: np.dtype) -> int:
    item = stored.itemsize

    def reduce(sources, size, targets, target_count, count, op, prescale, postscale, divisor):
        froms = carray(pointer(sources), (size,), np.int64)
        tos = carray(pointer(targets), (target_count,), np.int64)
        total = carray(_scratch(), (BLOCK,), combined)
        done = 0
        while done < count:
            block = min(BLOCK, count - done)
            first = carray(pointer(froms[0] + done * item), (block,), stored)
            if size == 1:
                _take(total, first, prescale)
            elif op == SUM:
                _add(total, first, carray(pointer(froms[1] + done * item), (block,), stored), prescale)
            else:
                _take(total, first, prescale)
                _combine(total, carray(pointer(froms[1] + done * item), (block,), stored), op, prescale)
            for rank in range(2, size):
                _combine(total, carray(pointer(froms[rank] + done * item), (block,), stored), op, prescale)
            _finish(total, block, postscale, divisor)
            to = tos[0] + done * item
            _put(total, carray(pointer(to), (block,), stored))
            for i in range(1, target_count):
                _memcpy(pointer(tos[i] + done * item), pointer(to), np.uintp(block * item))
            done += block

    compiled = kept(cfunc, SIGNATURE, nopython=True, error_model="numpy")(reduce)
    return _kept.setdefault((combined, stored), compiled).address


_kept: dict = {}  # compiled code lives as long as the object that numba returned


@intrinsic
def pointer(typingctx, address):
    """An int64 address as a pointer."""

    def codegen(context, builder, signature, args):
        return builder.inttoptr(args[0], cgutils.voidptr_t)

    return types.voidptr(types.int64), codegen


@intrinsic
def _scratch(typingctx):
    """Memory on the stack for a block of the widest dtype."""

    def codegen(context, builder, signature, args):
        with builder.goto_entry_block():  # numba's own helper for this would clear it at every call
            block = builder.alloca(ir.ArrayType(ir.IntType(64), BLOCK))
        block.align = 64
        return builder.bitcast(block, cgutils.voidptr_t)

    return types.voidptr(), codegen


@intrinsic
def _half_to_float(typingctx, bits):
    def codegen(context, builder, signature, args):
        return builder.fpext(builder.bitcast(args[0], ir.HalfType()), ir.FloatType())

    return types.float32(types.uint16), codegen


@intrinsic
def _float_to_half(typingctx, value):
    def codegen(context, builder, signature, args):
        return builder.bitcast(builder.fptrunc(args[0], ir.HalfType()), ir.IntType(16))

    return types.uint16(types.float32), codegen


@intrinsic
def _float_of_bits(typingctx, bits):
    def codegen(context, builder, signature, args):
        return builder.bitcast(args[0], ir.FloatType())

    return types.float32(types.uint32), codegen


@intrinsic
def _bits_of_float(typingctx, value):
    def codegen(context, builder, signature, args):
        return builder.bitcast(args[0], ir.IntType(32))

    return types.uint32(types.float32), codegen


def _widen(value, like):
    """A stored value in the dtype of `like`, in which it is combined."""


def _narrow(value, like):
    """A combined value in the dtype of `like`, in which it is stored."""


# float16 arrives as uint16 and bfloat16 as int16, both combined in float32: numba has neither dtype.
@overload(_widen)
def _widen_as(value, like):
    if like != types.float32 or value == types.float32:
        return lambda value, like: value
    if value == types.uint16:
        return lambda value, like: _half_to_float(value)
    return lambda value, like: _float_of_bits(np.uint32(np.uint32(np.uint16(value)) << np.uint32(16)))


@overload(_narrow)
def _narrow_as(value, like):
    if value != types.float32 or like == types.float32:
        return lambda value, like: value
    if like == types.uint16:
        return lambda value, like: _float_to_half(value)

    def to_bfloat16(value, like):
        bits = _bits_of_float(value)
        if value != value:  # rounding could carry a NaN's payload into the sign
            return np.int16(np.uint16((bits >> np.uint32(16)) | np.uint32(0x40)))
        even = (bits >> np.uint32(16)) & np.uint32(1)
        return np.int16(np.uint16((bits + np.uint32(0x7FFF) + even) >> np.uint32(16)))

    return to_bfloat16


@_jit
def _take(total, data, scale):
    kind = total.dtype.type
    factor = kind(scale)
    for i in range(np.uint64(data.size)):
        total[i] = _widen(data[i], kind(0)) * factor


@_jit
def _add(total, data, other, scale):
    """The sum of the first two: one pass less over the total than `_take` and `_combine`."""
    kind = total.dtype.type
    factor = kind(scale)
    for i in range(np.uint64(data.size)):
        total[i] = _widen(data[i], kind(0)) * factor + _widen(other[i], kind(0)) * factor


@_jit
def _combine(total, data, op, scale):
    kind = total.dtype.type
    factor, count = kind(scale), np.uint64(data.size)
    if op == SUM:
        for i in range(count):
            total[i] += _widen(data[i], kind(0)) * factor
    elif op == PRODUCT:
        for i in range(count):
            total[i] *= _widen(data[i], kind(0)) * factor
    elif op == MIN:
        for i in range(count):
            a, b = total[i], _widen(data[i], kind(0)) * factor
            total[i] = a if (a < b or a != a) else b  # NaN wins
    else:
        for i in range(count):
            a, b = total[i], _widen(data[i], kind(0)) * factor
            total[i] = a if (a > b or a != a) else b


@_jit
def _finish(total, count, scale, divisor):
    kind, count = total.dtype.type, np.uint64(count)
    if scale != 1.0:
        factor = kind(scale)
        for i in range(count):
            total[i] = total[i] * factor
    if divisor != 1.0:
        divided = kind(divisor)
        for i in range(count):
            total[i] = kind(total[i] / divided)


@_jit
def _put(total, data):
    for i in range(np.uint64(data.size)):
        data[i] = _narrow(total[i], data[i])
