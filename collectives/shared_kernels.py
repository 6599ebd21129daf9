"""The compiled half of the shared-memory path. Importing it loads numba: import it only when used.

Ranks meet at a *board* of shared memory: a line of control words for each rank, which that rank
alone writes. A rank arrives at barrier e by storing e in its line, and passes when every line holds
e or more. Because arriving is a store with release order and looking is a load with acquire order,
all that a rank wrote before it arrived is seen by all who pass: x86-64 gives that order to plain
stores, aarch64 does not, and on both it also binds the compiler.

Memory is passed as addresses (int64), so that calls stay cheap and a kernel serves any array; the
two typed arrays that the reducing kernels take say in which dtype data lies and is combined. Values
are combined in rank order, one element at a time, so that a result depends neither on how the data
is cut nor on who computes it.

Kernels that wait give up after a while and say so, and are called again to go on: the deadline, and
what Python does on a signal, are the caller's.
"""

import platform

import numpy as np
from llvmlite import ir
from numba import carray, njit, types
from numba.core import cgutils
from numba.extending import intrinsic, overload

LINE = 128  # bytes a rank has on the board: two cache lines, because processors fetch pairs of them
EPOCH, FINGERPRINT, OFFSET = 0, 8, 24  # in a line: barriers reached; by parity of the barrier, what the rank says
SUM, MIN, MAX, PRODUCT = range(4)
BLOCK = 4096  # items combined at a time: what is accumulated stays in the first-level cache
LONGEST_NAP = 1000  # microseconds

_I64 = ir.IntType(64)

_sched_yield = types.ExternalFunction("sched_yield", types.int32())
_usleep = types.ExternalFunction("usleep", types.int32(types.uint32))
_memcpy = types.ExternalFunction("memcpy", types.voidptr(types.voidptr, types.voidptr, types.uintp))

_jit = njit(nogil=True, cache=True, boundscheck=False, error_model="numpy")


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
def _pointer(typingctx, address):
    def codegen(context, builder, signature, args):
        return builder.inttoptr(args[0], cgutils.voidptr_t)

    return types.voidptr(types.int64), codegen


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


# -- meeting ------------------------------------------------------------------------------------


@_jit
def all_at(board, size, epoch, spins, yields, naps, nap):
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
def meet(board, size, epoch, spins, yields, naps, nap):
    """Whether all have arrived, and if so whether they say the same: 0 not yet, 1 the same, -1 not."""
    if not all_at(board, size, epoch, spins, yields, naps, nap):
        return 0
    word = FINGERPRINT + 8 * (epoch & 1)
    first = _load(board + word)
    for rank in range(1, size):
        if _load(board + rank * LINE + word) != first:
            return -1
    return 1


@_jit
def arrive(board, rank, epoch, fingerprint, offset, source, slot, length):
    """Copy `length` bytes from source to slot, say two things, and arrive at a barrier."""
    if length:
        _memcpy(_pointer(slot), _pointer(source), np.uintp(length))
    line = board + rank * LINE
    _store(line + FINGERPRINT + 8 * (epoch & 1), fingerprint)
    _store(line + OFFSET + 8 * (epoch & 1), offset)
    _store(line + EPOCH, epoch)


@_jit
def arrive_and_meet(board, rank, size, epoch, fingerprint, offset, source, slot, length, spins, yields, naps, nap):
    """`arrive`, then `meet`, for the price of one call."""
    arrive(board, rank, epoch, fingerprint, offset, source, slot, length)
    return meet(board, size, epoch, spins, yields, naps, nap)


@_jit
def epochs(board, size):
    """Which barrier each rank has reached."""
    reached = np.empty(size, np.int64)
    for rank in range(size):
        reached[rank] = _load(board + rank * LINE + EPOCH)
    return reached


# -- combining ----------------------------------------------------------------------------------


@_jit
def _take(total, data, start, count, scale):
    kind = total.dtype.type
    factor = kind(scale)
    if scale == 1.0:
        for i in range(np.uint64(count)):
            total[i] = _widen(data[np.uint64(start) + i], kind(0))
    else:
        for i in range(np.uint64(count)):
            total[i] = _widen(data[np.uint64(start) + i], kind(0)) * factor


@_jit
def _combine(total, data, start, count, op, scale):
    kind = total.dtype.type
    factor, start = kind(scale), np.uint64(start)
    if op == SUM:
        if scale == 1.0:
            for i in range(np.uint64(count)):
                total[i] += _widen(data[start + i], kind(0))
        else:
            for i in range(np.uint64(count)):
                total[i] += _widen(data[start + i], kind(0)) * factor
    elif op == PRODUCT:
        for i in range(np.uint64(count)):
            total[i] *= _widen(data[start + i], kind(0)) * factor
    elif op == MIN:
        for i in range(np.uint64(count)):
            a, b = total[i], _widen(data[start + i], kind(0)) * factor
            total[i] = a if (a < b or a != a) else b  # NaN wins
    else:
        for i in range(np.uint64(count)):
            a, b = total[i], _widen(data[start + i], kind(0)) * factor
            total[i] = a if (a > b or a != a) else b


@_jit
def _finish(total, count, scale, divisor):
    kind = total.dtype.type
    if scale != 1.0:
        factor = kind(scale)
        for i in range(np.uint64(count)):
            total[i] = total[i] * factor
    if divisor != 1.0:
        divided = kind(divisor)
        for i in range(np.uint64(count)):
            total[i] = kind(total[i] / divided)


@_jit
def _put(total, data, start, count):
    start = np.uint64(start)
    for i in range(np.uint64(count)):
        data[start + i] = _narrow(total[i], data[start + i])


@_jit
def _array(address, count, like):
    return carray(_pointer(address), (count,), like.dtype)


@_jit
def _reduce(sources, size, targets, count, total, like, op, scales):
    """Combine `count` items at each of `sources`, addresses by rank, and store them at each of `targets`."""
    done = 0
    while done < count:
        block = min(BLOCK, count - done)
        at = done * like.itemsize
        for rank in range(size):
            data = _array(sources[rank] + at, block, like)
            if rank == 0:
                _take(total, data, 0, block, scales[0])
            else:
                _combine(total, data, 0, block, op, scales[0])
        _finish(total, block, scales[1], scales[2])
        for target in targets:
            _put(total, _array(target + at, block, like), 0, block)
        done += block


@_jit
def reduce_all(sources, targets, offset, count, total, like, op, scales):
    """Combine `count` items, `offset` bytes from each source, and store them as far from each target.

    sources, targets: int64 addresses, sources by rank; total: BLOCK items of the dtype in which they
    are combined; like: any array of the dtype in which they lie; scales: prescale, postscale, divisor.
    """
    _reduce(sources + offset, len(sources), targets + offset, count, total, like, op, scales)


@_jit
def locate(board, size, epoch, bases, addresses):
    """Write where each rank's array lies, here; False if one lies in memory that is its own."""
    word = OFFSET + 8 * (epoch & 1)
    for rank in range(size):
        offset = _load(board + rank * LINE + word)
        if offset < 0:
            return False
        addresses[rank] = bases[rank] + offset
    return True


@_jit
def copy(target, source, count):
    """Copy `count` bytes from one address to another."""
    _memcpy(_pointer(target), _pointer(source), np.uintp(count))


@_jit
def exchange(
    board, rank, epoch, first, step, steps, data, bounds, width, boxes, total, like, op, scales, halves, patience
):
    """Reduce-scatter and/or allgather through boxes, from `step` on: the step it has come to.

    Window t of a rank's segment data[bounds[r]:bounds[r+1]] is `width` items. In step t a rank copies
    its own values of window t of all other segments to its inbox, reduces window t-1 of its own
    segment from all inboxes into its outbox, and copies window t-2 of the others from their outboxes;
    a barrier separates steps. Boxes have two halves, used in turn, so that one barrier a step is enough.

    boxes: addresses (2, size) of in- and outboxes by rank; halves: whether to reduce, whether to gather;
    patience: what `all_at` takes; the barrier before step t is number epoch + t, and there is none
    before the first.
    """
    size, item = len(bounds) - 1, like.itemsize
    sources = np.empty(size, np.int64)
    targets = np.empty(2 if halves[1] else 1, np.int64)
    for t in range(step, steps):
        if t > first and not all_at(board, size, epoch + t, patience[0], patience[1], patience[2], patience[3]):
            return t
        if halves[0]:
            inbox = boxes[0, rank] + (t & 1) * size * width * item
            for peer in range(size):
                start = bounds[peer] + t * width
                count = min(width, bounds[peer + 1] - start)
                if peer != rank and count > 0:
                    copy(inbox + peer * width * item, data + start * item, count * item)
        half = (t - 1) & 1
        start = bounds[rank] + (t - 1) * width
        count = min(width, bounds[rank + 1] - start)
        if t > 0 and count > 0:
            outbox = boxes[1, rank] + half * width * item
            if halves[0]:
                for peer in range(size):
                    sources[peer] = boxes[0, peer] + (half * size + rank) * width * item
                sources[rank] = targets[0] = data + start * item
                if halves[1]:
                    targets[1] = outbox
                _reduce(sources, size, targets, count, total, like, op, scales)
            else:
                copy(outbox, data + start * item, count * item)
        if halves[1] and t > 1:
            for turn in range(1, size):
                peer = (rank + turn) % size
                start = bounds[peer] + (t - 2) * width
                count = min(width, bounds[peer + 1] - start)
                if count > 0:
                    copy(data + start * item, boxes[1, peer] + (t & 1) * width * item, count * item)
        if t + 1 < steps:
            _store(board + rank * LINE + EPOCH, epoch + t + 1)
    return steps
