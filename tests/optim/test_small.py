"""Numbers that are small for their dtype: 16-bit floats, and what is below the smallest normal number."""

import platform
from functools import partial

import ml_dtypes
import numpy as np
import pytest

import ringtrain as rt
from ringtrain import nn, optim
from ringtrain.backend.jit import available

from ..arrays import on_host
from .conftest import parameters, values

TINY = np.finfo(np.float32).tiny
needs_control = pytest.mark.skipif(
    platform.machine() != "x86_64" or not available(), reason="where compiled loops take tiny numbers for zeros"
)


@needs_control
@pytest.mark.parametrize("make", [optim.Adam, optim.Adamax, optim.NAdam, partial(optim.SGD, lr=0.1, momentum=0.9)])
def test_a_mean_of_gradients_that_have_ended_ends_at_zero(make):
    """In steps of rounding it would stay at the smallest number there is, for good, and each step take longer."""
    (p,) = params = parameters(np.float32, [(1000,)])
    optimizer = make(params)
    for step in range(1200):
        p.grad = np.full(1000, 1e-36 if step < 3 else 0.0, np.float32)
        optimizer.step()
    for name, mean in optimizer.state_dict()["state"][0].items():
        mean = np.abs(on_host(mean))
        assert ((mean == 0) | (mean >= TINY)).all(), name
    assert np.float32(TINY) / np.float32(2) > 0  # outside of the loop they are numbers


def test_a_sign_is_that_of_the_smallest_number_too():
    for make, moves in ((optim.Lion, 1e-4), (optim.Rprop, 0.01)):
        (p,) = params = parameters(np.float32, [(1000,)])
        start = values(params)[0]
        p.grad = np.full(1000, 1e-42, np.float32)
        make(params).step()
        np.testing.assert_allclose(start - values(params)[0], moves, atol=1e-6)


@pytest.mark.parametrize("make", [optim.Adam, optim.NAdam, optim.RMSprop, optim.Adagrad, optim.LAMB])
def test_a_root_of_the_smallest_squares_divides(make):
    """Without eps the squares of 1e-18 in float32 are all there is to divide by."""
    (p,) = params = parameters(np.float32, [(1000,)])
    start = values(params)[0].astype(np.float64)
    optimizer = make(params, lr=1e-3, eps=0.0)
    for _ in range(3):
        p.grad = np.full(1000, 1e-18, np.float32)
        optimizer.step()
    moved = np.abs(values(params)[0] - start)
    assert (moved > 5e-4).all() and (moved < 0.1).all()


@pytest.mark.parametrize("dtype", [np.float16, ml_dtypes.bfloat16])
@pytest.mark.parametrize("make", [optim.Adam, optim.AdamW, optim.RMSprop])
def test_small_gradients_in_sixteen_bits(make, dtype):
    """1e-4 squared, and eps, are 0 in float16; a gradient of 0 must move nothing."""
    params = parameters(dtype, [(64,)])
    start = values(params)[0].astype(np.float64)
    optimizer = make(params, lr=0.25, weight_decay=0.0)
    params[0].grad = np.where(np.arange(64) % 2, 1e-4, 0.0).astype(dtype)
    optimizer.step()
    moved = start - values(params)[0].astype(np.float64)
    length = 0.25 / np.sqrt(0.01) if make is optim.RMSprop else 0.25
    assert (moved[::2] == 0).all()
    np.testing.assert_allclose(moved[1::2], length, rtol=0, atol=6 * float(ml_dtypes.finfo(dtype).eps))


@pytest.mark.parametrize("dtype", [np.float16, ml_dtypes.bfloat16])
def test_updates_too_small_for_sixteen_bits_add_up(dtype):
    p = nn.Parameter(rt.from_numpy(np.ones(100).astype(dtype)))
    sgd = optim.SGD([p], lr=1e-5)
    for _ in range(5000):  # one alone is far below a unit in the last place of 1
        p.grad = np.ones(100).astype(dtype)
        sgd.step()
    np.testing.assert_allclose(values([p])[0].astype(np.float64), 0.95, rtol=float(ml_dtypes.finfo(dtype).eps))


def test_a_sixteen_bit_parameter_that_somebody_wrote_is_taken_as_it_is():
    p = nn.Parameter(rt.from_numpy(np.ones(4, np.float16)))
    sgd = optim.SGD([p], lr=1e-4)
    p.grad = np.ones(4, np.float16)
    sgd.step()
    p.data = rt.from_numpy(np.array([1, 2, 3, 1], np.float16))
    p.grad = np.ones(4, np.float16)
    sgd.step()
    master = sgd.state_dict()["state"][0]["master"]
    np.testing.assert_allclose(on_host(master), np.array([1 - 2e-4, 2 - 1e-4, 3 - 1e-4, 1 - 2e-4]), rtol=1e-6)
