"""Each optimiser against its formulas, and against PyTorch where it is installed."""

import ml_dtypes
import numpy as np
import pytest

from ringtrain import optim

from . import references
from .conftest import STEPS, normal, parameters, set_gradients, values

CASES = {
    "sgd": (optim.SGD, references.sgd, "SGD", {"lr": 0.1}),
    "sgd momentum": (optim.SGD, references.sgd, "SGD", {"lr": 0.1, "momentum": 0.9}),
    "sgd nesterov": (optim.SGD, references.sgd, "SGD", {"lr": 0.1, "momentum": 0.8, "nesterov": True}),
    "sgd all": (
        *(optim.SGD, references.sgd, "SGD"),
        {"lr": 0.05, "momentum": 0.9, "dampening": 0.3, "weight_decay": 0.1},
    ),
    "sgd nesterov decay": (
        *(optim.SGD, references.sgd, "SGD"),
        {"lr": 0.05, "momentum": 0.9, "weight_decay": 0.1, "nesterov": True},
    ),
    "adam": (optim.Adam, references.adam, "Adam", {}),
    "adam all": (
        optim.Adam,
        references.adam,
        "Adam",
        {"lr": 0.02, "betas": (0.7, 0.95), "eps": 1e-3, "weight_decay": 0.1},
    ),
    "adamw": (optim.AdamW, references.adamw, "AdamW", {"lr": 0.05}),
    "adamw all": (
        *(optim.AdamW, references.adamw, "AdamW"),
        {"lr": 0.02, "betas": (0.7, 0.95), "eps": 1e-3, "weight_decay": 0.2},
    ),
    "rmsprop": (optim.RMSprop, references.rmsprop, "RMSprop", {}),
    "rmsprop centered": (optim.RMSprop, references.rmsprop, "RMSprop", {"alpha": 0.9, "centered": True}),
    "rmsprop momentum": (optim.RMSprop, references.rmsprop, "RMSprop", {"momentum": 0.5}),
    "rmsprop all": (
        *(optim.RMSprop, references.rmsprop, "RMSprop"),
        {"lr": 0.02, "alpha": 0.9, "eps": 1e-3, "weight_decay": 0.1, "momentum": 0.9, "centered": True},
    ),
}
case = pytest.mark.parametrize("name", CASES)


def run(make, options, dtype):
    params = parameters(dtype)
    optimizer = make(params, **options)
    for step in range(STEPS):
        set_gradients(params, step)
        optimizer.step()
    return values(params)


def by_formula(reference, options, dtype=np.float64):
    """In float64, from the values and gradients that a run in dtype starts from."""
    arrays = [v.astype(np.float64) for v in values(parameters(dtype))]
    states = [{} for _ in arrays]
    for step in range(STEPS):
        for i, a in enumerate(arrays):
            g = normal(a.shape, 100 + step, i).astype(dtype).astype(np.float64)
            arrays[i] = reference(a, g, states[i], step + 1, **options)
    return arrays


@case
@pytest.mark.parametrize("kernels", [True, False])
def test_float64_follows_the_formulas(name, kernels, request):
    if not kernels:
        request.getfixturevalue("without_kernels")
    make, reference, _, options = CASES[name]
    for got, exact in zip(run(make, options, np.float64), by_formula(reference, options), strict=True):
        # each of the 20 steps rounds some ten times; nothing here is badly conditioned
        np.testing.assert_allclose(got, exact, rtol=0, atol=STEPS * 100 * 2.0**-53 * 10)


@case
@pytest.mark.parametrize("kernels", [True, False])
def test_float32_follows_within_rounding(name, kernels, request):
    if not kernels:
        request.getfixturevalue("without_kernels")
    make, reference, _, options = CASES[name]
    for got, exact in zip(run(make, options, np.float32), by_formula(reference, options, np.float32), strict=True):
        assert got.dtype == np.float32
        np.testing.assert_allclose(got, exact, rtol=0, atol=STEPS * 100 * 2.0**-24)


@pytest.mark.parametrize("dtype", [np.float16, ml_dtypes.bfloat16])
@pytest.mark.parametrize("name", ["sgd all", "sgd nesterov", "adam all", "adamw all", "rmsprop all"])
def test_sixteen_bits(name, dtype):
    make, reference, _, options = CASES[name]
    unit = float(ml_dtypes.finfo(dtype).eps) / 2
    for got, exact in zip(run(make, options, dtype), by_formula(reference, options, dtype), strict=True):
        assert got.dtype == np.dtype(dtype)
        # a parameter of magnitude up to 3 is rounded at each step
        assert (np.abs(got.astype(np.float64) - exact) <= STEPS * 3 * unit).all()


@case
def test_pytorch_agrees(name):
    torch = pytest.importorskip("torch")
    make, _, theirs, options = CASES[name]
    params = [torch.nn.Parameter(torch.from_numpy(np.array(v))) for v in values(parameters())]
    optimizer = getattr(torch.optim, theirs)(params, **options)
    for step in range(STEPS):
        for i, p in enumerate(params):
            p.grad = torch.from_numpy(np.array(normal(tuple(p.shape), 100 + step, i)))
        optimizer.step()
    for got, want in zip(run(make, options, np.float64), params, strict=True):
        np.testing.assert_allclose(got, want.detach().numpy(), rtol=0, atol=STEPS * 100 * 2.0**-53 * 10)


def test_defaults_are_pytorchs():
    torch = pytest.importorskip("torch")
    for name in ("SGD", "Adam", "AdamW", "RMSprop"):
        own = getattr(optim, name)(parameters()).defaults
        theirs = getattr(torch.optim, name)([torch.zeros(1, requires_grad=True)]).defaults
        assert own.items() <= theirs.items() | {("lr", own["lr"])}
        assert own["lr"] == theirs["lr"] or name == "SGD"


def test_a_constant_gradient_keeps_a_centered_spread_from_turning_negative():
    params = parameters(np.float32, [(1000,)])
    optimizer = optim.RMSprop(params, alpha=0.5, centered=True)
    for _ in range(60):
        params[0].grad = (np.arange(1, 1001) / 7).astype(np.float32)
        optimizer.step()
    assert np.isfinite(values(params)[0]).all()


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
