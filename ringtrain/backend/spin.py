# mypy: ignore-errors
# What numba compiles is typed by numba.
"""Waiting for another thread in compiled code, without the interpreter's lock: `threads.py` says what for.

Threads tell each other by a number that is the first of an int64 array, alone in its line of the cache.

Importing it loads numba: import it only when used.
"""

import platform

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from .jit import jit
from .vectors import WORD

_YIELD = 1  # which of ARM's hints


@intrinsic
def add(typingctx, address, n):
    """Add to a number, at once as other threads see it; gives what it was. What was written before is seen before."""

    def codegen(context, build, signature, args):
        return build.atomic_rmw("add", build.inttoptr(args[0], WORD.as_pointer()), args[1], "seq_cst")

    return types.int64(types.int64, types.int64), codegen


@intrinsic
def now(typingctx, address):
    """A number as another thread has left it."""

    def codegen(context, build, signature, args):
        return build.load_atomic(build.inttoptr(args[0], WORD.as_pointer()), "seq_cst", 8)

    return types.int64(types.int64), codegen


@intrinsic
def rest(typingctx):
    """Let the other thread of this core have its units for some cycles."""

    def codegen(context, build, signature, args):
        kinds, operands = [], []
        if platform.machine() in ("aarch64", "arm64"):
            kinds, operands = [ir.IntType(32)], [ir.Constant(ir.IntType(32), _YIELD)]
        name = "llvm.aarch64.hint" if kinds else "llvm.x86.sse2.pause"
        function = ir.FunctionType(ir.VoidType(), kinds)
        build.call(cgutils.get_or_insert_function(build.module, function, name), operands)
        return context.get_dummy_value()

    return types.void(), codegen


@jit
def tell(number):
    """Add one to a number."""
    add(number.ctypes.data, 1)


@jit
def reached(number, n, turns):
    """Wait until a number is n, or some turns; whether it is."""
    address = number.ctypes.data
    for _ in range(turns):
        if now(address) >= n:
            return True
        rest()
    return now(address) >= n


@jit
def next_call(left, calls, seen, turns, pause):
    """Say at `left` that a thread is done, then wait until `calls` is not `seen`, or some turns; what it is.

    pause: turns to wait after that, while the caller still holds the interpreter's lock: to wait for the lock is to
    be put to sleep.
    """
    add(left.ctypes.data, 1)
    address = calls.ctypes.data
    for _ in range(turns):
        number = now(address)
        if number != seen:
            for _ in range(pause):
                rest()
            return number
        rest()
    return seen
