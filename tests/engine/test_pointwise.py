"""Elementwise functions as compiled loops: against their rule over arrays in float64, in any layout, at any value."""

import math

import numpy as np
import pytest

import ringtrain as rt
from ringtrain import nn
from ringtrain.backend import get
from ringtrain.backend.numpy_ import BACKEND

pytestmark = [
    pytest.mark.cpu,
    pytest.mark.skipif(get("cpu")[0].kernel("pointwise") is None, reason="needs numba"),
]

FUNCTIONS = {name: getattr(nn, name) for name in ["relu", "sigmoid", "tanh", "softplus", "mish", "selu", "elu", "celu"]}
FUNCTIONS |= {name: getattr(nn, name) for name in ["silu", "gelu", "hardswish", "hardsigmoid", "hardtanh", "relu6"]}
FUNCTIONS |= {name: getattr(nn, name) for name in ["leaky_relu", "logsigmoid", "softsign", "tanhshrink", "hardshrink"]}
FUNCTIONS["erf"] = rt.erf
FUNCTIONS |= {
    "softshrink": lambda t: nn.softshrink(t, 0.25),
    "threshold": lambda t: nn.threshold(t, 0.5, -2.0),
    "elu/0.5": lambda t: nn.elu(t, 0.5),
    "celu/0.5": lambda t: nn.celu(t, 0.5),
    "gelu/tanh": lambda t: nn.gelu(t, "tanh"),
    "softplus/beta": lambda t: nn.softplus(t, 2.0, 3.0),
}
# The functions of `cpu_math` lie within 3 units of float32; then come up to 8 products and sums. Where such a sum
# cancels, as in 1 + erf, the error stays that of its largest term: 1, or |x| where that is larger.
UNITS = 3 + 8


def both(f, x, g):
    """Value and gradient."""
    t = rt.from_numpy(x).requires_grad_()
    out = f(t)
    out.backward(g)
    return out.detach().numpy(), t.grad.numpy()


@pytest.fixture
def composed(monkeypatch):
    """`both` without the kernel."""

    def run(*args):
        with monkeypatch.context() as patch:
            patch.setitem(BACKEND.kernels, "pointwise", None)
            return both(*args)

    return run


@pytest.fixture
def calls(monkeypatch):
    """The rules that ran as loops."""
    kernel, seen = BACKEND.kernel("pointwise"), []

    def spy(rule, args):
        out = kernel(rule, args)
        if out is not None:
            seen.append(rule)
        return out

    monkeypatch.setitem(BACKEND.kernels, "pointwise", spy)
    return seen


@pytest.mark.parametrize("name", FUNCTIONS)
def test_loops_are_their_rules(name, composed, calls, rng):
    f = FUNCTIONS[name]
    x = np.concatenate([rng.standard_normal(2000) * 4, rng.standard_normal(2001) * 1e-3])
    g = rng.standard_normal(x.shape)
    for dtype in (np.float32, np.float64):
        unit = np.finfo(dtype).eps
        calls.clear()
        found = both(f, x.astype(dtype), g.astype(dtype))
        assert len(calls) == 2  # forward and backward
        with np.errstate(over="ignore"):
            wanted = composed(f, x.astype(dtype).astype(np.float64), g.astype(dtype).astype(np.float64))
        for mine, exact, scale in zip(found, wanted, (1, abs(g)), strict=True):
            assert mine.dtype == dtype
            assert (abs(mine - exact) <= UNITS * unit * scale * (1 + abs(x))).all()


@pytest.mark.parametrize("name", FUNCTIONS)
def test_extreme_values(name, composed):
    f = FUNCTIONS[name]
    values = [
        0.0,
        -0.0,
        np.inf,
        -np.inf,
        np.nan,
        1e-40,
        -1e-40,
        3e38,
        -3e38,
        89.0,
        -89.0,
        104.0,
        -104.0,
        0.5,
        3.0,
        -3.0,
    ]
    x = np.array(values * 200, np.float32)
    with np.errstate(all="ignore"):
        found, wanted = both(f, x, np.ones_like(x)), composed(f, x, np.ones_like(x))
    for mine, theirs in zip(found, wanted, strict=True):
        np.testing.assert_allclose(mine, theirs, rtol=UNITS * 2**-23, atol=UNITS * 2**-23)


LAYOUTS = [
    lambda a: a,
    lambda a: a.transpose(0, 2, 3, 1),
    lambda a: a[:, :1].transpose(3, 1, 0, 2),
    lambda a: a[:, ::2],
    lambda a: a[..., ::-1],
    lambda a: np.broadcast_to(a[:1], a.shape),
    lambda a: a[:0],
    lambda a: np.asarray(a[0, 0, 0, 0]),
]


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("reverse", [False, True], ids=["head in order", "head reversed"])
def test_relu_in_any_layout(layout, reverse, rng):
    values = rng.standard_normal((13, 6, 17, 7))
    values.flat[::4] = 0
    for dtype in (np.float64, np.float32, np.float16):
        x = layout(values.astype(dtype))
        g = rng.standard_normal(x.shape[::-1]).T if reverse else rng.standard_normal(x.shape)
        g = np.asarray(g, dtype)
        out, gradient = both(nn.relu, x, g)
        np.testing.assert_array_equal(out, np.maximum(x, 0))
        np.testing.assert_array_equal(gradient, g * (x > 0))


def test_relu_lets_nan_through():
    for dtype in (np.float32, np.float16):
        for times in (1, 1000):
            x = rt.from_numpy(np.array([np.nan, -np.inf, np.inf, -0.0] * times, dtype)).requires_grad_()
            np.testing.assert_array_equal(nn.relu(x).detach().numpy(), [np.nan, 0, np.inf, 0] * times)


def test_second_derivatives_of_large_arrays(rng):
    """Under create_graph rules run on tensors, whatever the first pass did."""
    x = rt.from_numpy(rng.standard_normal(4099)).requires_grad_()
    (first,) = rt.grad(nn.gelu(x, "tanh").sum(), [x], create_graph=True)
    (second,) = rt.grad(first.sum(), [x])
    step = 1e-5
    ends = []
    for side in (step, -step):
        t = rt.from_numpy(x.detach().numpy() + side).requires_grad_()
        (slope,) = rt.grad(nn.gelu(t, "tanh").sum(), [t])
        ends.append(slope.numpy())
    np.testing.assert_allclose(second.numpy(), (ends[0] - ends[1]) / (2 * step), atol=1e-8)


def exact(name, x):
    with np.errstate(all="ignore"):
        if name == "softplus":
            return np.maximum(x, 0) + np.log1p(np.exp(-abs(x)))
        return getattr(np, name)(x)


@pytest.mark.parametrize(("name", "most"), [("exp", 3), ("expm1", 3), ("tanh", 6), ("softplus", 3), ("erf", 6)])
def test_functions_of_float32_lie_within_a_few_units(name, most):
    from numba import njit

    from ringtrain.backend import cpu_math

    f = getattr(cpu_math, name)

    @njit(error_model="numpy", fastmath={"contract"})
    def loop(x, out):
        for i in range(x.size):
            out[i] = f(x[i])

    dense = np.random.default_rng(3).uniform(-1, 1, 20_000)
    x = np.concatenate(
        [dense, dense * 110, dense * 1e-4, [0, np.inf, -np.inf, 1e-42, 88.72, 88.73, -103.9, 4, 3.9, 9, 9.1]]
    )
    x = x.astype(np.float32)
    out = np.empty_like(x)
    loop(x, out)
    wide = x.astype(np.float64)
    wanted = np.vectorize(math.erf)(wide) if name == "erf" else exact(name, wide)
    with np.errstate(over="ignore", invalid="ignore"):
        rounded = wanted.astype(np.float32)
        units = abs(out - wanted) / np.spacing(abs(rounded))
    np.testing.assert_array_equal(out[~np.isfinite(rounded)], rounded[~np.isfinite(rounded)])
    assert units[np.isfinite(rounded)].max() <= most
    if name in ("tanh", "erf"):
        assert abs(out).max() == 1
    loop(np.array([np.nan], np.float32), out)
    assert np.isnan(out[0])
    assert "x float>" in loop.inspect_llvm(loop.signatures[0]), "no vector code"
