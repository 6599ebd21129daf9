import numpy as np
import pytest

import ringtrain as rt
from ringtrain.data import (
    ArrayDataset,
    BatchSampler,
    ConcatDataset,
    DataLoader,
    Dataset,
    DistributedSampler,
    FakeData,
    RandomSampler,
    SequentialSampler,
    SimpleDataset,
    Stream,
    SubsetRandomSampler,
    TensorDataset,
    WeightedRandomSampler,
    default_collate,
    random_split,
)
from ringtrain.data import sampler as sampler_module
from ringtrain.data.sampler import World
from ringtrain.tensor import Tensor

from .workers_helpers import Count


def values(loader):
    return [batch[0].numpy().tolist() for batch in loader]


# ---- collate


def test_collate_keeps_structure():
    samples = [{"x": np.full(2, i), "name": f"s{i}", "pair": (i / 2, [i, i])} for i in range(3)]
    batch = default_collate(samples)
    assert batch["name"] == ["s0", "s1", "s2"] and batch["x"].tolist() == [[0, 0], [1, 1], [2, 2]]
    halves, (first, second) = batch["pair"]
    assert halves.dtype == np.float32 and halves.tolist() == [0, 0.5, 1]
    assert first.tolist() == second.tolist() == [0, 1, 2]


def test_a_loader_makes_tensors_of_arrays_wherever_they_are():
    samples = [{"x": np.full(2, i), "name": f"s{i}"} for i in range(3)]
    (batch,) = DataLoader(samples, 3)
    assert type(batch["x"]) is Tensor and batch["name"] == ["s0", "s1", "s2"]


def test_collate_fn_gets_samples_and_may_return_tensors():
    def padded(samples):
        longest = max(len(x) for x, _ in samples)
        rows = [np.pad(x, (0, longest - len(x))) for x, _ in samples]
        return {"x": rt.tensor(np.stack(rows)), "n": [len(x) for x, _ in samples]}

    data = [(np.arange(i + 1), i) for i in range(4)]
    first, second = DataLoader(data, 2, collate_fn=padded)
    assert first["x"].numpy().tolist() == [[0, 0], [0, 1]] and second["n"] == [3, 4]


@pytest.mark.parametrize(
    "samples, error, message",
    [
        ([{"a": 1}, {"b": 1}], ValueError, r"different keys: sample 0 has \['a'\], sample 1 has \['b'\]"),
        ([{"a": np.zeros(2)}, {"a": np.zeros(3)}], ValueError, r"\['a'\]: cannot stack .*: sample 0 has \(2,\)"),
        ([object(), object()], TypeError, "made of numbers, arrays and strings, got object"),
    ],
)
def test_what_does_not_go_together(samples, error, message):
    with pytest.raises(error, match=message):
        default_collate(samples)


# ---- data sets of data sets


def test_concat_takes_across_and_keeps_order():
    data = ConcatDataset(
        [ArrayDataset(np.arange(4) * 10, np.arange(4)), ArrayDataset(np.arange(3) + 100, np.arange(3))]
    )
    assert len(data) == 7 and data[5][0] == 101 and data[-1][0] == 102 and data[-7][0] == 0
    x, y = data.take([6, 0, 4, 3, 6])
    assert x.tolist() == [102, 0, 100, 30, 102] and y.tolist() == [2, 0, 0, 3, 2]
    assert data.take([1, 2])[0].tolist() == [10, 20]
    assert data.labels.tolist() == [0, 1, 2, 3, 0, 1, 2]
    for index in (7, -8):
        with pytest.raises(IndexError, match=f"index {index} is outside of 7 samples"):
            data[index]


def test_concat_refuses_what_does_not_stack():
    data = ConcatDataset([ArrayDataset(np.zeros((2, 3))), ArrayDataset(np.zeros((2, 4)))])
    with pytest.raises(ValueError, match="samples do not stack"):
        data.take([0, 3])
    with pytest.raises(ValueError, match="at least one"):
        ConcatDataset([])


def test_transform_gets_fields_and_transform_first_batches():
    data = ArrayDataset(np.arange(6.0).reshape(3, 2), np.arange(3))
    x, y = data.transform(lambda x, y: (x.sum(), y + 1)).take([2, 0])
    assert x.tolist() == [9, 1] and y.tolist() == [3, 1]
    shapes = []

    def double(x):
        shapes.append(x.shape)
        return 2 * x

    first = data.transform_first(double)
    x, y = first.take([2, 0])
    assert x.tolist() == [[8, 10], [0, 2]] and y.tolist() == [2, 0] and shapes == [(2, 2)]
    assert first[1][0].tolist() == [4, 6] and first.labels.tolist() == [0, 1, 2]
    images = SimpleDataset([(np.zeros((1, 3, 4 + i)), i) for i in range(3)])
    assert images.transform_first(lambda x: x[..., :2]).take([0, 2])[0].shape == (2, 1, 3, 2)


def test_names_of_pytorch_and_gluon():
    x, y = rt.tensor(np.arange(3.0)), rt.tensor(np.arange(3))
    assert TensorDataset(x, y).take([2])[1].tolist() == [2]
    assert SimpleDataset([1, 4, 9]).take([1, 2])[0].tolist() == [4, 9]
    with pytest.raises(TypeError, match="needs a length and an index, got generator"):
        SimpleDataset(i for i in range(3))
    parts = random_split(ArrayDataset(np.arange(10)), [7, 3], seed=1)
    assert sorted(np.concatenate([p.take(range(len(p)))[0] for p in parts])) == list(range(10))


def test_fake_data_is_the_same_every_time():
    data = FakeData(5, (3, 7, 9), 4, seed=2)
    x, y = data.take([0, 3, 3])
    assert x.shape == (3, 3, 7, 9) and x.dtype == np.uint8 and y.max() < 4
    np.testing.assert_array_equal(x[1], x[2])
    assert (x[0] != x[1]).mean() > 0.9
    with pytest.raises(IndexError):
        data[5]


# ---- streams


def test_a_stream_is_read_in_order():
    loader = DataLoader(Count(7), 3)
    assert values(loader) == [[0, 1, 2], [3, 4, 5], [6]]
    assert values(DataLoader(Count(7), 3, drop_last=True)) == [[0, 1, 2], [3, 4, 5]]
    assert (
        values(DataLoader(Count(6), 3, prefetch=0)) == [[0, 1, 2], [3, 4, 5]] and values(DataLoader(Count(0), 3)) == []
    )
    with pytest.raises(TypeError, match="Count is a stream, which has no length"):
        len(loader)
    with pytest.raises(ValueError, match="decides its order"):
        DataLoader(Count(7), 3, shuffle=True)


def test_any_iterable_that_starts_anew_is_a_stream():
    loader = DataLoader(Stream(range(5), prepare=lambda n: n * n), 2)
    assert values(loader) == values(loader) == [[0, 1], [4, 9], [16]]
    with pytest.raises(TypeError, match="a generator can be read once only"):
        Stream(i for i in range(3))


def test_a_stream_is_dealt_out_to_ranks_and_draws_alike(monkeypatch):
    (one,) = DataLoader(Count(12), 12)
    drawn = dict(zip(one[0].numpy().tolist(), one[1].numpy().tolist(), strict=True))
    assert len(set(drawn.values())) == 12
    seen = []
    for rank in range(3):
        monkeypatch.setattr(sampler_module, "world", World(rank, 3))
        monkeypatch.setattr("ringtrain.data.loader.world", World(rank, 3))
        for numbers, draws in DataLoader(Count(12), 2):
            seen += numbers.numpy().tolist()
            assert [drawn[i] for i in numbers.numpy().tolist()] == draws.numpy().tolist()
    assert seen == [0, 3, 6, 9, 1, 4, 7, 10, 2, 5, 8, 11]


# ---- samplers


def test_subset_random_is_a_permutation_of_the_subset():
    sampler = SubsetRandomSampler([9, 3, 5, 7], seed=1)
    first = list(sampler)
    sampler.set_epoch(1)
    assert sorted(first) == sorted(sampler) == [3, 5, 7, 9] and len(sampler) == 4
    assert any(list(SubsetRandomSampler([9, 3, 5, 7], seed=s)) != first for s in range(2, 5))


@pytest.mark.parametrize("replacement", [True, False])
def test_weighted_draws_are_as_frequent_as_the_weights(replacement):
    weights = np.array([0, 1, 2, 5, 0])
    counts, n = np.zeros(5), 4000
    sampler = WeightedRandomSampler(weights, 1 if not replacement else 4, replacement)
    for epoch in range(n if not replacement else n // 4):
        sampler.set_epoch(epoch)
        drawn = list(sampler)
        assert len(drawn) == len(sampler)
        counts += np.bincount(drawn, minlength=5)
    p = weights / 8
    assert np.all(np.abs(counts - n * p) <= 5 * np.sqrt(n * p * (1 - p)))


def test_weighted_without_replacement_never_repeats():
    sampler = WeightedRandomSampler([0, 1, 1e-9, 1e9, 2], 4, replacement=False)
    assert sorted(sampler) == [1, 2, 3, 4]
    for arguments in (([0, 1], 2, False), ([0, 0], 1, True)):
        with pytest.raises(ValueError, match="too few"):
            WeightedRandomSampler(*arguments)
    with pytest.raises(ValueError, match="finite numbers >= 0"):
        WeightedRandomSampler([1, -1], 1)


def test_random_sampler_draws_parts_and_repeats():
    part = RandomSampler(range(20), num_samples=6)
    assert len(set(part)) == 6 == len(part)
    again = list(RandomSampler(range(5), replacement=True, num_samples=400))
    counts = np.bincount(again, minlength=5)
    assert counts.sum() == 400 and np.abs(counts - 80).max() < 5 * 8
    with pytest.raises(ValueError, match="num_samples=21 of 20 samples without replacement"):
        list(RandomSampler(range(20), num_samples=21))


@pytest.mark.parametrize("drop_last", [True, False])
def test_batch_sampler_gives_batches_to_a_loader(drop_last):
    data = ArrayDataset(np.arange(10))
    batches = BatchSampler(RandomSampler(data, seed=3), 4, drop_last)
    assert len(batches) == len(list(batches)) == (2 if drop_last else 3)
    loader = DataLoader(data, batch_sampler=batches)
    expected = list(batches)
    assert values(loader) == expected and values(loader) != expected, "the loader moves its epoch on"
    loader.set_epoch(0)
    assert values(loader) == expected and len(loader) == len(expected)
    assert values(DataLoader(data, batch_sampler=[[1], [2, 3]])) == [[1], [2, 3]]
    with pytest.raises(ValueError, match="batch_sampler excludes"):
        DataLoader(data, 2, batch_sampler=batches)


def test_ranks_share_another_samplers_order():
    weighted = WeightedRandomSampler([1, 2, 3, 4], 9, seed=2)
    samplers = [DistributedSampler(weighted, 3, rank) for rank in range(3)]
    for epoch in (0, 4):
        weighted.set_epoch(epoch)
        order = list(weighted)
        for sampler in samplers:
            sampler.set_epoch(epoch)
        assert np.array([list(s) for s in samplers]).T.ravel().tolist() == order
    assert list(DistributedSampler(SequentialSampler(range(4)), 2, 1)) == [1, 3]


def test_a_parameter_that_does_not_exist_is_named():
    with pytest.raises(TypeError, match="no parameter 'pin_memory': transfers"):
        DataLoader([1], pin_memory=True)
    with pytest.raises(TypeError, match="no parameter 'workers'"):
        DataLoader([1], workers=2)


def test_a_data_set_that_ends_early_is_an_error_not_an_end():
    class Short(Dataset):
        def __len__(self):
            return 3

        def __getitem__(self, index):
            raise StopIteration

    with pytest.raises(RuntimeError):
        list(DataLoader(Short(), prefetch=0))
