"""The matrix products of a training step: found by running its forward pass on shapes alone, timed without the rest."""

import math
import time
from collections import Counter

import numpy as np

from ringtrain.watch import Watcher, unwatch, watch


class Products(Watcher):
    """Counts the products (batch, M, K) @ (batch, K, N) of what runs while this watches, and those of its backward.

    found  (batch, M, K, N) -> how often. A convolution is one product of the columns that its kernel sees, for each
           group; a weight's gradient is one product over all its uses.
    """

    def __init__(self):
        self.found, self._rows, self._weights = Counter(), Counter(), []

    def end_op(self, name, inputs, result):
        if name not in ("linear", "matmul", "conv2d"):
            return
        a, b, *_ = inputs
        if name == "linear":
            batch, m, k, n = 1, math.prod(a.shape[:-1]), a.shape[-1], b.shape[0]
        elif name == "matmul":
            batch, m, k, n = math.prod(result.shape[:-2]), *a.shape[-2:], b.shape[-1]
        else:
            batch, k = a.shape[1] // b.shape[1], math.prod(b.shape[1:])
            m, n = result.shape[0] * math.prod(result.shape[2:]), b.shape[0] // batch
        self.found[batch, m, k, n] += 1
        if a.requires_grad:
            self.found[batch, m, n, k] += 1
        if b.requires_grad:
            self._weights.append(b)  # held, so that its id stays its own
            self._rows[id(b), batch, k, n] += m

    def __enter__(self):
        watch(self)
        return self

    def __exit__(self, *exc):
        unwatch(self)
        for (_, batch, k, n), m in self._rows.items():
            self.found[batch, k, m, n] += 1


def timed(net, x):
    """What `make` of serve.py gives, for the products of a training step of the network on x, both on device "meta"."""
    with Products() as products:
        net(x)
    work = [(_fastest(*shape), count) for shape, count in products.found.items()]

    def step():
        for (a, b, out), count in work:
            for _ in range(count):
                np.matmul(a, b, out=out)
        return 0.0

    return step, {"flop": sum(2 * math.prod(shape) * count for shape, count in products.found.items())}


def _fastest(batch, m, k, n):
    """(a, b, out) for np.matmul: the product or its transpose, whichever takes less time."""
    return min((_operands(batch, m, k, n), _operands(batch, n, k, m)), key=_seconds)


def _operands(batch, m, k, n):
    rng = np.random.default_rng(0)
    lead = (batch,) if batch > 1 else ()
    a, b = (rng.standard_normal((*lead, *shape), np.float32) for shape in ((m, k), (k, n)))
    return a, b, np.empty((*lead, m, n), np.float32)


def _seconds(operands):
    """The least of a few runs."""
    times = []
    for _ in range(4):
        start = time.perf_counter()
        np.matmul(operands[0], operands[1], out=operands[2])
        times.append(time.perf_counter() - start)
    return min(times)
