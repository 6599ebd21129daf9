# mypy: ignore-errors
# What numba compiles is typed by numba.
"""Compiled loops over the rows of contiguous matrices: softmax and what is made of it, gated units, the first few.

A row is gone through several times, while the cache has it. Sums are taken in the order of vectors, the same at every
call. Importing it loads numba: import it only when used.
"""

import numpy as np
from numba import carray, types
from numba.extending import overload

from .cpu_math import decay, sigmoid_in
from .jit import jit
from .spin import add
from .vectors import matrix_of, number_at, numbers_of, pointer


def largest(row):
    """The largest element of a row; nan or any number where there is a nan.

    By the order of the bits as integers, those of negative numbers turned about: vector code then needs no promise
    that no element is nan.
    """
    raise NotImplementedError


@overload(largest, jit_options={"nogil": True})
def _largest(row):
    number = row.dtype
    whole = np.int32 if number == types.float32 else np.int64
    floating = np.float32 if number == types.float32 else np.float64
    shift, rest, lowest = whole(number.bitwidth - 1), whole(np.iinfo(whole).max), whole(np.iinfo(whole).min)

    def run(row):
        bits, top = row.view(whole), lowest
        for j in range(np.uint64(bits.size)):
            top = max(top, whole(bits[j] ^ ((bits[j] >> shift) & rest)))
        return whole(top ^ ((top >> shift) & rest)).view(floating)

    return run


@jit(reorder=True, contract=True)
def total(row):
    s = row.dtype.type(0)
    for j in range(np.uint64(row.size)):
        s += row[j]
    return s


@jit
def sum_of_rows(x, first, out):
    """Of some columns from `first` on; row after row, as NumPy adds them."""
    out[:] = 0
    for i in range(len(x)):
        row = x[i, first : first + out.size]
        for j in range(np.uint64(out.size)):
            out[j] += row[j]


@jit(reorder=True, contract=True)
def inner(a, b):
    s = a.dtype.type(0)
    for j in range(np.uint64(a.size)):
        s += a[j] * b[j]
    return s


@jit(contract=True)
def _exps(x, tops, out):
    """exp of each row less its largest element, by one loop over all rows: one may be narrower than a vector."""
    for i in range(len(x)):
        row, to = x[i], out[i]
        top = tops[i] = largest(row)
        for j in range(np.uint64(row.size)):
            to[j] = row[j] - top
    flat = out.reshape(-1)
    for j in range(np.uint64(flat.size)):
        flat[j] = decay(flat[j])


@jit
def _rows_at_once(x):
    """As many rows as the nearest cache keeps."""
    return max(1, 2048 // max(1, x.shape[1]))


@jit(contract=True)
def softmax(x, out):
    step = _rows_at_once(x)
    tops = np.empty(step, x.dtype)
    for first in range(0, len(x), step):
        some = out[first : first + step]
        _exps(x[first : first + step], tops, some)
        for i in range(len(some)):
            to = some[i]
            scale = x.dtype.type(1) / total(to)
            for j in range(np.uint64(to.size)):
                to[j] *= scale


@jit(contract=True)
def softmax_back(g, out, gx):
    for i in range(len(g)):
        head, value, to = g[i], out[i], gx[i]
        mean = inner(head, value)
        for j in range(np.uint64(to.size)):
            to[j] = value[j] * (head[j] - mean)


@jit(contract=True)
def log_softmax(x, out):
    step = _rows_at_once(x)
    tops, room = np.empty(step, x.dtype), np.empty((min(step, len(x)), x.shape[1]), x.dtype)
    for first in range(0, len(x), step):
        some = x[first : first + step]
        _exps(some, tops, room[: len(some)])
        for i in range(len(some)):
            row, to, top, log = some[i], out[first + i], tops[i], np.log(total(room[i]))
            for j in range(np.uint64(to.size)):
                to[j] = row[j] - top - log


@jit(contract=True)
def log_softmax_back(g, out, gx):
    for i in range(len(g)):
        head, value, to = g[i], out[i], gx[i]
        whole = total(head)
        for j in range(np.uint64(to.size)):
            to[j] = head[j] - decay(value[j]) * whole


@jit
def count_labels(labels, classes, ignored):
    """(how many labels are not `ignored`, the place of the first that is neither that nor a class, or -1)."""
    counted = 0
    for i in range(labels.size):
        label = labels[i]
        if label != ignored:
            if label < 0 or label >= classes:
                return counted, i
            counted += 1
    return counted, -1


@jit(contract=True)
def cross_entropy(logits, labels, ignored, weights, losses):
    """weights: the softmax of the logits; losses: -log of that of each label. Both 0 for a label that is `ignored`."""
    step, zero = _rows_at_once(logits), logits.dtype.type(0)
    tops = np.empty(step, logits.dtype)
    for first in range(0, len(logits), step):
        some, exps = logits[first : first + step], weights[first : first + step]
        _exps(some, tops, exps)
        for i in range(len(some)):
            label, to = labels[first + i], exps[i]
            if label == ignored:
                losses[first + i] = zero
                to[:] = zero
                continue
            whole = total(to)
            losses[first + i] = np.log(whole) - (some[i, label] - tops[i])
            scale = logits.dtype.type(1) / whole
            for j in range(np.uint64(to.size)):
                to[j] *= scale


@jit(contract=True)
def cross_entropy_back(weights, labels, ignored, g, gx):
    flat, out = weights.reshape(-1), gx.reshape(-1)
    for j in range(np.uint64(flat.size)):
        out[j] = flat[j] * g
    for i in range(len(labels)):
        if labels[i] != ignored:
            gx[i, labels[i]] -= g


@jit
def sum64(row):
    """The sum of a row of numbers, in float64."""
    s = 0.0
    for j in range(row.size):
        s += row[j]
    return s


@jit
def cross_entropy_of(zero, n, width, ignored, logits, labels, weights):
    """`cross_entropy` of contiguous arrays by ids, labels int64; the sum of the losses, in float64."""
    to = matrix_of(zero, weights, n, width)
    losses = np.empty(n, to.dtype)
    cross_entropy(matrix_of(zero, logits, n, width), numbers_of(np.int64(0), labels, n), ignored, to, losses)
    return sum64(losses)


@jit
def cross_entropy_back_of(g, n, width, ignored, weights, labels, gx):
    """`cross_entropy_back` of contiguous arrays by ids, labels int64; g, a number, is of the others' dtype."""
    kept, to = matrix_of(g, weights, n, width), matrix_of(g, gx, n, width)
    cross_entropy_back(kept, numbers_of(np.int64(0), labels, n), ignored, g, to)


@jit(contract=True)
def glu(x, out):
    n = out.shape[1]
    for i in range(len(x)):
        a, b, to = x[i, :n], x[i, n:], out[i]
        for j in range(np.uint64(n)):
            to[j] = a[j] * sigmoid_in(None, b[j])


@jit(contract=True)
def glu_back(g, x, gx):
    one, n = x.dtype.type(1), g.shape[1]
    for i in range(len(x)):
        head, a, b, to_a, to_b = g[i], x[i, :n], x[i, n:], gx[i, :n], gx[i, n:]
        for j in range(np.uint64(n)):
            s = sigmoid_in(None, b[j])
            to_a[j] = head[j] * s
            to_b[j] = head[j] * a[j] * s * (one - s)


@jit
def top_k(x, descending, index):
    """The places of the first few in order, of equals the first one first; nan is larger than all numbers."""
    k = index.shape[1]
    best = np.empty(k, x.dtype)
    for i in range(len(x)):
        row, places = x[i], index[i]
        have = 0
        for j in range(row.size):
            value = row[j]
            if have == k and not _before(value, best[k - 1], descending):
                continue
            at = have if have < k else k - 1
            while at > 0 and _before(value, best[at - 1], descending):
                best[at], places[at] = best[at - 1], places[at - 1]
                at -= 1
            best[at], places[at] = value, j
            have = min(k, have + 1)


@jit
def _before(a, b, descending):
    if descending:
        return a > b or (a != a and b == b)
    return a < b or (a == a and b != b)


@jit(reorder=True, contract=True)
def _decays(row, top):
    """exp of a row less its largest element, in place; returns their sum."""
    whole = row.dtype.type(0)
    for j in range(np.uint64(row.size)):
        share = decay(row[j] - top)
        row[j] = share
        whole += share
    return whole


@jit(contract=True)
def attend(scores, first, queries, causal):
    """The softmax of scores, in place; row i is of the query first + i mod queries.

    causal: a query looks at no later key. A row in which nothing may be looked at becomes zeros.
    """
    keys, zero = scores.shape[1], scores.dtype.type(0)
    for i in range(len(scores)):
        seen = min(keys, first + i % queries + 1) if causal else keys
        row = scores[i, :seen]
        top = largest(row)
        if top == -np.inf:
            row[:] = zero
        else:
            share = scores.dtype.type(1) / _decays(row, top)
            for j in range(np.uint64(seen)):
                row[j] *= share
        scores[i, seen:] = zero


@jit(contract=True)
def attend_back(weights, d):
    """The gradient of the scores from that of their softmax, in place."""
    for i in range(len(d)):
        value, to = weights[i], d[i]
        mean = inner(value, to)
        for j in range(np.uint64(to.size)):
            to[j] = value[j] * (to[j] - mean)


@jit
def _matrix(zero, address, rows, columns):
    return carray(pointer(zero, address), (rows, columns))


@jit
def attend_shares(zero, given):
    """`attend` on ranges of rows that other threads leave.

    given: the address of int64: the scores, their rows and keys, `first`, `queries`, `causal`, and the ranges taken.
    """
    scores = _matrix(zero, number_at(given), number_at(given + 8), number_at(given + 16))
    first, queries, causal = number_at(given + 24), number_at(given + 32), number_at(given + 40)
    i = add(given + 48, 1) * queries
    while i < len(scores):
        attend(scores[i : i + queries], first, queries, causal != 0)
        i = add(given + 48, 1) * queries


@jit
def attend_back_shares(zero, given):
    """`attend_back` likewise; given: the weights, their gradient, rows, keys, rows at a time, and the ranges taken."""
    rows, keys, high = number_at(given + 16), number_at(given + 24), number_at(given + 32)
    weights, d = _matrix(zero, number_at(given), rows, keys), _matrix(zero, number_at(given + 8), rows, keys)
    i = add(given + 40, 1) * high
    while i < rows:
        attend_back(weights[i : i + high], d[i : i + high])
        i = add(given + 40, 1) * high
