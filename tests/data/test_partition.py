import subprocess
import sys

import numpy as np
import pytest

from ringtrain.data import ArrayDataset, Subset, split
from ringtrain.data.partition import apportion
from ringtrain.data.shuffle import SAMPLER, SPLIT, permutation


def labelled(n, classes, seed=0):
    """n samples whose classes are very unequal in size."""
    weights = np.arange(1, classes + 1) ** 2
    y = np.random.default_rng(seed).choice(classes, n, p=weights / weights.sum())
    return ArrayDataset(np.arange(n), y)


def indices(parts):
    return [part.indices for part in parts]


@pytest.mark.parametrize("stratify", [True, False])
@pytest.mark.parametrize(
    "n, parts, sizes",
    [
        (17, [0.5, 0.5], [9, 8]),  # equal remainders: the first wins
        (10, [0.7, 0.3], [7, 3]),  # 10 * 0.7 is not quite 7 in floating point
        (101, [0.6, 0.3, 0.1], [61, 30, 10]),  # 60.6, 30.3, 10.1
        (13, [1 / 3, 1 / 3, 1 / 3], [5, 4, 4]),
        (13, [6, 7], [6, 7]),
        (13, [13, 0], [13, 0]),
        (13, [1.0], [13]),
    ],
)
def test_parts_are_disjoint_cover_everything_and_have_exact_sizes(n, parts, sizes, stratify):
    got = indices(split(labelled(n, 3), parts, stratify=stratify))
    assert [len(p) for p in got] == sizes
    assert sorted(np.concatenate(got).tolist()) == list(range(n))
    for part in got:
        assert np.all(np.diff(part) > 0), "samples keep the order of the data set"


@pytest.mark.parametrize("seed", range(5))
def test_two_stratified_parts_hold_each_class_to_the_nearest_sample(seed):
    data = labelled(997, 7, seed)
    classes = np.bincount(data.labels)
    for fraction in (0.1, 0.37, 0.8):
        first, second = split(data, [fraction, 1 - fraction], seed=seed)
        for part in (first, second):
            exact = classes * len(part) / len(data)
            assert np.all(np.abs(np.bincount(part.labels, minlength=7) - exact) < 1)


def test_many_stratified_parts_stay_close_to_each_class_share():
    data = labelled(997, 7)
    exact = np.bincount(data.labels) / 10
    # Each of the cuts is within 1 of its share of what the ones before left, which the last parts inherit
    # in shares of 1/2, 1/3, ...: off by less than 1 + H(9) samples in all.
    bound = 1 + sum(1 / k for k in range(1, 10))
    for part in split(data, [0.1] * 10):
        assert np.all(np.abs(np.bincount(part.labels, minlength=7) - exact) < bound)


def test_another_seed_gives_other_parts_and_the_same_seed_the_same():
    data = labelled(200, 4)
    first = split(data, [0.5, 0.5], seed=1)[0].indices
    np.testing.assert_array_equal(first, split(data, [100, 100], seed=1)[0].indices)
    assert set(first) != set(split(data, [0.5, 0.5], seed=2)[0].indices)


def test_split_is_the_same_in_another_process():
    code = (
        "import numpy as np; from ringtrain.data import split, ArrayDataset;"
        "data = ArrayDataset(np.arange(40), np.arange(40) % 3);"
        "print(split(data, [0.2, 0.8], seed=5)[0].indices.tolist())"
    )
    other = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    here = split(ArrayDataset(np.arange(40), np.arange(40) % 3), [0.2, 0.8], seed=5)[0].indices.tolist()
    assert other.strip() == str(here)


def test_a_part_can_be_split_again():
    rest, _ = split(labelled(300, 3), [0.8, 0.2])
    train, valid = split(rest, [0.75, 0.25])
    assert isinstance(train, Subset) and (len(train), len(valid)) == (180, 60)
    assert not set(train.take(range(180))[0]) & set(valid.take(range(60))[0])


@pytest.mark.parametrize(
    "parts, message",
    [
        ([0.5, 0.4], r"sum to 1, got \[0.5, 0.4\]"),
        ([5, 4], r"sum to the 10 samples.*sum to 9"),
        ([1.5, -0.5], "must not be negative"),
        ([float("nan"), 1.0], "must not be negative"),
        ([], "list of counts or of fractions"),
        (0.8, "list of counts or of fractions"),
        (["a"], "list of counts or of fractions"),
        ([0.99, 0.01], r"10 samples are too few.*\[10, 0\]"),
    ],
)
def test_parts_that_make_no_sense(parts, message):
    with pytest.raises(ValueError, match=message):
        split(labelled(10, 2), parts)


@pytest.mark.parametrize(
    "data",
    [
        ArrayDataset(np.arange(10)),
        ArrayDataset(np.zeros((10, 2)), np.ones(10)),
        [0] * 10,
    ],
)
def test_no_labels_to_stratify_on(data):
    with pytest.raises(ValueError, match=r"no integer labels.*stratify=False"):
        split(data, [0.5, 0.5])
    assert [len(p) for p in split(data, [0.5, 0.5], stratify=False)] == [5, 5]


@pytest.mark.parametrize("total", [0, 1, 13, 1797])
def test_apportion_rounds_each_share_up_or_down(total):
    weights = np.array([3, 0, 1, 7, 2.5])
    counts = apportion(total, weights)
    assert counts.sum() == total and np.all(np.abs(counts - total * weights / weights.sum()) < 1)


@pytest.mark.parametrize("n", [0, 1, 13, 1000])
def test_permutation_holds_every_index_once(n):
    assert sorted(permutation(n, 3, SAMPLER, 2).tolist()) == list(range(n))


def test_permutation_depends_on_seed_epoch_and_purpose():
    orders = {
        tuple(permutation(50, *key))
        for key in [(0, SAMPLER, 0), (0, SAMPLER, 1), (1, SAMPLER, 0), (0, SPLIT, 0), (2**63, SAMPLER, 0)]
    }
    assert len(orders) == 5


def test_permutation_is_the_same_for_ever():
    # Written down once: ranks with other NumPy versions and later releases must draw the same order.
    assert permutation(10, 7, SAMPLER, 3).tolist() == [6, 4, 8, 9, 0, 2, 5, 3, 1, 7]


def test_permutation_puts_each_value_everywhere_equally_often():
    n, draws = 8, 4000
    counts = np.zeros((n, n))
    for epoch in range(draws):
        counts[np.arange(n), permutation(n, 0, SAMPLER, epoch)] += 1
    deviation = np.sqrt(draws * (1 / n) * (1 - 1 / n))
    assert np.abs(counts - draws / n).max() < 5 * deviation


@pytest.mark.parametrize("key", [{"seed": -1}, {"seed": 0, "epoch": -1}, {"seed": 2**64}])
def test_permutation_refuses_keys_outside_64_bits(key):
    with pytest.raises(ValueError, match="must not be negative"):
        permutation(4, purpose=SAMPLER, **key)
