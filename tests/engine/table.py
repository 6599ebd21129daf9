"""What the table of ops is made of: a row, the shapes that rows are tried on, and references that several share.

The rows themselves are in `rows_*.py`, one file a family; `conftest.py` hands them to the tests.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

UNARY = [((13,),), ((3, 17),), ((),), ((0, 4),)]
BINARY = [((13,), (13,)), ((3, 1), (1, 4)), ((), (5,)), ((2, 0), (1,)), ((), ()), ((4, 1, 3), (2, 1))]
REDUCED = [((13,),), ((3, 4, 5),)]
MATRIX = [((13, 17),), ((1, 4),)]

CORNER = np.array([[2, 0], [1, 1]])
MASK = np.arange(20).reshape(4, 5) % 3 == 0
ORDER = np.array([2, 0, 2, 1])


@dataclass
class Row:
    """One op.

    name       its public name, and what tells variants apart after a "/"
    f, ref     on tensors, on NumPy arrays
    shapes     for each case the shapes of the inputs
    domain     where the inputs' values lie
    grad       whether it has gradients
    """

    name: str
    f: Callable
    ref: Callable
    shapes: list
    domain: tuple = (-2.0, 2.0)
    grad: bool = True

    def cases(self, dtype=np.float64):
        """Arrays for each case, in the domain, no two values alike."""
        for k, shapes in enumerate(self.shapes):
            rng = np.random.default_rng(100 + k)
            yield [rng.uniform(*self.domain, shape).astype(dtype) for shape in shapes]


def erf(x):
    return np.vectorize(math.erf, otypes=[float])(x)


def softmax(x, axis=-1):
    e = np.exp(x - x.max(axis, keepdims=True))
    return e / e.sum(axis, keepdims=True)
