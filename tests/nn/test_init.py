"""Initialisers: bounds and moments of what they draw, the same for the same seed."""

import math

import ml_dtypes
import numpy as np
import pytest

import ringtrain as rt
from ringtrain import nn
from ringtrain.nn import init


def check_moments(values, variance, fourth):
    """Mean 0 and the given variance, within six standard errors; fourth is the kurtosis of the distribution."""
    n, sigma = values.size, math.sqrt(variance)
    assert abs(values.mean()) < 6 * sigma / math.sqrt(n)
    assert abs(values.var() / variance - 1) < 6 * math.sqrt((fourth - 1) / n)


def check_uniform(values, bound):
    check_moments(values, bound**2 / 3, 1.8)
    assert values.min() >= -bound and values.max() <= bound
    assert np.abs(values).max() > bound * (1 - 20 / values.size)


def check_normal(values, sigma):
    check_moments(values, sigma**2, 3.0)
    inside = np.mean(np.abs(values) < sigma)
    assert abs(inside - math.erf(1 / math.sqrt(2))) < 6 * 0.5 / math.sqrt(values.size)


SHAPE = (120, 30, 3, 5)  # fan_in 450, fan_out 1800


@pytest.mark.parametrize(
    "make, bound",
    [
        (init.Uniform(0.2), 0.2),
        (init.Xavier(), math.sqrt(6 / (450 + 1800))),
        (init.Xavier(factor_type="in"), math.sqrt(3 / 450)),
        (init.Xavier(factor_type="out", magnitude=2), math.sqrt(2 / 1800)),
        (init.Kaiming(), math.sqrt(6 / 450)),
        (init.Kaiming(mode="fan_out", slope=0.5), math.sqrt(3 * 2 / 1.25 / 1800)),
        (init.Kaiming(slope=math.sqrt(5)), 1 / math.sqrt(450)),
    ],
)
def test_uniform_ones(make, bound):
    check_uniform(make(SHAPE, "w", np.float64), bound)


@pytest.mark.parametrize(
    "make, sigma",
    [
        (init.Normal(0.3), 0.3),
        (init.Xavier("normal"), math.sqrt(3 / 1125)),
        (init.Xavier("normal", factor_type="in", magnitude=2), math.sqrt(2 / 450)),
        (init.Kaiming("normal"), math.sqrt(2 / 450)),
        (init.Kaiming("normal", "fan_out"), math.sqrt(2 / 1800)),
    ],
)
def test_normal_ones(make, sigma):
    check_normal(make(SHAPE, "w", np.float64), sigma)


def test_constants():
    assert (init.Constant(1.5)((2, 3), "w", np.float16) == np.full((2, 3), 1.5, np.float16)).all()
    assert not init.Zeros()((4,), "w", np.float32).any() and init.Ones()((4,), "w", np.float32).all()


def test_layers_draw_as_pytorch_does():
    linear = nn.Linear(400, 300)
    check_uniform(linear.weight.detach().numpy(), 1 / math.sqrt(400))
    check_uniform(linear.bias.detach().numpy(), 1 / math.sqrt(400))
    conv = nn.Conv2d(32, 256, (3, 5), groups=2)
    check_uniform(conv.weight.detach().numpy(), 1 / math.sqrt(16 * 15))
    check_uniform(conv.bias.detach().numpy(), 1 / math.sqrt(16 * 15))


def test_layers_take_initialisers():
    layer = nn.Linear(40, 60, weight_init=init.Xavier(), bias_init=init.Constant(3))
    assert (layer.bias.detach().numpy() == 3).all()
    check_uniform(layer.weight.detach().numpy(), math.sqrt(6 / 100))
    conv = nn.Conv2d(4, 6, 3, weight_init=init.Zeros(), bias_init=init.Zeros())
    assert not any(p.detach().numpy().any() for p in conv.parameters())


def draw(seed):
    rt.seed(seed)
    model = nn.Sequential(nn.Linear(13, 17), nn.Conv2d(2, 3, 3), nn.Linear(13, 17))
    return [p.detach().numpy() for p in model.parameters()]


def test_the_seed_decides_and_every_parameter_differs():
    first, again, other = draw(1), draw(1), draw(2)
    for a, b, c in zip(first, again, other, strict=True):
        np.testing.assert_array_equal(a, b)
        assert (a != c).mean() > 0.99
    assert (first[0] != first[4]).mean() > 0.99 and (first[1] != first[5]).mean() > 0.99
    assert abs(np.corrcoef(first[0].ravel(), first[4].ravel())[0, 1]) < 6 / math.sqrt(13 * 17)


@pytest.mark.parametrize("dtype", [np.float16, np.float32, ml_dtypes.bfloat16])
@pytest.mark.parametrize("make", [init.Xavier(), init.Normal(0.3)])
def test_other_dtypes_are_the_same_values_rounded(make, dtype):
    exact = make((7, 9), "w", np.float64)
    drawn = make((7, 9), "w", dtype)
    assert drawn.dtype == np.dtype(dtype)
    np.testing.assert_array_equal(drawn, exact.astype(dtype))


def test_wrong_options_are_named():
    with pytest.raises(ValueError, match="factor_type 'both' is unknown; use 'avg', 'in' or 'out'"):
        init.Xavier(factor_type="both")
    with pytest.raises(ValueError, match="mode 'avg' is unknown; use 'fan_in' or 'fan_out'"):
        init.Kaiming(mode="avg")
    with pytest.raises(ValueError, match="distribution 'cauchy' is unknown"):
        init.Kaiming("cauchy")((3, 3), "w", np.float32)
    with pytest.raises(ValueError, match=r"a weight of shape \(3,\) has no fans"):
        init.Xavier()((3,), "w", np.float32)
