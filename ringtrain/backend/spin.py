# mypy: ignore-errors
# What numba compiles is typed by numba.
"""Waiting for another thread, and helping it, in compiled code without the interpreter's lock: see `threads.py`.

Threads tell each other by int64 numbers, each alone in its line of the cache:

CALLS         how often somebody has called for help
TASK, GIVEN   a compiled task's address and what it is called with, while ACTIVE is not 0
INSIDE, LEFT  how many helpers have begun to look at the task, and how many have ended

Importing it loads numba: import it only when used.
"""

import platform

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from .jit import jit
from .layout import LINE
from .vectors import WORD

CALLS, TASK, GIVEN, ACTIVE, INSIDE, LEFT = (LINE * i for i in range(6))  # bytes from the first
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
        machine, number = platform.machine(), ir.IntType(32)
        name, operands = None, []
        if machine in ("x86_64", "AMD64"):
            name = "llvm.x86.sse2.pause"
        elif machine in ("aarch64", "arm64"):
            name, operands = "llvm.aarch64.hint", [ir.Constant(number, _YIELD)]
        if name:
            function = ir.FunctionType(ir.VoidType(), [number] * len(operands))
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


@intrinsic
def _leave(typingctx, address, value):
    """Set a number; what was written before is seen before."""

    def codegen(context, build, signature, args):
        build.store_atomic(args[1], build.inttoptr(args[0], WORD.as_pointer()), "seq_cst", 8)
        return context.get_dummy_value()

    return types.void(types.int64, types.int64), codegen


@intrinsic
def _run(typingctx, task, given):
    def codegen(context, build, signature, args):
        kind = ir.FunctionType(ir.VoidType(), [WORD])
        build.call(build.inttoptr(args[0], kind.as_pointer()), [args[1]])
        return context.get_dummy_value()

    return types.void(types.int64, types.int64), codegen


@jit
def lead(state, task, given):
    """Run a task, together with all helpers that are awake; it returns when none is in it any more."""
    at = state.ctypes.data
    _leave(at + TASK, task)
    _leave(at + GIVEN, given)
    _leave(at + ACTIVE, 1)
    add(at + CALLS, 1)
    _run(task, given)
    _leave(at + ACTIVE, 0)
    while now(at + LEFT) < now(at + INSIDE):
        rest()


@jit
def help_until_called(left, state, seen, turns, pause):
    """Say at `left` that a thread is done, then help with tasks until there is a call without one, or for some turns.

    Gives how many calls it has seen, and whether there was one without a task. `pause`: turns to wait after that, while
    the caller still holds the interpreter's lock: to wait for the lock is to be put to sleep.
    """
    add(left.ctypes.data, 1)
    at, waited = state.ctypes.data, 0
    while waited < turns:
        number = now(at + CALLS)
        if number == seen:
            waited += 1
            rest()
            continue
        seen = number
        add(at + INSIDE, 1)
        active = now(at + ACTIVE)
        if active:
            _run(now(at + TASK), now(at + GIVEN))
            waited = 0
        add(at + LEFT, 1)
        if not active:
            for _ in range(pause):
                rest()
            return seen, True
    return seen, False
