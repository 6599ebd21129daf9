"""What draws: random slopes, Gumbel's softmax, samples of classes."""

import copy

import numpy as np
import pytest

import ringtrain as rt
from ringtrain import nn, random


def test_slopes_in_training_and_their_mean_after():
    rt.seed(3)
    layer = nn.RReLU(0.1, 0.5)
    x = rt.from_numpy(np.full((100, 100), -1.0)).requires_grad_()
    first, second = layer(x), layer(x)
    slopes = -first.detach().numpy()
    assert 0.1 <= slopes.min() < 0.101 and 0.499 < slopes.max() < 0.5
    assert slopes.mean() == pytest.approx(0.3, abs=5 * 0.4 / np.sqrt(12) / 100)
    assert (first.detach().numpy() != second.detach().numpy()).mean() > 0.99
    first.sum().backward()
    np.testing.assert_array_equal(x.grad.numpy(), slopes)
    positive = rt.from_numpy(np.array([[2.0, 0.0]]))
    np.testing.assert_array_equal(layer(positive).numpy(), positive.numpy())
    assert layer.eval()(x).detach().numpy()[0, 0] == pytest.approx(-0.3, rel=1e-15)
    rt.seed(3)
    np.testing.assert_array_equal(nn.RReLU(0.1, 0.5)(x).detach().numpy(), first.detach().numpy())
    with pytest.raises(ValueError, match="0 <= lower <= upper"):
        nn.RReLU(0.5, 0.1)


def test_slopes_are_those_of_the_sample_wherever_it_is():
    x = np.full((6, 5), -1.0)
    rt.seed(4)
    layer = nn.RReLU()
    others = [copy.copy(layer) for _ in range(2)]
    whole = layer(rt.from_numpy(x)).numpy()
    before = (random.state.offset, random.state.stride)
    try:
        for rank, part in enumerate(others):
            random.state.offset, random.state.stride = rank, 2
            np.testing.assert_array_equal(part(rt.from_numpy(x[rank::2])).numpy(), whole[rank::2])
    finally:
        random.state.offset, random.state.stride = before


def test_recomputation_draws_the_same_slopes():
    layer = nn.RReLU()
    x, y = (rt.from_numpy(-np.ones((5, 4))).requires_grad_() for _ in range(2))
    rt.seed(1)
    again = rt.recompute(layer, x)
    again.sum().backward()
    np.testing.assert_array_equal(x.grad.numpy(), -again.detach().numpy())
    assert y.grad is None


def test_gumbel_samples_classes_as_likely_as_the_softmax():
    rt.seed(5)
    p = np.array([0.1, 0.2, 0.7])
    logits = rt.from_numpy(np.tile(np.log(p), (20000, 1))).requires_grad_()
    hard = nn.gumbel_softmax(logits, 0.7, hard=True)
    values = hard.detach().numpy()
    np.testing.assert_allclose(np.sort(values, 1), np.tile([0, 0, 1], (20000, 1)), atol=1e-12)
    assert abs(values.mean(0) - p).max() < 5 * np.sqrt(0.25 / 20000)
    head = np.random.default_rng(0).standard_normal(hard.shape)
    hard.backward(head)
    got = logits.grad.numpy()
    rt.seed(5)
    other = rt.from_numpy(logits.detach().numpy()).requires_grad_()
    soft = nn.gumbel_softmax(other, 0.7)
    np.testing.assert_array_equal(soft.detach().numpy().argmax(1), values.argmax(1))
    soft.backward(head)
    np.testing.assert_allclose(got, other.grad.numpy(), rtol=1e-12, atol=1e-15)
    assert nn.gumbel_softmax(rt.zeros((3, 4, 5)), hard=True, axis=1).sum(axis=1).numpy() == pytest.approx(1.0)
    with pytest.raises(ValueError, match="tau is > 0"):
        nn.gumbel_softmax(logits, 0.0)


def test_multinomial():
    rt.seed(6)
    p = np.array([0.0, 1.0, 2.0, 5.0])
    many = rt.multinomial(rt.from_numpy(np.tile(p, (3, 1))), 20000, replacement=True).numpy()
    assert many.shape == (3, 20000)
    for row in many:
        assert abs(np.bincount(row, minlength=4) / 20000 - p / 8).max() < 5 * np.sqrt(0.25 / 20000)
    assert not np.array_equal(many[0], many[1])
    without = rt.multinomial(rt.from_numpy(np.tile(p, (20000, 1))), 3).numpy()
    assert (np.sort(without, 1) == [1, 2, 3]).all()
    assert abs((without[:, 0] == 3).mean() - 5 / 8) < 5 * np.sqrt(0.25 / 20000)
    assert abs((without[without[:, 0] == 3, 1] == 2).mean() - 2 / 3) < 5 * np.sqrt(0.25 / 10000)
    assert rt.multinomial(rt.from_numpy(p), 2).shape == (2,)
    with pytest.raises(ValueError, match="fewer than 4 weights above 0"):
        rt.multinomial(rt.from_numpy(p), 4)
    for bad in ([-1.0, 2.0], [0.0, 0.0], [np.nan, 1.0]):
        with pytest.raises(ValueError, match="rows of finite weights >= 0"):
            rt.multinomial(rt.from_numpy(np.array(bad)), 1)


def test_what_is_like_another_tensor():
    rt.seed(7)
    x = rt.zeros((3, 4), dtype=np.float64)
    for make, low, high in ((rt.rand_like, 0, 1), (rt.randn_like, -8, 8)):
        drawn = make(x)
        assert (drawn.shape, drawn.dtype) == (x.shape, x.dtype)
        assert low <= drawn.numpy().min() and drawn.numpy().max() <= high and drawn.numpy().std() > 0
    np.testing.assert_allclose(rt.logspace(0, 3, 4, base=2.0).numpy(), [1, 2, 4, 8])
