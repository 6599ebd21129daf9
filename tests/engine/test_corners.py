"""Tensors of no axes and of no elements, Python numbers, nan and booleans, where ops might forget them."""

import math

import numpy as np
import pytest

import ringtrain as rt
from ringtrain import nn

REDUCTIONS = ["sum", "mean", "prod", "max", "min", "var", "std", "norm", "logsumexp", "nansum", "nanmean", "median"]


@pytest.mark.parametrize("axis", [0, -1, (0,), ()])
@pytest.mark.parametrize("name", REDUCTIONS)
def test_a_number_is_reduced_over_its_one_element(name, axis):
    """As PyTorch's and NumPy's reductions, with gradients, and the same without values."""
    for keepdims in (False, True):
        x = rt.from_numpy(np.array(-3.5)).requires_grad_()
        y = getattr(rt, name)(x, axis=axis, keepdims=keepdims)
        spread = name in ("var", "std")
        size = abs(x.item()) if name == "norm" else x.item()
        assert y.shape == () and y.item() == pytest.approx(0 if spread else size, rel=1e-15)
        assert rt.grad(y, x).item() == pytest.approx(0 if spread else size / x.item(), rel=1e-15)
        if name not in ("nansum", "nanmean", "median"):
            meta = getattr(rt, name)(rt.zeros((), device="meta"), axis=axis, keepdims=keepdims)
            assert meta.shape == ()


@pytest.mark.parametrize("axis", [0, -1])
def test_a_number_is_counted_and_run_over(axis):
    x = rt.from_numpy(np.array(-3.5)).requires_grad_()
    for f in (rt.argmax, rt.argmin):
        assert f(x, axis=axis).shape == () and f(x, axis=axis).item() == 0
    assert rt.all(x, axis=axis).item() and rt.any(x, axis=axis).item() and rt.count_nonzero(x, axis).item() == 1
    for f in (rt.cumsum, rt.cumprod):
        y = f(x, axis=axis)
        assert y.shape == () and y.item() == -3.5 and rt.grad(y, x).item() == 1
        assert f(rt.zeros((), device="meta"), axis=axis).shape == ()
    assert rt.cumsum(rt.from_numpy(np.array(3, np.int8)), axis=axis).dtype == np.int64


@pytest.mark.parametrize("axis", [0, -1])
def test_a_number_is_in_order(axis):
    x = rt.from_numpy(np.array(-3.5)).requires_grad_()
    for f in (rt.topk, rt.kthvalue, lambda x, _, axis: rt.cummax(x, axis), lambda x, _, axis: rt.cummin(x, axis)):
        value, index = f(x, 1, axis)
        assert value.shape == index.shape == () and value.item() == -3.5 and index.item() == 0
        assert rt.grad(value, x).item() == 1
    assert rt.sort(x, axis).item() == rt.logcumsumexp(x, axis).item() == x.sort().item() == -3.5
    assert rt.argsort(x, axis, descending=True).item() == 0 and rt.grad(rt.logcumsumexp(x, axis), x).item() == 1
    for f in (rt.sort, rt.argsort, rt.logcumsumexp, rt.cummax):
        with pytest.raises(ValueError, match="axis 1 does not exist"):
            f(x, 1)


@pytest.mark.parametrize("shape", [(5, 0), (0, 5), (2, 0, 3), (0,)])
def test_softmax_of_no_elements(shape):
    x = rt.zeros(shape).requires_grad_()
    for f in (rt.softmax, rt.log_softmax, nn.softmin):
        for axis in range(len(shape)):
            y = f(x, axis)
            assert y.shape == shape and rt.grad(y.sum(), x).shape == shape


def test_sums_of_exponentials_of_nothing():
    """log(0), as in PyTorch."""
    x = rt.zeros((3, 0, 2)).requires_grad_()
    assert rt.logsumexp(x, 1).tolist() == [[-math.inf] * 2] * 3
    assert rt.logsumexp(x, 0).shape == (0, 2) and rt.logsumexp(rt.zeros(0)).item() == -math.inf
    assert rt.grad(rt.logsumexp(x, 1).sum(), x).shape == x.shape


@pytest.mark.parametrize("shape", [(0, 0), (3, 0), (0, 3), (2, 3, 0)])
def test_the_rank_of_nothing_is_0(shape):
    rank = rt.linalg.matrix_rank(rt.zeros(shape))
    assert rank.shape == shape[:-2] and rank.dtype == np.int64 and not rank.numpy().any()


def test_ops_of_two_python_numbers():
    for made, value, dtype in [
        (rt.add(1, 2), 3, np.int64),
        (rt.divide(1, 2), 0.5, np.float64),
        (rt.power(2, 3), 8, np.int64),
        (rt.maximum(1.5, 2), 2, np.float64),
        (rt.greater(2, 1), True, np.bool_),
        (rt.negative(2), -2, np.int64),
        (rt.square(1.5), 2.25, np.float64),
        (rt.absolute(-2), 2, np.int64),
    ]:
        assert made.shape == () and made.dtype == dtype and made.item() == value


@pytest.mark.parametrize("f", [rt.lgamma, rt.digamma, *(lambda x, n=n: rt.polygamma(n, x) for n in (1, 2, 3))])
def test_gammas_of_nan(f):
    """It stays where it is, and hinders no other element."""
    values = np.array([2.5, math.nan, 0.3, 12.0])
    x = rt.from_numpy(values).requires_grad_()
    y = f(x)
    (slope,) = rt.grad([y.sum()], [x])
    alone = rt.from_numpy(values[[0, 2, 3]]).requires_grad_()
    (want,) = rt.grad([f(alone).sum()], [alone])
    for found, other in ((y.detach(), f(alone).detach()), (slope, want)):
        assert np.isnan(found.numpy()).tolist() == [False, True, False, False]
        np.testing.assert_array_equal(found.numpy()[[0, 2, 3]], other.numpy())


def test_booleans_and_unsigned_numbers_have_differences():
    x = rt.tensor([True, False, False, True])
    assert rt.diff(x).tolist() == [True, False, True] and rt.diff(x, 2).tolist() == [True, True]
    assert rt.isclose(x, rt.tensor([True, True, False, False])).tolist() == [True, False, True, False]
    one = rt.ones(1)
    assert rt.diff(one, 0, prepend=one).tolist() == [1]  # NumPy joins for n > 0
    small = [rt.from_numpy(np.array(v, np.uint8)) for v in ([1, 2, 9], [2, 1, 9])]
    assert rt.isclose(*small, rtol=0.0, atol=1.0).all().item() and rt.isclose(small[0], 9).tolist() == [0, 0, 1]


def test_bounds_that_meet_cross_or_are_nan():
    """The upper one wins, and nan, as in NumPy; at a bound the gradient is x's, as in PyTorch."""
    x, low, high = (
        rt.from_numpy(np.array(v)).requires_grad_()
        for v in (
            [0.0, 2.0, 1.0, 5.0, math.nan, 0.0, 1.0],
            [1.0, 2.0, 3.0, 0.0, 0.0, math.nan, 0.0],
            [4.0, 2.0, 2.0] + [4.0] * 3 + [math.nan],
        )
    )
    y = rt.clip(x, low, high)
    np.testing.assert_array_equal(y.detach().numpy(), np.clip(*(t.detach().numpy() for t in (x, low, high))))
    to_x, to_low, to_high = (g.tolist() for g in rt.grad(y.sum(), [x, low, high]))
    assert to_x[:5] == [0, 1, 0, 0, 1] and to_low[:5] == [1, 0, 0, 0, 0] and to_high[:5] == [0, 0, 1, 1, 0]
    assert rt.clip(x.detach(), np.zeros(7), 1.0).tolist()[:4] == x.clamp(0.0, np.ones(7)).tolist()[:4] == [0, 1, 1, 1]


def test_another_dtype_or_device_for_what_is_like_a_tensor():
    x = rt.zeros((2, 3), np.int32)
    for f in (rt.zeros_like, rt.ones_like, rt.rand_like, rt.randn_like, lambda x, **o: rt.full_like(x, 0.5, **o)):
        made = f(x, dtype=np.float64)
        assert made.shape == (2, 3) and made.dtype == np.float64
        assert f(x, dtype=np.float32, device="meta").device == "meta"
    assert rt.full_like(x, 0.5, dtype=np.float64).tolist() == [[0.5] * 3] * 2 and rt.ones_like(x).dtype == np.int32


@pytest.mark.parametrize("own", [True, False])
@pytest.mark.parametrize(
    ("how", "ufunc"), [("sum", np.add), ("prod", np.multiply), ("amax", np.maximum), ("amin", np.minimum)]
)
@pytest.mark.parametrize("dtype", [np.int64, np.int8, np.uint8])
def test_scattered_whole_numbers(dtype, how, ufunc, own, rng):
    x, source, index = (
        rng.integers(0, 5, 4).astype(dtype),
        rng.integers(0, 5, 5).astype(dtype),
        np.array([3, 0, 3, 1, 3]),
    )
    want = x.copy()
    if not own:
        want[index] = {"sum": 0, "prod": 1, "amax": np.iinfo(dtype).min, "amin": np.iinfo(dtype).max}[how]
    ufunc.at(want, index, source)
    found = rt.scatter_reduce(rt.from_numpy(x), 0, index, rt.from_numpy(source), how, own)
    assert found.dtype == dtype and found.tolist() == want.tolist()


def test_lengths_and_axes_one_by_one():
    """As in PyTorch, or as one sequence, or by keyword."""
    x = rt.from_numpy(np.arange(6.0).reshape(1, 2, 3))
    assert x.new_zeros(2, 3).shape == x.new_ones((2, 3)).shape == x.new_ones(2, 3, dtype=np.int8).shape == (2, 3)
    assert x.new_zeros(4).shape == (4,) and x.new_full((2,), 7.0).tolist() == [7, 7]
    assert x.tile(2, 1, 2).shape == x.tile((2, 1, 2)).shape == x.tile(reps=(2, 1, 2)).shape == (2, 2, 6)
    assert x.expand(4, -1, 3).shape == x.expand((4, -1, 3)).shape == (4, 2, 3)
    want = x.numpy()[:, ::-1, ::-1].tolist()
    assert (
        x.flip(1, 2).tolist() == x.flip((1, -1)).tolist() == x.flip(axis=(1, 2)).tolist() == x.flip().tolist() == want
    )
    assert x.flip(1).tolist() == x.numpy()[:, ::-1].tolist() and x.transpose().shape == x.transpose(2, 1, 0).shape
    with pytest.raises(ValueError, match="broadcast_to: "):
        x.expand(-1, 1, 2, 3)  # there is no length yet
