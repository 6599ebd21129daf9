import gc
import itertools
import threading
import time
import traceback
import weakref

import numpy as np
import pytest

from ringtrain.data import ArrayDataset, DataLoader, Dataset, DistributedSampler, RandomSampler
from ringtrain.tensor import Tensor

N = 17
DATA = ArrayDataset(np.arange(N * 6, dtype=np.float32).reshape(N, 2, 3), np.arange(N))
HANG = 30  # seconds after which a thread that should have ended has not

prefetching = pytest.mark.parametrize("prefetch", [0, 1, 2, 50])


@pytest.fixture(autouse=True)
def no_thread_is_left():
    before = set(threading.enumerate())
    yield
    gc.collect()
    for thread in set(threading.enumerate()) - before:
        thread.join(HANG)
        assert not thread.is_alive(), f"{thread} is left over"


def labels(loader):
    return [y.numpy().tolist() for _, y in loader]


def one_by_one(loader):
    return [label for batch in labels(loader) for label in batch]


def prefetch_threads():
    return [t for t in threading.enumerate() if t.name == "ringtrain-prefetch"]


class Failing(Dataset):
    """Raises `error` when asked for sample 10."""

    def __init__(self, error):
        self.error = error

    def __len__(self):
        return N

    def __getitem__(self, index):
        if index == 10:
            self.fail()
        return (index,)

    def fail(self):
        raise self.error


class Watched(ArrayDataset):
    """Counts the batches that were gathered."""

    def __init__(self):
        super().__init__(np.arange(1000))
        self.taken, self.event = 0, threading.Event()

    def take(self, indices):
        self.taken += 1
        self.event.set()
        return super().take(indices)


@prefetching
def test_batches_hold_the_samples_in_order(prefetch):
    loader = DataLoader(DATA, batch_size=5, prefetch=prefetch)
    batches = list(loader)
    assert len(loader) == 4 == len(batches)
    assert all(type(t) is Tensor for batch in batches for t in batch)
    assert [x.shape for x, _ in batches] == [(5, 2, 3)] * 3 + [(2, 2, 3)]
    np.testing.assert_array_equal(np.concatenate([x.numpy() for x, _ in batches]), DATA.arrays[0])
    np.testing.assert_array_equal(np.concatenate([y.numpy() for _, y in batches]), np.arange(N))
    assert batches[0][0].dtype == np.float32 and batches[0][1].dtype == np.int64


def test_tensors_wrap_what_take_returned():
    class Fixed(Dataset):
        def __len__(self):
            return 4

        def take(self, indices):
            return (self.buffer,)

    data = Fixed()
    data.buffer = np.zeros(4)
    ((x,),) = DataLoader(data, batch_size=4)
    assert np.shares_memory(x.numpy(), data.buffer) and x.dtype == np.float64


def test_a_device_that_is_named_gets_the_values_in_their_dtype():
    data = ArrayDataset(np.arange(4) / 3, np.arange(4, dtype=np.uint8))
    ((x, y),) = DataLoader(data, batch_size=4, device="cpu")
    assert x.device == "cpu" and x.dtype == np.float64 and y.dtype == np.uint8
    np.testing.assert_array_equal(x.numpy(), np.arange(4) / 3)


@prefetching
def test_drop_last(prefetch):
    loader = DataLoader(DATA, batch_size=5, drop_last=True, prefetch=prefetch)
    assert len(loader) == 3 and labels(loader) == np.arange(15).reshape(3, 5).tolist()


def test_drop_last_of_everything_is_an_error():
    loader = DataLoader(DATA, batch_size=18, drop_last=True)
    for use in (len, iter):
        with pytest.raises(ValueError, match="17 samples do not fill one batch of 18"):
            use(loader)


def test_no_samples_make_no_batches():
    assert list(DataLoader([], batch_size=3)) == [] and len(DataLoader([], batch_size=3)) == 0


@prefetching
def test_shuffle_reshuffles_by_itself_and_is_a_function_of_seed_and_epoch(prefetch):
    loader = DataLoader(DATA, batch_size=N, shuffle=True, seed=4, prefetch=prefetch)
    epochs = [labels(loader)[0] for _ in range(3)]
    assert all(sorted(epoch) == list(range(N)) for epoch in epochs)
    assert len(set(map(tuple, epochs))) == 3
    again = DataLoader(DATA, batch_size=N, shuffle=True, seed=4)
    again.set_epoch(2)
    assert labels(again)[0] == epochs[2]
    assert labels(DataLoader(DATA, batch_size=N, shuffle=True, seed=5))[0] != epochs[0]


def test_set_epoch_before_every_epoch_as_pytorch_users_do():
    sampler = DistributedSampler(DATA, 2, 1, seed=9)
    loader = DataLoader(DATA, batch_size=3, sampler=sampler)
    for epoch in (0, 1, 5, 5):
        sampler.set_epoch(epoch)
        expected = sampler.indices().tolist()
        assert one_by_one(loader) == expected
        loader.set_epoch(epoch)
        assert one_by_one(loader) == expected


@pytest.mark.parametrize("ranks", [2, 3, 4])
def test_ranks_together_step_as_one_rank_with_a_larger_batch(ranks):
    one = labels(DataLoader(DATA, batch_size=2 * ranks, shuffle=True, drop_last=True))
    samplers = [DistributedSampler(DATA, ranks, rank) for rank in range(ranks)]
    each = [labels(DataLoader(DATA, batch_size=2, sampler=sampler)) for sampler in samplers]
    for step, batch in enumerate(one):
        assert sorted(label for mine in each for label in mine[step]) == sorted(batch)


def test_a_list_of_indices_is_a_sampler():
    loader = DataLoader(DATA, batch_size=2, sampler=[9, 3, 5])
    assert labels(loader) == [[9, 3], [5]] and len(loader) == 2
    with pytest.raises(TypeError, match="list has no set_epoch"):
        loader.set_epoch(1)


def test_several_passes_at_once():
    loader = DataLoader(DATA, batch_size=1, prefetch=1)
    pairs = [(int(a.numpy()[0]), int(b.numpy()[0])) for _, a in loader for _, b in loader]
    assert pairs == list(itertools.product(range(N), repeat=2))
    first, second = iter(loader), iter(loader)
    seen = [int(next(it)[1].numpy()[0]) for it in (first, second, first, first, second)]
    assert seen == [0, 0, 1, 2, 1]
    del first, second
    assert not prefetch_threads()


def test_breaking_off_ends_the_thread_at_once():
    data = Watched()
    for _ in DataLoader(data, prefetch=2):
        assert len(prefetch_threads()) == 1
        break
    gc.collect()
    assert not prefetch_threads()
    assert data.taken <= 4, "a thread that runs on would have taken the other 996 batches"


def test_an_exception_in_the_loop_ends_the_thread():
    with pytest.raises(KeyError):
        for _ in DataLoader(Watched()):
            raise KeyError
    gc.collect()
    assert not prefetch_threads()


def test_a_pass_that_is_never_begun_has_no_thread():
    waiting = iter(DataLoader(Watched()))
    assert not prefetch_threads()
    del waiting


@pytest.mark.parametrize("prefetch", [1, 3])
def test_the_thread_runs_ahead_but_no_further_than_told(prefetch):
    data = Watched()
    batches = iter(DataLoader(data, prefetch=prefetch))
    next(batches)
    while data.taken < 1 + prefetch:  # it gets there without anybody asking for a second batch
        assert data.event.wait(HANG)
        data.event.clear()
    for _ in range(20):
        next(batches)
        assert data.taken <= 22 + prefetch
    batches.close()


def test_breaking_off_wakes_a_thread_that_waits_for_room():
    data = Watched()
    for _ in DataLoader(data, prefetch=1):
        while data.taken < 2:
            assert data.event.wait(HANG)
            data.event.clear()
        time.sleep(0.05)  # by now it most likely waits; if not, the test asks less
        break
    gc.collect()
    assert not prefetch_threads() and data.taken == 2


@prefetching
@pytest.mark.parametrize("error", [ZeroDivisionError("in the data"), StopIteration(), SystemExit(3)])
def test_an_exception_in_the_data_set_reaches_the_loop_with_its_traceback(prefetch, error):
    loader = DataLoader(Failing(error), batch_size=2, prefetch=prefetch)
    seen = []
    # A StopIteration would end the loop as if the data were at an end; Python makes it a RuntimeError.
    with pytest.raises(RuntimeError if type(error) is StopIteration else type(error)) as caught:
        for (x,) in loader:
            seen.extend(x.numpy().tolist())
    assert seen == list(range(10))
    text = "".join(traceback.format_exception(caught.value))
    assert "self.fail()" in text and "raise self.error" in text
    if prefetch:
        assert "while gathering batch 5, samples 10, 11" in text
    assert not prefetch_threads()


def test_an_exception_that_was_handled_leaves_no_cycle_behind():
    class Large:
        pass

    class Data(Failing):
        def fail(self):
            large = Large()
            self.alive = weakref.ref(large)
            raise ZeroDivisionError

    data = Data(None)
    gc.disable()
    try:
        try:
            list(DataLoader(data, batch_size=2))
        except ZeroDivisionError:
            assert data.alive() is not None
        assert data.alive() is None, "the frame that failed waits for a garbage collection"
    finally:
        gc.enable()


@pytest.mark.parametrize(
    "options, message",
    [
        ({"batch_size": 0}, "batch_size must be an integer >= 1, got 0"),
        ({"batch_size": 2.0}, "batch_size must be an integer >= 1, got 2.0"),
        ({"batch_size": True}, "got True"),
        ({"prefetch": -1}, "prefetch must be an integer >= 0, got -1"),
        ({"shuffle": True, "sampler": RandomSampler(DATA)}, r"a sampler \(RandomSampler\) exclude"),
    ],
)
def test_bad_arguments(options, message):
    with pytest.raises(ValueError, match=message):
        DataLoader(DATA, **options)


def test_a_sampler_needs_a_length():
    with pytest.raises(TypeError, match=r"a sampler needs a length and indices.*got generator"):
        DataLoader(DATA, sampler=(i for i in range(3)))


def test_too_few_samples_for_the_ranks_reaches_the_user():
    with pytest.raises(ValueError, match="17 samples are too few for 20 ranks"):
        list(DataLoader(DATA, sampler=DistributedSampler(DATA, 20, 3)))
