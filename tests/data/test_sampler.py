import numpy as np
import pytest

from ringtrain.data import DistributedSampler, RandomSampler, SequentialSampler
from ringtrain.data import sampler as sampler_module
from ringtrain.data.sampler import World

RANKS = [1, 2, 3, 4]


def per_rank(n, ranks, epoch=0, **options):
    samplers = [DistributedSampler(range(n), ranks, rank, **options) for rank in range(ranks)]
    for sampler in samplers:
        sampler.set_epoch(epoch)
        assert len(sampler) == len(list(sampler))
    return [list(sampler) for sampler in samplers]


def test_sequential():
    assert list(SequentialSampler(range(5))) == [0, 1, 2, 3, 4] and len(SequentialSampler(range(5))) == 5


def test_random_sampler_covers_everything_in_another_order_each_epoch():
    sampler = RandomSampler(range(50), seed=3)
    first = list(sampler)
    assert list(sampler) == first, "looking at a sampler does not move it on"
    sampler.set_epoch(1)
    second = list(sampler)
    assert first != second and sorted(first) == sorted(second) == list(range(50))
    sampler.set_epoch(0)
    assert list(sampler) == first
    assert list(RandomSampler(range(50), seed=4)) != first


@pytest.mark.parametrize("shuffle", [True, False])
@pytest.mark.parametrize("ranks", RANKS)
@pytest.mark.parametrize("n", [4, 13, 17, 100])
def test_uneven_parts_are_disjoint_and_cover_everything(n, ranks, shuffle):
    parts = per_rank(n, ranks, shuffle=shuffle, pad=False)
    assert sorted(i for part in parts for i in part) == list(range(n))
    assert max(map(len, parts)) - min(map(len, parts)) <= 1


@pytest.mark.parametrize("shuffle", [True, False])
@pytest.mark.parametrize("ranks", RANKS)
@pytest.mark.parametrize("n", [4, 13, 17, 100])
def test_padding_makes_equal_parts_by_repeating_the_first_of_the_order(n, ranks, shuffle):
    parts = per_rank(n, ranks, shuffle=shuffle)
    assert {len(part) for part in parts} == {-(-n // ranks)}
    order = np.array(parts).T.ravel().tolist()
    assert sorted(order[:n]) == list(range(n)) and order[n:] == order[: len(order) - n]


@pytest.mark.parametrize("ranks", RANKS)
@pytest.mark.parametrize("n", [4, 13, 17, 100])
def test_drop_last_makes_equal_disjoint_parts(n, ranks):
    parts = per_rank(n, ranks, drop_last=True)
    assert {len(part) for part in parts} == {n // ranks}
    assert len(set().union(*parts)) == n // ranks * ranks


@pytest.mark.parametrize("ranks", RANKS)
def test_a_step_of_n_ranks_reads_what_one_rank_with_n_times_the_batch_reads(ranks):
    n, batch = 97, 5
    one = list(RandomSampler(range(n), seed=6))
    parts = per_rank(n, ranks, seed=6)
    for step in range(n // (ranks * batch)):
        together = [i for part in parts for i in part[step * batch : (step + 1) * batch]]
        assert sorted(together) == sorted(one[step * ranks * batch : (step + 1) * ranks * batch])


def test_epochs_reshuffle_across_ranks():
    first, second = per_rank(100, 4), per_rank(100, 4, epoch=1)
    assert all(set(a) != set(b) for a, b in zip(first, second, strict=True))


@pytest.mark.parametrize("options", [{}, {"drop_last": True}, {"drop_last": True, "pad": False}])
def test_fewer_samples_than_ranks_is_an_error_on_every_rank(options):
    for rank in range(4):
        sampler = DistributedSampler(range(3), 4, rank, **options)
        with pytest.raises(ValueError, match=r"3 samples are too few for 4 ranks.*fewer ranks or more data"):
            list(sampler)
        with pytest.raises(ValueError, match="too few"):
            len(sampler)


def test_fewer_samples_than_ranks_may_be_evaluated():
    assert per_rank(3, 4, pad=False, shuffle=False) == [[0], [1], [2], []]
    assert per_rank(0, 2, pad=False) == [[], []]


def test_without_numbers_the_place_is_asked_when_the_epoch_starts(monkeypatch):
    sampler = DistributedSampler(range(10), shuffle=False)
    assert (sampler.rank, sampler.num_replicas, list(sampler)) == (0, 1, list(range(10)))
    monkeypatch.setattr(sampler_module, "world", World(rank=2, size=3))
    assert (sampler.rank, sampler.num_replicas, len(sampler)) == (2, 3, 4)
    assert list(sampler) == [2, 5, 8, 1]
    assert DistributedSampler(range(10), 1, 0).num_replicas == 1, "what was given stands"


@pytest.mark.parametrize(
    "place, message",
    [
        ((4, None), "both num_replicas and rank or neither, got num_replicas=4, rank=None"),
        ((None, 0), "both num_replicas and rank or neither"),
        ((4, 4), r"rank must lie in 0\.\.3 for num_replicas=4, got 4"),
        ((4, -1), "got -1"),
    ],
)
def test_a_place_that_does_not_exist(place, message):
    with pytest.raises(ValueError, match=message):
        DistributedSampler(range(10), *place)


def test_bad_epochs():
    with pytest.raises(ValueError, match="must not be negative, got -1"):
        RandomSampler(range(3)).set_epoch(-1)
    with pytest.raises(TypeError):
        RandomSampler(range(3)).set_epoch(1.5)
