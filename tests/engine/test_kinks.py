"""Where derivatives do not exist: the values that PyTorch 2.13 gives there (kept in test_oracle.py)."""

import numpy as np
import pytest

import ringtrain as rt


def slope(f, *values):
    """The gradients of sum(f) at these values."""
    xs = [rt.from_numpy(np.array(v, np.float64)).requires_grad_() for v in values]
    f(*xs).sum().backward()
    found = [x.grad.numpy().tolist() for x in xs]
    return found[0] if len(found) == 1 else found


@pytest.mark.parametrize(
    ("f", "values", "slopes"),
    [
        (rt.nn.relu, [-1, 0, 2], [0, 0, 1]),
        (rt.absolute, [-1, 0, 2], [-1, 0, 1]),
        (lambda x: x.clip(-1, 1), [-2, -1, 0, 1, 2], [0, 1, 1, 1, 0]),
        (lambda x: x.clip(low=0), [-1, 0, 1], [0, 1, 1]),
        (lambda x: x.clip(high=0), [-1, 0, 1], [1, 1, 0]),
        (rt.norm, [0, 0], [0, 0]),
        (lambda x: rt.norm(x, axis=0), [[0, 3], [0, 4]], [[0, 0.6], [0, 0.8]]),
        (rt.std, [2, 2, 2], [0, 0, 0]),
        (rt.max, [1, 5, 5, 2], [0, 0.5, 0.5, 0]),
        (rt.min, [1, 1, 1, 2], [1 / 3, 1 / 3, 1 / 3, 0]),
        (lambda x: rt.max(x, axis=(0, 1)), [[3, 3], [3, 3]], [[0.25, 0.25], [0.25, 0.25]]),
        (rt.prod, [2, 0, 5], [0, 10, 0]),
        (rt.prod, [2, 0, 0], [0, 0, 0]),
        (lambda x: rt.prod(x, axis=1), [[2, 3, 4], [0, 3, 4]], [[12, 8, 6], [12, 0, 0]]),
        (lambda x: x**0, [-1, 0, 3], [0, 0, 0]),
        (lambda x: x**1, [-1, 0, 3], [1, 1, 1]),
        (lambda x: x**2, [-1, 0, 3], [-2, 0, 6]),
        (lambda x: x**3, [0], [0]),
        (lambda x: x ** np.array([0.0, 0.0, 1.0, 2.0]), [0, 3, 0, 0], [0, 0, 1, 0]),
        (lambda x: 0.0**x, [0, 1, 2, -1], [0, 0, 0, -np.inf]),
        (rt.nn.mish, [1e18, -1e18], [1, 0]),
        (lambda x: rt.nn.threshold(x, threshold=1.0, value=7.0), [0, 1, 2, np.nan], [0, 0, 1, 1]),
        *((f, [-1.5, -1, 0, 0.5, 1], [0] * 5) for f in (rt.sign, rt.floor, rt.ceil, rt.round, rt.trunc)),
        (rt.softplus, [0], [0.5]),
        (rt.logsumexp, [-np.inf, 0, 0], [0, 0.5, 0.5]),
        (lambda x: rt.nn.l1_loss(x, np.array([1.0, 2.0]), "sum"), [1, 3], [0, 1]),
    ],
)
def test_one_input(f, values, slopes):
    with np.errstate(divide="ignore"):  # 1 / 0 is meant
        found = slope(f, values)
    np.testing.assert_allclose(found, slopes, rtol=1e-15)  # zeros are exact


@pytest.mark.parametrize(
    ("f", "a", "b", "slopes"),
    [
        (rt.maximum, [1, 2, 3], [2, 2, 2], [[0, 0.5, 1], [1, 0.5, 0]]),
        (rt.minimum, [1, 2, 3], [2, 2, 2], [[1, 0.5, 0], [0, 0.5, 1]]),
        (rt.power, [0, 0, 0, 2], [0, 1, 2, 0], [[0, 1, 0, 0], [0, 0, 0, np.log(2)]]),
        (rt.power, [0], [-1], [[-np.inf], [-np.inf]]),
        (rt.power, [-0.0], [-1], [[-np.inf], [np.inf]]),
        (rt.arctan2, [0, 0, 1], [0, 2, 0], [[0, 0.5, 0], [0, 0, -1]]),
        (rt.logaddexp, [1e20, 1e20, np.inf], [1e20, -1e20, 0], [[0.5, 1, 1], [0.5, 0, 0]]),
        (lambda a, b: a % b, [5, -5], [3, 3], [[1, 1], [-1, 2]]),
    ],
)
def test_two_inputs(f, a, b, slopes):
    with np.errstate(divide="ignore"):  # 1 / 0 is meant
        np.testing.assert_allclose(slope(f, a, b), slopes, rtol=1e-15)


def test_values_at_the_corners():
    x = rt.from_numpy(np.array([0.0, -0.0]))
    assert (x**0).tolist() == [1, 1]
    assert rt.prod(rt.from_numpy(np.zeros((0,)))).item() == 1
    with np.errstate(divide="ignore"):
        assert rt.logsumexp(rt.from_numpy(np.array([-np.inf, -np.inf]))).item() == -np.inf


def test_second_derivative_of_powers_where_the_exponent_is_zero():
    """d/db d/da a^b = a^(b-1) (1 + b log a), at b = 0 too."""
    a = rt.from_numpy(np.array([2.0, 3.0])).requires_grad_()
    b = rt.from_numpy(np.array([0.0, 1.0])).requires_grad_()
    (ga,) = rt.grad((a**b).sum(), [a], create_graph=True)
    mixed = rt.grad(ga.sum(), b).numpy()
    np.testing.assert_allclose(mixed, [1 / 2, 1 + np.log(3)], rtol=1e-15)


def test_second_derivative_of_products_with_zeros():
    x = rt.from_numpy(np.array([2.0, 0.0, 5.0, 0.0])).requires_grad_()
    assert rt.gradcheck(rt.prod, x)
    g = rt.grad(rt.prod(x), x, create_graph=True)
    second = rt.grad(g[1], x).numpy()
    assert second.tolist() == [0, 0, 0, 10]


def test_a_slice_that_is_filled_twice_counts_once():
    x, value = rt.from_numpy(np.ones((3, 2))).requires_grad_(), rt.from_numpy(np.array(5.0)).requires_grad_()
    filled = rt.index_fill(x, 0, [0, -3, 2, 0], value)
    assert filled.tolist() == [[5, 5], [1, 1], [5, 5]]
    assert rt.grad(filled.sum(), [x, value])[1].item() == 4
    assert rt.gradcheck(lambda x, v: rt.index_fill(x, 1, [1, 1], v), x, value)
    assert rt.index_fill(rt.tensor([1, 2]), 0, [1], 2.7).tolist() == [1, 2]  # in x's dtype


def test_small_results_keep_their_digits():
    x = np.array([-80.0, -30.0, -10.0, 0.0, 10.0, 80.0])
    exact = 1 / (1 + np.exp(-x))
    for dtype, rtol in [(np.float64, 4e-16), (np.float32, 4e-7)]:
        np.testing.assert_allclose(rt.sigmoid(rt.from_numpy(x.astype(dtype))).numpy(), exact, rtol=rtol)
        y = rt.softplus(rt.from_numpy(x.astype(dtype))).numpy()
        np.testing.assert_allclose(y[:3], np.exp(x[:3]), rtol=1e-4)
    far = rt.from_numpy(np.array([-1e4, 1e4])).requires_grad_()
    for f in (rt.sigmoid, rt.softplus, rt.tanh, rt.nn.gelu):
        assert np.isfinite(slope(f, far.detach().numpy())).all()
    np.testing.assert_array_equal(rt.log_softmax(far).detach().numpy(), [-2e4, 0])
    assert rt.logsumexp(far).item() == 1e4


def test_means_are_rounded_once():
    ones = rt.from_numpy(np.ones(49))
    assert ones.mean().item() == 1.0
    assert rt.var(ones).item() == 0.0


def test_numbers_on_one_side():
    x = rt.tensor([1.5, 2.0], "f8", requires_grad=True)
    (rt.copysign(x, -3.0) + 2.0**x + 0.0**x).sum().backward()
    np.testing.assert_allclose(x.grad.numpy(), [-1 + 2**1.5 * np.log(2), -1 + 4 * np.log(2)], rtol=1e-14)
