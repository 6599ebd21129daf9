# mypy: ignore-errors
# What numba compiles is typed by numba.
"""Vectors of the processor in compiled code, for loops that LLVM does not turn into vectors by itself.

Addresses are integers, distances are in bytes; a number `zero` says of which dtype the vectors are.

Importing it loads numba: import it only when used.
"""

import llvmlite.binding as llvm
from llvmlite import ir
from numba import carray, config, types
from numba.core import cgutils
from numba.extending import intrinsic

from .jit import jit
from .layout import DATA


def _registers() -> tuple[int, int]:
    """(bytes of a vector, how many of them there are registers for) on the processor that numba compiles for."""
    if config.CPU_FEATURES is None:
        features = {name for name, there in llvm.get_host_cpu_features().items() if there}
    else:  # NUMBA_CPU_FEATURES, as "+avx2,-fma"
        features = {name[1:] for name in config.CPU_FEATURES.split(",") if name.startswith("+")}
    if {"avx512f", "avx512vl"} <= features:
        return 64, 32
    if {"avx2", "fma"} <= features:
        return 32, 16
    return 16, 32 if "neon" in features else 16


BYTES, REGISTERS = _registers()
WORD, BYTE = ir.IntType(64), ir.IntType(8)
_INDEX = ir.IntType(32)


class Writer:
    """Writes vectors of one kind into the function that is being built."""

    def __init__(self, context, builder, kind):
        self.builder, self.item = builder, context.get_value_type(kind)
        self.size = kind.bitwidth // 8
        self.lanes = BYTES // self.size
        self.vector = ir.VectorType(self.item, self.lanes)
        self.suffix = f"v{self.lanes}f{kind.bitwidth}"

    def _call(self, name, result, *args):
        signature = ir.FunctionType(result, [a.type for a in args])
        return self.builder.call(cgutils.get_or_insert_function(self.builder.module, signature, name), args)

    def at(self, address, kind):
        return self.builder.inttoptr(address, kind.as_pointer())

    def masks(self, count, vectors):
        """For each of some vectors, which lanes lie before `count`."""
        b, word = self.builder, ir.VectorType(WORD, self.lanes)
        whole = self.spread(count, word)
        lanes = [ir.Constant(word, [v * self.lanes + i for i in range(self.lanes)]) for v in range(vectors)]
        return [b.icmp_signed("<", lane, whole) for lane in lanes]

    def spread(self, value, vector):
        """One number in every lane."""
        undefined = ir.Constant(vector, ir.Undefined)
        first = self.builder.insert_element(undefined, value, ir.Constant(_INDEX, 0))
        zeros = ir.Constant(ir.VectorType(_INDEX, self.lanes), [0] * self.lanes)
        return self.builder.shuffle_vector(first, undefined, zeros)

    def load(self, address):
        out = self.builder.load(self.at(address, self.vector))
        out.align = self.size
        return out

    def load_lanes(self, address, mask):
        at, align = self.at(address, self.vector), ir.Constant(_INDEX, self.size)
        name = f"llvm.masked.load.{self.suffix}.p0{self.suffix}"
        return self._call(name, self.vector, at, align, mask, ir.Constant(self.vector, [0.0] * self.lanes))

    def transposed(self, square):
        """The columns of a square matrix, given by its rows: log2(lanes) rounds that each shuffle pairs of rows."""
        for _ in range(self.lanes.bit_length() - 1):
            half, out = self.lanes // 2, []
            for x, y in zip(square[:half], square[half:], strict=True):
                for start in (0, half):  # x and y, a number of each in turn
                    picks = [start + i // 2 + self.lanes * (i % 2) for i in range(self.lanes)]
                    picks = ir.Constant(ir.VectorType(_INDEX, self.lanes), picks)
                    out.append(self.builder.shuffle_vector(x, y, picks))
            square = out
        return square

    def store_rows(self, rows, addresses, count, sure=0):
        """Rows of vectors, of each the first `count` numbers; the first `sure` vectors are known to be whole.

        One branch for all of them: AVX2 takes a dozen cycles for a masked store.
        """
        b, places = self.builder, [ir.Constant(WORD, v * BYTES) for v in range(len(rows[0]))]
        full = b.icmp_signed(">=", count, ir.Constant(WORD, self.lanes * len(places)))
        with b.if_else(full) as (then, otherwise):
            for block, certain in ((then, len(places)), (otherwise, sure)):
                with block:
                    masks = self.masks(count, len(places))
                    for row, address in zip(rows, addresses, strict=True):
                        for v, (value, place, mask) in enumerate(zip(row, places, masks, strict=True)):
                            if v < certain:
                                b.store(value, self.at(b.add(address, place), self.vector)).align = self.size
                            else:
                                self._store_lanes(value, b.add(address, place), mask)

    def _store_lanes(self, value, address, mask):
        at, align = self.at(address, self.vector), ir.Constant(_INDEX, self.size)
        self._call(f"llvm.masked.store.{self.suffix}.p0{self.suffix}", ir.VoidType(), value, at, align, mask)

    def multiply_add(self, x, y, z):
        return self._call(f"llvm.fma.{self.suffix}", self.vector, x, y, z)


@intrinsic
def size_of(typingctx, zero):
    """The bytes of a number."""

    def codegen(context, build, signature, args):
        return ir.Constant(WORD, zero.bitwidth // 8)

    return types.int64(zero), codegen


@intrinsic
def keep(typingctx, array):
    """Nothing; but the array is not freed before. numba frees one when its name, not its address, was last used."""

    def codegen(context, build, signature, args):
        return context.get_dummy_value()

    return types.void(array), codegen


@intrinsic
def number_at(typingctx, address):
    """The int64 at an address."""

    def codegen(context, build, signature, args):
        return build.load(build.inttoptr(args[0], WORD.as_pointer()))

    return types.int64(types.int64), codegen


@intrinsic
def pointer(typingctx, zero, address):
    """An address as one of numbers."""

    def codegen(context, build, signature, args):
        return build.inttoptr(args[1], context.get_value_type(signature.return_type))

    return types.CPointer(zero)(zero, types.int64), codegen


@intrinsic
def fetch(typingctx, address):
    """Ask for a line of memory to be brought to the core's own cache."""

    def codegen(context, build, signature, args):
        kinds = [BYTE.as_pointer(), _INDEX, _INDEX, _INDEX]
        function = ir.FunctionType(ir.VoidType(), kinds)
        line = build.inttoptr(args[0], BYTE.as_pointer())
        read, second, data = (ir.Constant(_INDEX, n) for n in (0, 2, 1))
        name = "llvm.prefetch.p0i8"
        build.call(cgutils.get_or_insert_function(build.module, function, name), [line, read, second, data])
        return context.get_dummy_value()

    return types.void(types.int64), codegen


@intrinsic
def copy(typingctx, zero, source, target):
    """Copy a vector."""

    def codegen(context, build, signature, args):
        w = Writer(context, build, zero)
        build.store(w.load(args[1]), w.at(args[2], w.vector)).align = w.size
        return context.get_dummy_value()

    return types.void(zero, types.int64, types.int64), codegen


@intrinsic
def move(typingctx, zero, source, target, count):
    """Copy a vector's first `count` numbers; zeros behind them, to the end of the vector."""

    def codegen(context, build, signature, args):
        w = Writer(context, build, zero)
        value = w.load_lanes(args[1], w.masks(args[3], 1)[0])
        build.store(value, w.at(args[2], w.vector)).align = w.size
        return context.get_dummy_value()

    return types.void(zero, types.int64, types.int64, types.int64), codegen


@intrinsic
def put(typingctx, zero, source, target, count):
    """Copy a vector's first `count` numbers; what lies behind them stays."""

    def codegen(context, build, signature, args):
        w = Writer(context, build, zero)
        value = w.load_lanes(args[1], w.masks(args[3], 1)[0])
        w.store_rows([[value]], [args[2]], args[3])
        return context.get_dummy_value()

    return types.void(zero, types.int64, types.int64, types.int64), codegen


def _put_turned(w, square, target, gap):
    """The columns of a square of vectors, given by its rows, as vectors that lie `gap` bytes apart."""
    for i, row in enumerate(w.transposed(square)):
        place = w.builder.add(target, w.builder.mul(ir.Constant(WORD, i), gap))
        w.builder.store(row, w.at(place, w.vector)).align = w.size


@intrinsic
def _turn_part(typingctx, zero, source, distance, rows, columns, target, gap):
    def codegen(context, build, signature, args):
        w = Writer(context, build, zero)
        _, source, distance, rows, columns, target, gap = args
        mask, nothing = w.masks(columns, 1)[0], ir.Constant(ir.VectorType(ir.IntType(1), w.lanes), [0] * w.lanes)
        square = []
        for i in range(w.lanes):
            i = ir.Constant(WORD, i)
            there = build.select(build.icmp_signed("<", i, rows), mask, nothing)
            square.append(w.load_lanes(build.add(source, build.mul(i, distance)), there))
        _put_turned(w, square, target, gap)
        return context.get_dummy_value()

    return types.void(zero, *[types.int64] * 6), codegen


@intrinsic
def _turn_whole(typingctx, zero, source, distance, target, gap):
    def codegen(context, build, signature, args):
        w = Writer(context, build, zero)
        _, source, distance, target, gap = args
        places = [build.add(source, build.mul(ir.Constant(WORD, i), distance)) for i in range(w.lanes)]
        _put_turned(w, [w.load(place) for place in places], target, gap)
        return context.get_dummy_value()

    return types.void(zero, *[types.int64] * 4), codegen


def _control(context, build, word=None):
    """Reads the processor's word about floats, and writes another, where that is known to help: on x86."""
    if not str(build.module.triple).startswith(("x86_64", "i686")):
        return ir.Constant(_INDEX, 0)
    place = cgutils.alloca_once(build, _INDEX)
    at = build.bitcast(place, BYTE.as_pointer())
    function = ir.FunctionType(ir.VoidType(), [BYTE.as_pointer()])
    if word is not None:
        build.store(word, place)
    name = "llvm.x86.sse.stmxcsr" if word is None else "llvm.x86.sse.ldmxcsr"
    build.call(cgutils.get_or_insert_function(build.module, function, name), [at])
    return build.load(place)


@intrinsic
def tiny_as_zero(typingctx, wanted):
    """From here on, if `wanted`, this thread takes numbers below the smallest normal one for zeros; what to `restore`.

    A processor needs many times longer for them. Where it is not known how to say so, nothing changes.
    """

    def codegen(context, build, signature, args):
        before = _control(context, build)
        both = ir.Constant(_INDEX, 1 << 15 | 1 << 6)  # results are flushed to zero; operands are taken for zeros
        _control(context, build, build.select(args[0], build.or_(before, both), before))
        return before

    return types.int32(types.boolean), codegen


@intrinsic
def restore(typingctx, before):
    """The thread treats small numbers as before `tiny_as_zero`."""

    def codegen(context, build, signature, args):
        _control(context, build, args[0])
        return context.get_dummy_value()

    return types.void(types.int32), codegen


@jit
def turn(zero, source, distance, rows, columns, target, gap):
    """Transpose a square of as many rows as a vector has lanes; zeros in place of what lies past rows and columns."""
    lanes = BYTES // size_of(zero)
    if rows >= lanes and columns >= lanes:
        _turn_whole(zero, source, distance, target, gap)
    else:
        _turn_part(zero, source, distance, rows, columns, target, gap)


@jit
def data_of(array):
    """The address of an array's data, from its id: an array itself takes numba longer to look into."""
    return number_at(array + DATA)


@jit
def numbers_of(zero, array, size):
    """The first `size` numbers of an array, from its id."""
    return carray(pointer(zero, data_of(array)), size)


@jit
def matrix_of(zero, array, rows, columns):
    """A contiguous matrix, from the id of its array."""
    return carray(pointer(zero, data_of(array)), (rows, columns))
