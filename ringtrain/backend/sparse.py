# mypy: ignore-errors
# What numba compiles is typed by numba.
"""A convolution's gradients where the output's gradient is mostly zeros, as max pooling and ReLU leave it.

Each number that is not zero adds its multiple of a run of the image to the weight's gradient, and of the weight to the
image's. Sums stay in registers for all numbers of a channel, or of a place.

Importing it loads numba: import it only when used.
"""

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from .jit import jit
from .vectors import BYTES, REGISTERS, WORD, Writer, size_of

LONGEST = 12 if REGISTERS == 32 else 8  # vectors of sums at a time


def _combination(vectors):
    """The intrinsic for runs of up to that many vectors, and of more than that less two."""

    @intrinsic
    def combine(typingctx, zero, target, columns, source, offsets, values, count):
        def codegen(context, build, signature, args):
            w = Writer(context, build, zero)
            _, target, columns, source, offsets, values, count = args
            masks = w.masks(columns, vectors)[-2:]  # of the last two; those before are full
            places = [ir.Constant(WORD, v * BYTES) for v in range(vectors)]
            plain, last = places[:-2], list(zip(places[-2:], masks, strict=True))
            first = [w.load(build.add(target, p)) for p in plain]
            first += [w.load_lanes(build.add(target, p), mask) for p, mask in last]
            before, loop, done = build.block, build.append_basic_block("number"), build.append_basic_block("done")
            build.branch(loop)

            build.position_at_end(loop)
            i, sums = build.phi(WORD), [build.phi(w.vector) for _ in first]
            there = build.add(source, build.load(build.gep(w.at(offsets, WORD), [i])))
            factor = w.spread(build.load(build.gep(w.at(values, w.item), [i])), w.vector)
            terms = [w.load(build.add(there, p)) for p in plain]
            terms += [w.load_lanes(build.add(there, p), mask) for p, mask in last]
            new = [w.multiply_add(factor, term, old) for term, old in zip(terms, sums, strict=True)]
            following = build.add(i, ir.Constant(WORD, 1))
            build.cbranch(build.icmp_signed("<", following, count), loop, done)
            i.add_incoming(ir.Constant(WORD, 0), before)
            i.add_incoming(following, loop)
            for phi, initial, again in zip(sums, first, new, strict=True):
                phi.add_incoming(initial, before)
                phi.add_incoming(again, loop)

            build.position_at_end(done)
            w.store_rows([new], [target], columns, len(plain))
            return context.get_dummy_value()

        return types.void(zero, *[types.int64] * 6), codegen

    return combine


_combine_2, _combine_4, _combine_6 = _combination(2), _combination(4), _combination(6)
_combine_8, _combine_10, _combine_12 = _combination(8), _combination(10), _combination(12)


@jit
def _combine(zero, target, columns, source, offsets, values, count):
    """target[:columns] += the sum over i < count of values[i] times what lies at source + offsets[i]; not for none."""
    lanes = BYTES // size_of(zero)
    vectors = -(-columns // lanes)
    blocks = -(-vectors // LONGEST)
    each = -(-vectors // blocks)
    for j in range(0, vectors, each):
        left = min(columns - j * lanes, each * lanes)
        at = (zero, target + j * BYTES, left, source + j * BYTES, offsets, values, count)
        many = -(-left // lanes)
        if many <= 2:
            _combine_2(*at)
        elif many <= 4:
            _combine_4(*at)
        elif many <= 6:
            _combine_6(*at)
        elif many <= 8:
            _combine_8(*at)
        elif many <= 10:
            _combine_10(*at)
        else:
            _combine_12(*at)


@jit
def share_of_numbers(x):
    """How much of a vector is not zero."""
    count = 0
    for i in range(x.size):
        count += x[i] != 0
    return count / max(1, x.size)


@jit
def weigh_numbers(zero, images, distance, grads, places, runs, length, out):
    """out (outputs, runs times length) += what each number of grads (N, places, outputs) makes of its image's runs.

    images: the address of the first; places: where each place's runs begin in an image, to which `runs` are added
    """
    n, many, outputs = grads.shape
    values, offsets = np.empty((outputs, many + 1), out.dtype), np.empty((outputs, many + 1), np.int64)
    counts = np.empty(outputs, np.int64)
    for i in range(n):
        counts[:] = 0
        for p in range(many):  # every number is written, and written over by the next where it is zero
            for o in range(outputs):
                k, g = counts[o], grads[i, p, o]
                values[o, k], offsets[o, k] = g, places[p]
                counts[o] = k + (g != 0)
        for o in range(outputs):
            if counts[o]:
                for r in range(len(runs)):
                    target = out[o, r * length :].ctypes.data
                    source = images + i * distance + runs[r]
                    at = (offsets[o].ctypes.data, values[o].ctypes.data, counts[o])
                    _combine(zero, target, length, source, *at)


@jit
def spread_numbers(zero, images, distance, grads, places, runs, length, weight):
    """Add to the runs of each image's places what each number of grads makes of weight (outputs, runs times length)."""
    n, many, outputs = grads.shape
    values, offsets = np.empty(outputs + 1, weight.dtype), np.empty(outputs + 1, np.int64)
    for i in range(n):
        for p in range(many):
            k = 0
            for o in range(outputs):
                g = grads[i, p, o]
                values[k], offsets[k] = g, o * weight.strides[0]
                k += g != 0
            if k:
                for r in range(len(runs)):
                    target = images + i * distance + places[p] + runs[r]
                    source = weight[0, r * length :].ctypes.data
                    _combine(zero, target, length, source, offsets.ctypes.data, values.ctypes.data, k)
