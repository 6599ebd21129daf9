# mypy: ignore-errors
# What numba compiles is typed by numba.
"""What ranks of a host do once they have met, compiled: reduce slots, arrays in place, and through boxes.

Memory is passed as addresses, and a kernel that waits gives up after a while, as those of `shared_board` do.
Importing it loads numba: import it only when used.
"""

import numpy as np
from llvmlite import ir
from numba import carray, types
from numba.extending import intrinsic

from .link import BYTES, CALLS, HEADERS, NANOSECONDS, SCRATCH, SEQUENCE, STEP
from .link import EPOCH as REACHED
from .shared_board import EPOCH, LINE, OFFSET, agreed, all_at, arrive, compiled, copy, jit, load, store
from .shared_plan import BOXED, DONE, IN_PLACE, LAST_BARRIER, MEDIUM, SMALL, STAGED
from .shared_reducers import SIGNATURE, pointer

# The int64 words of a plan, which describes one kind of allreduce: its link's patience (two rows of
# PATIENCE, for the main thread and for others) and addresses follow in rows of one for each rank.
BOARD, RANK, SIZE, BOOKS, CAPACITY, REDUCER, OP, PRESCALE, POSTSCALE, DIVISOR = range(10)
COUNT, ITEM, EACH, WIDTH, WAY, PATIENCE = range(10, 16)
SPINS, YIELDS, NAPS, NAP = range(4)
ROWS = PATIENCE + 8
SLOTS, BASES, INBOXES, OUTBOXES = 0, 2, 3, 4

# Changes with whatever constants of other files are compiled in here, as a test sees to: numba keeps compiled
# code on disk until this file changes, whatever happens to the others.
LAYOUT = "2eb86d21"

# Where an array object keeps the address of its data: first behind what every object begins with, by
# NumPy's binary interface. Asking for it from Python takes longer than a small allreduce.
DATA = object.__basicsize__
STRIDE = 0x9E37_79B9_7F4A_7C15 - (1 << 64)  # of fingerprints: odd, so that each sequence number changes them
MONOTONIC = 1  # CLOCK_MONOTONIC, the clock of time.monotonic_ns

_clock_gettime = types.ExternalFunction("clock_gettime", types.int32(types.int32, types.voidptr))


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
def _keep(typingctx, array):
    """Nothing; but the array is not freed before. numba frees one when its name, not its address, was last used."""

    def codegen(context, builder, signature, args):
        return context.get_dummy_value()

    return types.void(array), codegen


@intrinsic
def _float(typingctx, bits):
    """The float64 whose bits an int64 holds."""

    def codegen(context, builder, signature, args):
        return builder.bitcast(args[0], ir.DoubleType())

    return types.float64(types.int64), codegen


# -- allreduce ----------------------------------------------------------------------------------


@jit
def _words(plan):
    return carray(pointer(plan), (ROWS,), np.int64)


@jit
def _row(plan, row, size):
    """The address of a row of a plan, and its words."""
    start = plan + 8 * (ROWS + row * size)
    return start, carray(pointer(start), (size,), np.int64)


@jit
def _reduce_as_planned(p, sources, targets, target_count, count):
    _reduce(
        p[REDUCER], sources, p[SIZE], targets, target_count, count, p[OP],
        _float(p[PRESCALE]), _float(p[POSTSCALE]), _float(p[DIVISOR]),
    )  # fmt: skip


@jit
def _stage(data, inbox, rank, bounds, t, width, item):
    """Copy this rank's values of window t of all other segments to its inbox."""
    for peer in range(len(bounds) - 1):
        start = bounds[peer] + t * width
        count = min(width, bounds[peer + 1] - start)
        if peer != rank and count > 0:
            copy(inbox + peer * width * item, data + start * item, count * item)


@jit
def _cut(count, each, size):
    """Where segments of `each` items begin."""
    bounds = np.empty(size + 1, np.int64)
    for rank in range(size + 1):
        bounds[rank] = min(rank * each, count)
    return bounds


@jit
def _read(books, word):
    return load(books + 8 * word)


@jit
def _add(books, word, more):
    """Count in the books, which one thread at a time does; the new count."""
    count = load(books + 8 * word) + more
    store(books + 8 * word, count)
    return count


@jit
def _now(books):
    """Nanoseconds of the monotonic clock."""
    _clock_gettime(np.int32(MONOTONIC), pointer(books + 8 * SCRATCH))
    return _read(books, SCRATCH) * 1_000_000_000 + _read(books, SCRATCH + 1)


@jit
def _is_met(p, thread, epoch):
    w = PATIENCE + 4 * thread
    return all_at(p[BOARD], p[SIZE], epoch, p[w + SPINS], p[w + YIELDS], p[w + NAPS], p[w + NAP])


@jit
def _combine_slots(plan, parity, data):
    """Combine what the others have put in their slots with this rank's own array."""
    p = _words(plan)
    start, slots = _row(plan, SLOTS + parity, p[SIZE])
    own, slots[p[RANK]] = slots[p[RANK]], data
    _reduce_as_planned(p, start, start + 8 * p[RANK], 1, p[COUNT])
    slots[p[RANK]] = own


@jit
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
        offset = load(board + peer * LINE + OFFSET + 8 * (epoch & 1))
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
    _keep(places)
    epoch = _add(p[BOOKS], REACHED, 1)
    arrive(board, rank, epoch, 0, -1)
    return IN_PLACE if _is_met(p, thread, epoch) else LAST_BARRIER


@jit
def _begin(plan, arriving, fingerprint, data, thread):
    p = _words(plan)
    board, rank, size, item = p[BOARD], p[RANK], p[SIZE], p[ITEM]
    epoch = _add(p[BOOKS], REACHED, arriving)
    if arriving:
        store(p[BOOKS] + 8 * STEP, 0)
        offset, length = data - _row(plan, BASES, size)[1][rank], p[COUNT] * item
        if p[WAY] == SMALL or offset < 0 or offset > p[CAPACITY] - length:
            offset = -1
        if p[WAY] == SMALL or (p[WAY] == MEDIUM and offset < 0):
            copy(_row(plan, SLOTS + (epoch & 1), size)[1][rank], data, length)
        elif offset < 0:
            bounds = _cut(p[COUNT], p[EACH], size)
            _stage(data, _row(plan, INBOXES, size)[1][rank], rank, bounds, 0, p[WIDTH], item)
        arrive(board, rank, epoch, fingerprint, offset)
    w = PATIENCE + 4 * thread
    met = agreed(board, size, epoch, p[w + SPINS], p[w + YIELDS], p[w + NAPS], p[w + NAP])
    return met if met != DONE else _proceed(plan, epoch, data, thread)


@compiled(5)
def begin(plan, arriving, fingerprint, array, thread):
    """Hand over or announce an array, meet, and go on as far as that goes.

    array: the address of the array object; arriving: 0 when called again after NOT_YET; thread: the row
    of patience. NOT_YET, DIFFERENT, or what `_proceed` returns.
    """
    return _begin(plan, arriving, fingerprint, load(array + DATA), thread)


# -- through boxes --------------------------------------------------------------------------------


@jit
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
                copy(outboxes[rank] + other, own, count * item)
        if gathering and t > 1:
            for turn in range(1, size):
                peer = (rank + turn) % size
                start = bounds[peer] + (t - 2) * width
                count = min(width, bounds[peer + 1] - start)
                if count > 0:
                    copy(data + start * item, outboxes[peer] + half, count * item)
        if t + 1 < steps:
            store(board + rank * LINE + EPOCH, epoch + t + 1)
    return steps


@compiled(11, types.int64[::1])
def exchange(plan, epoch, first, step, steps, array, width, reducing, gathering, thread, result, bounds):
    data = load(array + DATA)
    return _exchange(plan, epoch, first, step, steps, data, width, reducing, gathering, thread, result, bounds)


@compiled(3)
def reduce_at(plan, sources, target):
    """Reduce as planned, with `sources` the address of as many addresses as there are ranks."""
    p = _words(plan)
    store(p[BOOKS] + 8 * SCRATCH, target)
    _reduce_as_planned(p, sources, p[BOOKS] + 8 * SCRATCH, 1, p[COUNT])
    return DONE


# -- a call that is made again ------------------------------------------------------------------


@compiled(3)
def again(plan, fingerprint, array):
    """One more allreduce of the kind of the plan, from its header to its end and its entry in the books.

    fingerprint: the call's, without its number. DONE, or what `begin` returns where there is more to do;
    with BOXED and STAGED the exchange has been begun, and the books' STEP is where it could not go on.
    """
    p = _words(plan)
    books = p[BOOKS]
    start = _now(books)
    _add(books, HEADERS, 1)
    data = load(array + DATA)
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
            store(books + 8 * STEP, step)
    if found in (DONE, IN_PLACE):
        found = DONE
        _add(books, CALLS, 1)
        _add(books, BYTES, p[COUNT] * p[ITEM])
    _add(books, NANOSECONDS, _now(books) - start)
    return found
