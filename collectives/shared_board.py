# mypy: ignore-errors
# What numba compiles is typed by numba.
"""How ranks of a host meet, compiled. Importing it loads numba: import it only when used.

Ranks meet at a *board* of shared memory: a line of control words for each rank, which that rank
alone writes. A rank arrives at barrier e by storing e in its line, and passes when every line holds
e or more. Because arriving is a store with release order and looking is a load with acquire order,
all that a rank wrote before it arrived is seen by all who pass: x86-64 gives that order to plain
stores, aarch64 does not, and on both it also binds the compiler. What a rank says at a barrier has
two places, used in turn: by the time a place is written again all have come to the barrier between.

Memory is passed as addresses (int64), which keeps calls cheap and lets one kernel serve all arrays.
Kernels that wait give up after a while and say so, and are called again to go on: the deadline, and
what Python does on a signal, are the caller's.
"""

import platform

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.core import cgutils
from numba.extending import intrinsic

from .shared_plan import DIFFERENT, DONE, NOT_YET
from .shared_reducers import kept, pointer

LINE = 128  # bytes a rank has on the board: two cache lines, because processors fetch pairs of them
EPOCH, FINGERPRINT, OFFSET = 0, 8, 24  # in a line: barriers reached, and by parity of the barrier what is said
LONGEST_NAP = 1000  # microseconds

_I64 = ir.IntType(64)

_sched_yield = types.ExternalFunction("sched_yield", types.int32())
_usleep = types.ExternalFunction("usleep", types.int32(types.uint32))
_memcpy = types.ExternalFunction("memcpy", types.voidptr(types.voidptr, types.voidptr, types.uintp))

jit = njit(nogil=True, boundscheck=False, error_model="numpy")


def compiled(count, *more):
    """Compile for `count` int64 arguments and others now, when nobody waits, or load what was kept on disk."""
    signature = types.int64(*[types.int64] * count, *more)
    return kept(njit, signature, nogil=True, boundscheck=False, error_model="numpy")


@intrinsic
def load(typingctx, address):
    """The int64 at an address, with acquire order."""

    def codegen(context, builder, signature, args):
        return builder.load_atomic(builder.inttoptr(args[0], _I64.as_pointer()), "acquire", 8)

    return types.int64(types.int64), codegen


@intrinsic
def store(typingctx, address, value):
    """Store an int64 at an address, with release order."""

    def codegen(context, builder, signature, args):
        builder.store_atomic(args[1], builder.inttoptr(args[0], _I64.as_pointer()), "release", 8)
        return context.get_dummy_value()

    return types.void(types.int64, types.int64), codegen


@intrinsic
def _relax(typingctx):
    """Tell the processor that this is a waiting loop."""

    def codegen(context, builder, signature, args):
        if platform.machine() == "x86_64":
            pause = ir.FunctionType(ir.VoidType(), [])
            builder.call(cgutils.get_or_insert_function(builder.module, pause, "llvm.x86.sse2.pause"), [])
        return context.get_dummy_value()

    return types.void(), codegen


# -- meeting ------------------------------------------------------------------------------------


@jit
def all_at(board, size, epoch, spins, yields, naps, nap):
    """Whether every rank reaches the epoch: looks `spins` times, then yields, then sleeps between looks."""
    rank, looks = 0, 0
    while True:
        while rank < size and load(board + rank * LINE + EPOCH) >= epoch:
            rank += 1
        if rank == size:
            return True
        if looks < spins:
            _relax()
        elif looks < spins + yields:
            _sched_yield()
        elif looks < spins + yields + naps:
            _usleep(np.uint32(nap))
            nap = min(nap + nap // 8, LONGEST_NAP)
        else:
            return False
        looks += 1


@jit
def arrive(board, rank, epoch, fingerprint, offset):
    line = board + rank * LINE
    store(line + FINGERPRINT + 8 * (epoch & 1), fingerprint)
    store(line + OFFSET + 8 * (epoch & 1), offset)
    store(line + EPOCH, epoch)


@jit
def agreed(board, size, epoch, spins, yields, naps, nap):
    """Whether all have arrived, and if so whether they say the same: NOT_YET, DONE or DIFFERENT."""
    if not all_at(board, size, epoch, spins, yields, naps, nap):
        return NOT_YET
    word = FINGERPRINT + 8 * (epoch & 1)
    first = load(board + word)
    for rank in range(1, size):
        if load(board + rank * LINE + word) != first:
            return DIFFERENT
    return DONE


@jit
def copy(target, source, count):
    _memcpy(pointer(target), pointer(source), np.uintp(count))


@compiled(14)
def meet(board, rank, size, epoch, arriving, fingerprint, offset, source, slot, length, spins, yields, naps, nap):
    """Copy `length` bytes from source to slot and arrive, unless this rank has; then look who is there.

    NOT_YET, or whether all say the same: DONE or DIFFERENT.
    """
    if arriving:
        if length:
            copy(slot, source, length)
        arrive(board, rank, epoch, fingerprint, offset)
    return agreed(board, size, epoch, spins, yields, naps, nap)
