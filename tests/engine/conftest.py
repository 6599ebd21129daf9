"""The table of ops: one row for each public op, with NumPy's answer and inputs that avoid its kinks.

A test that takes `row` runs once for every row, one that takes `grad_row` for every row that has gradients; `rows`
is all of them. The rows of a family are the list ROWS of its file, `rows_*.py`.
"""

import numpy as np
import pytest

from . import (
    rows_activations,
    rows_blocks,
    rows_elementwise,
    rows_equations,
    rows_linalg,
    rows_loss,
    rows_reduce,
    rows_shape,
    rows_spatial,
)

ROWS = [
    *rows_elementwise.ROWS,
    *rows_activations.ROWS,
    *rows_reduce.ROWS,
    *rows_shape.ROWS,
    *rows_blocks.ROWS,
    *rows_linalg.ROWS,
    *rows_equations.ROWS,
    *rows_loss.ROWS,
    *rows_spatial.ROWS,
]
# what a row is known by in rt or rt.nn, though it makes no tensor from tensors of floats
COVERED_ELSEWHERE = {"one_hot", "allclose", "arange", "full", "ones", "ones_like", "zeros", "zeros_like", "dropout"}
COVERED_ELSEWHERE |= {"alpha_dropout", "nms", "batched_nms"}
COVERED_ELSEWHERE |= {"full_like", "linspace", "eye", "rand", "randn", "randint", "permutation", "bernoulli"}
COVERED_ELSEWHERE |= {"unique", "bincount", "searchsorted", "nonzero", "argwhere", "histogram"}
COVERED_ELSEWHERE |= {"tril_indices", "triu_indices", "float_power", "logspace", "rand_like", "randn_like"}
COVERED_ELSEWHERE |= {"multinomial", "gumbel_softmax"}
COVERED_ELSEWHERE |= {"rnn", "lstm", "gru", "ctc_loss", "sinusoids"}
NOT_OPS = {"Tensor", "tensor", "from_numpy", "Function", "backward", "grad", "gradcheck", "seed"} | {
    "set_default_device",
    "enable_grad",
    "is_grad_enabled",
    "no_grad",
    "inference",
    "recompute",
    "recompute_sequential",
    "detect_anomaly",
}


def pytest_generate_tests(metafunc):
    chosen = {"row": ROWS, "grad_row": [r for r in ROWS if r.grad]}
    for name in chosen.keys() & set(metafunc.fixturenames):
        metafunc.parametrize(name, chosen[name], ids=[r.name for r in chosen[name]])


@pytest.fixture
def rows():
    return ROWS


@pytest.fixture
def not_in_table():
    return COVERED_ELSEWHERE | NOT_OPS


@pytest.fixture
def rng():
    return np.random.default_rng(7)
