"""Random numbers: Philox's known answers, the same draws on any number of ranks, moments."""

import math

import ml_dtypes
import numpy as np
import pytest

import ringtrain as rt
from ringtrain import random

# Random123's kat_vectors for philox4x32-10: counter, key, answer
KNOWN = [
    ([0, 0, 0, 0], (0, 0), [0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8]),
    ([0xFFFFFFFF] * 4, (0xFFFFFFFF, 0xFFFFFFFF), [0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD]),
    (
        [0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344],
        (0xA4093822, 0x299F31D0),
        [0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1],
    ),
]


@pytest.fixture(autouse=True)
def fresh():
    """The tests' own seed and rows; afterwards those that were."""
    before = dict(vars(random.state))
    rt.seed(3)
    random.state.offset, random.state.stride = 0, 1
    yield
    vars(random.state).update(before)


@pytest.mark.parametrize(("counter", "key", "answer"), KNOWN)
def test_philox_known_answers(counter, key, answer):
    assert random.philox(counter, key).tolist() == answer
    # and as one column of many
    columns = np.array([counter, [1, 2, 3, 4], counter], np.uint64).T
    words = random.philox(columns, key)
    assert words.dtype == np.uint32
    assert words[:, 0].tolist() == words[:, 2].tolist() == answer
    assert words[:, 1].tolist() != answer


def test_elements_are_numbered_along_the_counter():
    """Word w of block b is element 4 b + w; the step is the counter's upper half."""
    bits = random.bits((9,), "w", step=5 + (7 << 32))
    key = random._key("w")
    for block in range(3):
        words = random.philox([block, 0, 5, 7], key).tolist()
        assert bits[4 * block : 4 * block + 4].tolist() == words[: len(bits) - 4 * block]


@pytest.mark.parametrize("n", [1, 2, 3, 4])
@pytest.mark.parametrize("inner", [(), (1,), (3,), (13,), (4,), (2, 5)], ids=str)
@pytest.mark.parametrize("blocks", [False, True], ids=["interleaved", "in blocks"])
def test_ranks_draw_the_rows_of_the_global_batch(n, inner, blocks):
    rows = 5
    whole = random.bits((n * rows, *inner), "mask", step=2)
    for rank in range(n):
        random.state.offset, random.state.stride = (rank * rows, 1) if blocks else (rank, n)
        mine = random.bits((rows, *inner), "mask", step=2, rows=True)
        want = whole[rank * rows : (rank + 1) * rows] if blocks else whole[rank::n]
        np.testing.assert_array_equal(mine, want)
        np.testing.assert_array_equal(random.bits((rows, *inner), "mask", step=2), whole[:rows])


def test_draws_depend_on_seed_name_and_step_alone():
    first = random.normal((13, 17), 0, 1, "w")
    assert (random.normal((13, 17), 0, 1, "w") == first).all()
    assert (random.normal((5, 17), 0, 1, "w") == first[:5]).all()
    others = [random.normal((13, 17), 0, 1, "v"), random.normal((13, 17), 0, 1, "w", step=1)]
    rt.seed(4)
    others.append(random.normal((13, 17), 0, 1, "w"))
    for other in others:
        assert abs(np.corrcoef(first.ravel(), other.ravel())[0, 1]) < 5 / math.sqrt(first.size)
    rt.seed(3)
    assert (random.normal((13, 17), 0, 1, "w") == first).all()


def test_names_count_from_the_seed():
    assert [random.next_name("Linear"), random.next_name("Dropout")] == ["Linear:0", "Dropout:1"]
    random.state.step = 9
    rt.seed(3)
    assert random.next_name("Linear") == "Linear:0"
    assert random.state.step == 0


def test_moments():
    """Means and variances of 2^16 draws within 5 standard errors of what they should be."""
    n = 1 << 16
    u = random.uniform((n,), -1.0, 3.0, "u", dtype=np.float64)
    assert u.min() >= -1
    assert u.max() < 3
    assert abs(u.mean() - 1) < 5 * math.sqrt(16 / 12 / n)
    assert abs(u.var() - 16 / 12) < 5 * 16 / 12 * math.sqrt(0.8 / n)  # kurtosis of a uniform: 1.8
    z = random.normal((n,), 2.0, 0.5, "z", dtype=np.float64)
    assert np.isfinite(z).all()
    assert abs(z.mean() - 2) < 5 * 0.5 / math.sqrt(n)
    assert abs(z.var() - 0.25) < 5 * 0.25 * math.sqrt(2 / n)
    assert abs(((z - 2) ** 4).mean() / 0.25**2 - 3) < 5 * math.sqrt(96 / n)
    for p in (0.0, 0.3, 1.0):
        kept = random.bernoulli((n,), p, "b", 0)
        assert kept.dtype == np.bool_
        assert abs(kept.mean() - p) <= 5 * math.sqrt(p * (1 - p) / n)


def test_bits_are_balanced():
    bits = np.unpackbits(random.bits((1 << 14,), "bits").view(np.uint8).reshape(-1, 4), axis=1)
    assert (abs(bits.mean(0) - 0.5) < 5 * 0.5 / math.sqrt(1 << 14)).all()


@pytest.mark.parametrize("dtype", [np.float64, np.float32, np.float16, ml_dtypes.bfloat16])
def test_dtypes_round_the_same_draw(dtype):
    exact = random.normal((101,), 0, 1, "w", dtype=np.float64)
    got = random.normal((101,), 0, 1, "w", dtype=dtype)
    assert got.dtype == dtype
    np.testing.assert_array_equal(got, exact.astype(dtype))


def test_nothing_drawn():
    assert random.bits((0, 3), "w").shape == (0, 3)
    assert random.uniform((), 0, 1, "w").shape == ()
    assert random.bernoulli((3, 0), 0.5, "w", 0).shape == (3, 0)


def test_dropout_is_the_same_on_any_number_of_ranks():
    x = rt.ones((12, 5))
    whole = rt.nn.dropout(x, 0.4, "d", step=1).numpy()
    for rank in range(3):
        random.state.offset, random.state.stride = rank, 3
        mine = rt.nn.dropout(rt.ones((4, 5)), 0.4, "d", step=1).numpy()
        np.testing.assert_array_equal(mine, whole[rank::3])
    assert set(np.unique(whole)) == {0, np.float32(1 / 0.6)}
