"""Activations and special functions in PyTorch, where it is installed: values and gradients, kinks included."""

import numpy as np
import pytest

import ringtrain as rt
from ringtrain import nn

torch = pytest.importorskip("torch")
F = torch.nn.functional
from .test_oracle import compare  # noqa: E402

# where PyTorch has fewer digits: a constant in float32, a short series
SINGLE = {"hardsigmoid": 1e-7, "hardswish": 1e-7, "selu": 1e-7, "lgamma": 1e-8, "digamma": 1e-8, "polygamma 1": 1e-8}
KINKS = np.array([-6.0, -3.0, -2.0, -1.0, -0.5, 0.0, 0.5, 1.0, 2.0, 3.0, 6.0, 7.0])
WEIGHT = np.array([0.25, -0.5, 1.5])

# name, ours, theirs: compared on random values and at the kinks of all of them
ACTIVATIONS = [
    ("leaky_relu", lambda x: nn.leaky_relu(x, 0.25), lambda x: F.leaky_relu(x, 0.25)),
    ("elu", lambda x: nn.elu(x, 0.75), lambda x: F.elu(x, 0.75)),
    ("celu", lambda x: nn.celu(x, 0.75), lambda x: F.celu(x, 0.75)),
    ("selu", nn.selu, F.selu),
    ("silu", nn.silu, F.silu),
    ("mish", nn.mish, F.mish),
    ("logsigmoid", nn.logsigmoid, F.logsigmoid),
    ("softsign", nn.softsign, F.softsign),
    ("tanhshrink", nn.tanhshrink, F.tanhshrink),
    ("hardtanh", nn.hardtanh, F.hardtanh),
    ("hardtanh 2", lambda x: nn.hardtanh(x, -2.0, 0.5), lambda x: F.hardtanh(x, -2.0, 0.5)),
    ("relu6", nn.relu6, F.relu6),
    ("hardsigmoid", nn.hardsigmoid, F.hardsigmoid),
    ("hardswish", nn.hardswish, F.hardswish),
    ("hardshrink", nn.hardshrink, F.hardshrink),
    ("softshrink", nn.softshrink, F.softshrink),
    ("threshold", lambda x: nn.threshold(x, 0.5, 9.0), lambda x: F.threshold(x, 0.5, 9.0)),
    ("softplus", lambda x: nn.softplus(x, 2.0, 6.0), lambda x: F.softplus(x, 2.0, 6.0)),
    ("prelu 1", lambda x: nn.prelu(x, rt.from_numpy(WEIGHT[:1])), lambda x: F.prelu(x, torch.from_numpy(WEIGHT[:1]))),
    ("sinc", rt.sinc, torch.sinc),
    ("erfc", rt.erfc, torch.erfc),
    ("exp2", rt.exp2, torch.exp2),
    ("arcsinh", rt.arcsinh, torch.asinh),
    ("deg2rad", rt.deg2rad, torch.deg2rad),
    ("rad2deg", rt.rad2deg, torch.rad2deg),
    ("nan_to_num", rt.nan_to_num, torch.nan_to_num),
    ("glu", nn.glu, F.glu),
    ("softmin", nn.softmin, lambda x: F.softmin(x, -1)),
    ("logit", lambda x: nn.logit(x, 0.25), lambda x: torch.logit(x, 0.25)),
]
# name, where its inputs lie, ours, theirs
DOMAINS = [
    ("erfinv", (-0.999, 0.999), rt.erfinv, torch.erfinv),
    ("lgamma", (-3.9, 9.0), rt.lgamma, torch.lgamma),
    ("digamma", (-3.9, 9.0), rt.digamma, torch.digamma),
    ("polygamma 1", (-3.9, 9.0), lambda x: rt.polygamma(1, x), lambda x: torch.polygamma(1, x)),
    ("polygamma 2", (0.2, 9.0), lambda x: rt.polygamma(2, x), lambda x: torch.polygamma(2, x)),
    ("rsqrt", (0.1, 9.0), rt.rsqrt, torch.rsqrt),
    ("arccosh", (1.1, 9.0), rt.arccosh, torch.acosh),
    ("arctanh", (-0.99, 0.99), rt.arctanh, torch.atanh),
]
WHOLE = [0.0, -0.0, 1.0, -1.0, 2.0, -2.5]
# two inputs: name, ours, theirs, whether they may be equal or zero
PAIRS = [
    ("hypot", rt.hypot, torch.hypot, False),
    ("fmod", rt.fmod, torch.fmod, False),
    ("fmax", rt.fmax, torch.fmax, True),
    ("fmin", rt.fmin, torch.fmin, True),
    ("copysign", rt.copysign, torch.copysign, True),
    ("xlogy", lambda a, b: rt.xlogy(a, b * b + 0.5), lambda a, b: torch.xlogy(a, b * b + 0.5), True),
    ("lerp", lambda a, b: rt.lerp(a, b, 0.3), lambda a, b: torch.lerp(a, b, 0.3), True),
    ("addcmul", lambda a, b: rt.addcmul(a, a, b, 0.5), lambda a, b: torch.addcmul(a, a, b, value=0.5), True),
]


@pytest.mark.parametrize(("name", "ours", "theirs"), ACTIVATIONS, ids=[row[0] for row in ACTIVATIONS])
def test_activation(name, ours, theirs, rng):
    tolerance = SINGLE.get(name, 1e-10)
    compare(ours, theirs, [rng.standard_normal((3, 18)) * 3], tolerance)
    compare(ours, theirs, [KINKS], tolerance)


@pytest.mark.parametrize("shape", [(2, 3), (2, 3, 4), (2, 3, 0, 2)])
def test_prelu_with_a_weight_for_each_channel(shape, rng):
    compare(nn.prelu, F.prelu, [rng.integers(-2, 3, shape) * 1.0, WEIGHT])


@pytest.mark.parametrize(("name", "domain", "ours", "theirs"), DOMAINS, ids=[row[0] for row in DOMAINS])
def test_within_a_domain(name, domain, ours, theirs, rng):
    compare(ours, theirs, [rng.uniform(*domain, (5, 17))], SINGLE.get(name, 1e-10))


@pytest.mark.parametrize(("name", "ours", "theirs", "whole"), PAIRS, ids=[row[0] for row in PAIRS])
def test_pairs(name, ours, theirs, whole, rng):
    compare(ours, theirs, [rng.standard_normal((3, 1)), rng.standard_normal(17)])
    if whole:
        compare(ours, theirs, [np.array(WHOLE), np.array(WHOLE)[:, None]])


@pytest.mark.parametrize("name", ["fmax", "fmin"])
def test_a_number_beside_a_nan_gets_the_gradient(name):
    a, b = np.array([np.nan, 1.0, np.nan, 2.0]), np.array([3.0, np.nan, np.nan, 2.0])
    x, y = (rt.from_numpy(v).requires_grad_() for v in (a, b))
    getattr(rt, name)(x, y).sum().backward()
    assert x.grad.tolist() == [0, 1, 1, 1]
    assert y.grad.tolist() == [1, 0, 0, 0]


def test_nan_to_num_of_what_is_no_number():
    x = np.array([np.nan, np.inf, -np.inf, 1.5])
    compare(
        lambda t: rt.nan_to_num(t, 0.5, 7.0, -8.0), lambda t: torch.nan_to_num(t, nan=0.5, posinf=7.0, neginf=-8.0), [x]
    )
    for dtype in (np.float16, np.float32, np.float64):
        got = rt.nan_to_num(rt.from_numpy(x.astype(dtype))).numpy()
        np.testing.assert_array_equal(got, np.nan_to_num(x.astype(dtype)))
