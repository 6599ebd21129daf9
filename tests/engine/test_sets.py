"""What has no gradients: sorted sets, counts, searches, and tensors made from nothing."""

import numpy as np
import pytest

import ringtrain as rt
from ringtrain.backend.meta import MetaArray

WORDS = np.array([[3, 1, 3], [0, 1, 3]])


def test_unique():
    np.testing.assert_array_equal(rt.unique(rt.from_numpy(WORDS)).numpy(), [0, 1, 3])
    for ours, theirs in zip(
        rt.unique(rt.from_numpy(WORDS), True, True, True), np.unique(WORDS, True, True, True), strict=True
    ):
        np.testing.assert_array_equal(ours.numpy(), theirs)
    np.testing.assert_array_equal(rt.unique(rt.from_numpy(WORDS), axis=1).numpy(), np.unique(WORDS, axis=1))


def test_bincount_and_histogram():
    x = rt.from_numpy(WORDS.reshape(-1))
    assert rt.bincount(x, minlength=6).tolist() == [1, 2, 0, 3, 0, 0]
    assert rt.bincount(x, np.arange(6) * 0.5).tolist() == [1.5, 2.5, 0, 3.5]
    counts, edges = rt.histogram(x, 3, (0, 3))
    assert counts.tolist() == [1, 2, 3] and edges.tolist() == [0, 1, 2, 3]


@pytest.mark.parametrize("side", ["left", "right"])
def test_searchsorted(side):
    row, wanted = np.array([1.0, 3.0, 3.0, 7.0]), np.array([[0.0, 3.0], [7.0, 9.0]])
    found = rt.searchsorted(rt.from_numpy(row), rt.from_numpy(wanted), side)
    np.testing.assert_array_equal(found.numpy(), np.searchsorted(row, wanted, side))
    assert rt.searchsorted(rt.from_numpy(row), 3.0, side).item() == (1 if side == "left" else 3)
    assert rt.searchsorted(rt.from_numpy(row), rt.zeros((2, 5), device="meta"), side).shape == (2, 5)


def test_nonzero_is_an_index():
    x = rt.from_numpy(WORDS)
    assert x[rt.nonzero(x)].tolist() == [3, 1, 3, 1, 3]
    np.testing.assert_array_equal(rt.argwhere(x).numpy(), np.argwhere(WORDS))


@pytest.mark.parametrize("name", ["unique", "bincount", "nonzero", "argwhere", "histogram"])
def test_a_shape_that_hangs_on_values_has_no_shape_rule(name):
    with pytest.raises(RuntimeError, match=f"{name}: the shape of its result hangs on values"):
        getattr(rt, name)(rt.Tensor(MetaArray((3,), np.int64)))


def test_ranges():
    assert rt.arange(5).dtype == np.int64 and rt.arange(2, 9, 3).tolist() == [2, 5, 8]
    assert rt.arange(0, 1, 0.25).tolist() == [0, 0.25, 0.5, 0.75] and rt.arange(0.0, 2.0).dtype == np.float32
    assert rt.arange(3, device="meta").shape == (3,)
    np.testing.assert_allclose(rt.linspace(-1, 1, 5).numpy(), [-1, -0.5, 0, 0.5, 1])
    assert rt.linspace(0, 1, 4, endpoint=False, dtype=np.float64).tolist() == [0, 0.25, 0.5, 0.75]
    np.testing.assert_array_equal(rt.eye(2, 3, 1).numpy(), np.eye(2, 3, 1))
    assert rt.full_like(rt.ones((2, 0), np.float16), 3).dtype == np.float16


@pytest.fixture
def seeded():
    before = vars(rt.random.state).copy()
    rt.seed(5)
    yield
    vars(rt.random.state).update(before)


def test_random_values_hang_on_seed_step_and_order(seeded):
    first = [rt.rand(7).numpy(), rt.rand(7).numpy(), rt.randn((3, 2)).numpy()]
    assert not np.array_equal(first[0], first[1])
    rt.random.state.step = 1
    later = rt.rand(7).numpy()
    assert not np.array_equal(later, first[0]) and not np.array_equal(later, rt.rand(7).numpy())
    rt.seed(5)
    for value, again in zip(first, [rt.rand(7), rt.rand(7), rt.randn((3, 2))], strict=True):
        np.testing.assert_array_equal(value, again.numpy())
    rt.random.state.step = 1  # as after loading a checkpoint of that step
    np.testing.assert_array_equal(rt.rand(7).numpy(), later)


def test_drawing_does_not_change_what_modules_draw(seeded):
    before = rt.nn.Linear(3, 3).weight.detach().numpy().copy()
    rt.seed(5)
    rt.rand(4)
    np.testing.assert_array_equal(rt.nn.Linear(3, 3).weight.detach().numpy(), before)


def test_random_distributions(seeded):
    n = 20000
    x = rt.rand(n, np.float64).numpy()
    assert x.min() >= 0 and x.max() < 1 and abs(x.mean() - 0.5) < 6 / np.sqrt(12 * n)
    z = rt.randn(n, np.float64).numpy()
    assert abs(z.mean()) < 6 / np.sqrt(n) and abs(z.var() - 1) < 6 * np.sqrt(2 / n)
    k = rt.randint(-2, 5, n).numpy()
    assert k.dtype == np.int64 and set(k.tolist()) == set(range(-2, 5))
    assert abs(np.bincount(k + 2) - n / 7).max() < 6 * np.sqrt(n / 7)
    assert rt.randint(3, 4, (2, 0)).shape == (2, 0)
    assert sorted(rt.permutation(1000).tolist()) == list(range(1000)) != rt.permutation(1000).tolist()
    p = np.array([[0.0, 1.0], [0.3, 0.8]])
    hits = np.mean([rt.bernoulli(rt.from_numpy(p)).numpy() for _ in range(2000)], 0)
    assert hits[0].tolist() == [0, 1] and abs(hits - p).max() < 6 * 0.5 / np.sqrt(2000)
    assert rt.bernoulli(0.5, (3, 4)).shape == (3, 4)
    with pytest.raises(ValueError, match="outside 0"):
        rt.bernoulli(1.5)
    with pytest.raises(ValueError, match="low < high; got 3 and 3"):
        rt.randint(3, 3, 2)
