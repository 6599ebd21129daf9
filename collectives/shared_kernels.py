# mypy: ignore-errors
# What numba compiles is typed by numba.
"""The compiled half of the shared-memory path. Importing it loads numba: import it only when used.

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
from numba import carray, njit, types
from numba.core import cgutils
from numba.extending import intrinsic

from .link import BYTES, CALLS, HEADERS, NANOSECONDS, SCRATCH, SEQUENCE, STEP
from .link import EPOCH as REACHED
from .shared import BOXED, DIFFERENT, DONE, IN_PLACE, LAST_BARRIER, MEDIUM, NOT_YET, SMALL, STAGED
from .shared_reducers import SIGNATURE, kept, pointer

LINE = 128  # bytes a rank has on the board: two cache lines, because processors fetch pairs of them
EPOCH, FINGERPRINT, OFFSET = 0, 8, 24  # in a line: barriers reached, and by parity of the barrier what is said
LONGEST_NAP = 1000  # microseconds

# The int64 words of a plan, which describes one kind of allreduce: its link's patience (two rows of
# PATIENCE, for the main thread and for others) and addresses follow in rows of one for each rank.
BOARD, RANK, SIZE, BOOKS, CAPACITY, REDUCER, OP, PRESCALE, POSTSCALE, DIVISOR = range(10)
COUNT, ITEM, EACH, WIDTH, WAY, PATIENCE = range(10, 16)
SPINS, YIELDS, NAPS, NAP = range(4)
ROWS = PATIENCE + 8
SLOTS, BASES, INBOXES, OUTBOXES = 0, 2, 3, 4

# Changes with whatever constants of other files are compiled in here, as a test sees to: numba keeps compiled
# code on disk until this file changes, whatever happens to the others.
LAYOUT = "db617364"

# Where an array object keeps the address of its data: first behind what every object begins with, by
# NumPy's binary interface. Asking for it from Python takes longer than a small allreduce.
DATA = object.__basicsize__
STRIDE = 0x9E37_79B9_7F4A_7C15 - (1 << 64)  # of fingerprints: odd, so that each sequence number changes them
MONOTONIC = 1  # CLOCK_MONOTONIC, the clock of time.monotonic_ns

_I64 = ir.IntType(64)

_sched_yield = types.ExternalFunction("sched_yield", types.int32())
_usleep = types.ExternalFunction("usleep", types.int32(types.uint32))
_clock_gettime = types.ExternalFunction("clock_gettime", types.int32(types.int32, types.voidptr))
_memcpy = types.ExternalFunction("memcpy", types.voidptr(types.voidptr, types.voidptr, types.uintp))

_jit = njit(nogil=True, boundscheck=False, error_model="numpy")


def _compiled(count, *more):
    """Compile for `count` int64 arguments and others now, when nobody waits, or load what was kept on disk."""
    signature = types.int64(*[types.int64] * count, *more)
    return kept(njit, signature, nogil=True, boundscheck=False, error_model="numpy")


@intrinsic
def _load(typingctx, address):
    """The int64 at an address, with acquire order."""

    def codegen(context, builder, signature, args):
        return builder.load_atomic(builder.inttoptr(args[0], _I64.as_pointer()), "acquire", 8)

    return types.int64(types.int64), codegen


@intrinsic
def _store(typingctx, address, value):
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


@intrinsic
def _reduce(typingctx, reducer, sources, size, targets, target_count, count, op, prescale, postscale, divisor):
    """Call the reducer at an address."""

    def codegen(context, builder, signature, args):
        kinds = [context.get_value_type(kind) for kind in SIGNATURE.args]
        function = ir.FunctionType(ir.VoidType(), kinds).as_pointer()
        builder.call(builder.inttoptr(args[0], function), args[1:])
        return context.get_dummy_value()

    return types.void(types.int64, *SIGNATURE.args), codegen


@intrinsic
def _float(typingctx, bits):
    """The float64 whose bits an int64 holds."""

    def codegen(context, builder, signature, args):
        return builder.bitcast(args[0], ir.DoubleType())

    return types.float64(types.int64), codegen


# -- meeting ------------------------------------------------------------------------------------


@_jit
def _all_at(board, size, epoch, spins, yields, naps, nap):
    """Whether every rank reaches the epoch: looks `spins` times, then yields, then sleeps between looks."""
    rank, looks = 0, 0
    while True:
        while rank < size and _load(board + rank * LINE + EPOCH) >= epoch:
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


@_jit
def _arrive(board, rank, epoch, fingerprint, offset):
    line = board + rank * LINE
    _store(line + FINGERPRINT + 8 * (epoch & 1), fingerprint)
    _store(line + OFFSET + 8 * (epoch & 1), offset)
    _store(line + EPOCH, epoch)


@_jit
def _meet(board, size, epoch, spins, yields, naps, nap):
    """Whether all have arrived, and if so whether they say the same: NOT_YET, DONE or DIFFERENT."""
    if not _all_at(board, size, epoch, spins, yields, naps, nap):
        return NOT_YET
    word = FINGERPRINT + 8 * (epoch & 1)
    first = _load(board + word)
    for rank in range(1, size):
        if _load(board + rank * LINE + word) != first:
            return DIFFERENT
    return DONE


@_jit
def _copy(target, source, count):
    _memcpy(pointer(target), pointer(source), np.uintp(count))


@_compiled(14)
def meet(board, rank, size, epoch, arriving, fingerprint, offset, source, slot, length, spins, yields, naps, nap):
    """Copy `length` bytes from source to slot and arrive, unless this rank has; then look who is there.

    NOT_YET, or whether all say the same: DONE or DIFFERENT.
    """
    if arriving:
        if length:
            _copy(slot, source, length)
        _arrive(board, rank, epoch, fingerprint, offset)
    return _meet(board, size, epoch, spins, yields, naps, nap)


# -- allreduce ----------------------------------------------------------------------------------


@_jit
def _words(plan):
    return carray(pointer(plan), (ROWS,), np.int64)


@_jit
def _row(plan, row, size):
    """The address of a row of a plan, and its words."""
    start = plan + 8 * (ROWS + row * size)
    return start, carray(pointer(start), (size,), np.int64)


@_jit
def _reduce_as_planned(p, sources, targets, target_count, count):
    _reduce(
        p[REDUCER], sources, p[SIZE], targets, target_count, count, p[OP],
        _float(p[PRESCALE]), _float(p[POSTSCALE]), _float(p[DIVISOR]),
    )  # fmt: skip


@_jit
def _stage(data, inbox, rank, bounds, t, width, item):
    """Copy this rank's values of window t of all other segments to its inbox."""
    for peer in range(len(bounds) - 1):
        start = bounds[peer] + t * width
        count = min(width, bounds[peer + 1] - start)
        if peer != rank and count > 0:
            _copy(inbox + peer * width * item, data + start * item, count * item)


@_jit
def _cut(count, each, size):
    """Where segments of `each` items begin."""
    bounds = np.empty(size + 1, np.int64)
    for rank in range(size + 1):
        bounds[rank] = min(rank * each, count)
    return bounds


@_jit
def _read(books, word):
    return _load(books + 8 * word)


@_jit
def _add(books, word, more):
    """Count in the books, which one thread at a time does; the new count."""
    count = _load(books + 8 * word) + more
    _store(books + 8 * word, count)
    return count


@_jit
def _now(books):
    """Nanoseconds of the monotonic clock."""
    _clock_gettime(np.int32(MONOTONIC), pointer(books + 8 * SCRATCH))
    return _read(books, SCRATCH) * 1_000_000_000 + _read(books, SCRATCH + 1)


@_jit
def _is_met(p, thread, epoch):
    w = PATIENCE + 4 * thread
    return _all_at(p[BOARD], p[SIZE], epoch, p[w + SPINS], p[w + YIELDS], p[w + NAPS], p[w + NAP])


@_jit
def _combine_slots(plan, parity, data):
    """Combine what the others have put in their slots with this rank's own array."""
    p = _words(plan)
    start, slots = _row(plan, SLOTS + parity, p[SIZE])
    own, slots[p[RANK]] = slots[p[RANK]], data
    _reduce_as_planned(p, start, start + 8 * p[RANK], 1, p[COUNT])
    slots[p[RANK]] = own


@_jit
def _proceed(plan, epoch, data, thread):
    """Reduce after the meeting.

    DONE; or IN_PLACE, which has taken another barrier; or LAST_BARRIER when that barrier is all that is
    left to wait for; or, with nothing done, BOXED where an array is not in an arena, and STAGED where
    none is: then all are staged.
    """
    p = _words(plan)
    if p[WAY] == SMALL:
        _combine_slots(plan, epoch & 1, data)
        return DONE
    board, rank, size = p[BOARD], p[RANK], p[SIZE]
    places = np.empty(size, np.int64)
    inside = 0
    start = min(rank * p[EACH], p[COUNT])
    bases = _row(plan, BASES, size)[1]
    for peer in range(size):
        offset = _load(board + peer * LINE + OFFSET + 8 * (epoch & 1))
        inside += offset >= 0
        places[peer] = bases[peer] + offset + start * p[ITEM]
    if inside == 0 and p[WAY] == MEDIUM:
        _combine_slots(plan, epoch & 1, data)
        return DONE
    if inside < size:
        return BOXED if inside else STAGED
    count = min(start + p[EACH], p[COUNT]) - start
    if count > 0:
        _reduce_as_planned(p, places.ctypes.data, places.ctypes.data, size, count)
    epoch = _add(p[BOOKS], REACHED, 1)
    _arrive(board, rank, epoch, 0, -1)
    return IN_PLACE if _is_met(p, thread, epoch) else LAST_BARRIER


@_jit
def _begin(plan, arriving, fingerprint, data, thread):
    p = _words(plan)
    board, rank, size, item = p[BOARD], p[RANK], p[SIZE], p[ITEM]
    epoch = _add(p[BOOKS], REACHED, arriving)
    if arriving:
        _store(p[BOOKS] + 8 * STEP, 0)
        offset, length = data - _row(plan, BASES, size)[1][rank], p[COUNT] * item
        if p[WAY] == SMALL or offset < 0 or offset > p[CAPACITY] - length:
            offset = -1
        if p[WAY] == SMALL or (p[WAY] == MEDIUM and offset < 0):
            _copy(_row(plan, SLOTS + (epoch & 1), size)[1][rank], data, length)
        elif offset < 0:
            bounds = _cut(p[COUNT], p[EACH], size)
            _stage(data, _row(plan, INBOXES, size)[1][rank], rank, bounds, 0, p[WIDTH], item)
        _arrive(board, rank, epoch, fingerprint, offset)
    w = PATIENCE + 4 * thread
    met = _meet(board, size, epoch, p[w + SPINS], p[w + YIELDS], p[w + NAPS], p[w + NAP])
    return met if met != DONE else _proceed(plan, epoch, data, thread)


@_compiled(5)
def begin(plan, arriving, fingerprint, array, thread):
    """Hand over or announce an array, meet, and go on as far as that goes.

    array: the address of the array object; arriving: 0 when called again after NOT_YET; thread: the row
    of patience. NOT_YET, DIFFERENT, or what `_proceed` returns.
    """
    return _begin(plan, arriving, fingerprint, _load(array + DATA), thread)


# -- through boxes --------------------------------------------------------------------------------


@_jit
def _exchange(plan, epoch, first, step, steps, data, width, reducing, gathering, thread, result, bounds):
    """Reduce-scatter and/or allgather through boxes, from `step` on: the step that could not begin yet.

    Window t of a rank's segment data[bounds[r]:bounds[r+1]] is `width` items. In step t a rank copies
    its own values of window t of all other segments to its inbox, reduces window t-1 of its own
    segment from all inboxes into its outbox, and copies window t-2 of the others from their outboxes.
    What it reduces itself goes to the address `result`, or to its place in data if that is 0.
    The barrier before step t is number epoch + t, and there is none before the first. Boxes have two
    halves, used in turn, so that one barrier a step is enough.
    """
    p = _words(plan)
    board, rank, size, item = p[BOARD], p[RANK], p[SIZE], p[ITEM]
    inboxes, outboxes = _row(plan, INBOXES, size)[1], _row(plan, OUTBOXES, size)[1]
    sources, targets = np.empty(size, np.int64), np.empty(2, np.int64)
    for t in range(step, steps):
        if t > first and not _is_met(p, thread, epoch + t):
            return t
        half = (t & 1) * width * item
        other = width * item - half
        if reducing:
            _stage(data, inboxes[rank] + half * size, rank, bounds, t, width, item)
        start = bounds[rank] + (t - 1) * width
        count = min(width, bounds[rank + 1] - start)
        if t > 0 and count > 0:
            own = data + start * item
            if reducing:
                for peer in range(size):
                    sources[peer] = inboxes[peer] + other * size + rank * width * item
                sources[rank] = own
                targets[0] = result + (t - 1) * width * item if result else own
                targets[1] = outboxes[rank] + other
                _reduce_as_planned(p, sources.ctypes.data, targets.ctypes.data, 1 + gathering, count)
            else:
                _copy(outboxes[rank] + other, own, count * item)
        if gathering and t > 1:
            for turn in range(1, size):
                peer = (rank + turn) % size
                start = bounds[peer] + (t - 2) * width
                count = min(width, bounds[peer + 1] - start)
                if count > 0:
                    _copy(data + start * item, outboxes[peer] + half, count * item)
        if t + 1 < steps:
            _store(board + rank * LINE + EPOCH, epoch + t + 1)
    return steps


@_compiled(11, types.int64[::1])
def exchange(plan, epoch, first, step, steps, array, width, reducing, gathering, thread, result, bounds):
    data = _load(array + DATA)
    return _exchange(plan, epoch, first, step, steps, data, width, reducing, gathering, thread, result, bounds)


@_compiled(3)
def reduce_at(plan, sources, target):
    """Reduce as planned, with `sources` the address of as many addresses as there are ranks."""
    p = _words(plan)
    _store(p[BOOKS] + 8 * SCRATCH, target)
    _reduce_as_planned(p, sources, p[BOOKS] + 8 * SCRATCH, 1, p[COUNT])
    return DONE


# -- a call that is made again ------------------------------------------------------------------


@_compiled(3)
def again(plan, fingerprint, array):
    """One more allreduce of the kind of the plan, from its header to its end and its entry in the books.

    fingerprint: the call's, without its number. DONE, or what `begin` returns where there is more to do;
    with BOXED and STAGED the exchange has been begun, and the books' STEP is where it could not go on.
    """
    p = _words(plan)
    books = p[BOOKS]
    start = _now(books)
    _add(books, HEADERS, 1)
    data = _load(array + DATA)
    found = _begin(plan, 1, fingerprint + _add(books, SEQUENCE, 1) * STRIDE, data, 0)
    if found in (BOXED, STAGED):
        first, epoch = np.int64(found == STAGED), _read(books, REACHED)
        steps = -(-min(p[EACH], p[COUNT]) // p[WIDTH]) + 2
        bounds = _cut(p[COUNT], p[EACH], p[SIZE])
        step = _exchange(plan, epoch - first, first, first, steps, data, p[WIDTH], 1, 1, 0, 0, bounds)
        if step == steps:
            _add(books, REACHED, steps - 1 - first)
            found = DONE
        else:
            _store(books + 8 * STEP, step)
    if found in (DONE, IN_PLACE):
        found = DONE
        _add(books, CALLS, 1)
        _add(books, BYTES, p[COUNT] * p[ITEM])
    _add(books, NANOSECONDS, _now(books) - start)
    return found
