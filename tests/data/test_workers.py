"""Worker processes: the same batches, errors that arrive, and nothing left behind, whatever happens."""

import gc
import multiprocessing
import os
import signal
import sys
import traceback
from pathlib import Path

import numpy as np
import pytest

from ringtrain.data import ArrayDataset, DataLoader, WorkerError
from ringtrain.data import transforms as tf
from ringtrain.data.workers.parcel import Slot, View, new_file, pickled, receive, send

HERE = Path(__file__).parent
HANG = 60  # seconds after which what should have ended has not
COUNTS = pytest.mark.parametrize("workers", [1, 2, 3])


@pytest.fixture(scope="module")
def helpers():
    sys.path.insert(0, str(HERE))  # which the fork server takes over
    import workers_helpers

    yield workers_helpers
    sys.path.remove(str(HERE))


def descriptors():
    return {
        os.readlink(f"/proc/self/fd/{fd}")
        for fd in os.listdir("/proc/self/fd")
        if os.path.exists(f"/proc/self/fd/{fd}")
    }


@pytest.fixture(autouse=True)
def nothing_is_left():
    yield
    gc.collect()
    assert not multiprocessing.active_children()
    assert not [name for name in descriptors() if "ringtrain-data" in name]


def flat(batches):
    return [np.concatenate(column) for column in zip(*([t.numpy() for t in b] for b in batches), strict=True)]


def augmented(n=101):
    x = np.random.default_rng(0).integers(0, 256, (n, 3, 16, 16), np.uint8)
    work = tf.Compose(tf.RandomCrop(12), tf.RandomFlipLeftRight(), tf.ColorJitter(0.4, 0.4, 0.4, 0.1), tf.ToFloat())
    return ArrayDataset(x, np.arange(n), transform=work)


@COUNTS
def test_any_number_of_workers_gives_the_same_batches(helpers, workers):
    data = augmented()
    here, there = (DataLoader(data, 13, shuffle=True, seed=2, num_workers=n) for n in (0, workers))
    for _ in range(2):
        for a, b in zip(here, there, strict=True):
            for x, y in zip(a, b, strict=True):
                assert x.dtype == y.dtype
                np.testing.assert_array_equal(x.numpy(), y.numpy())
    assert len(there) == 8


def test_batches_that_are_kept_stay_what_they_were(helpers):
    loader = DataLoader(ArrayDataset(np.arange(4000).reshape(40, 100)), 2, num_workers=2, prefetch_factor=1)
    kept = [batch[0] for batch in loader]
    np.testing.assert_array_equal(np.concatenate([t.numpy() for t in kept]), np.arange(4000).reshape(40, 100))
    for tensor in kept:  # and they are the loop's own, to write to
        tensor.numpy()[:] = 7
    del kept, tensor
    reused = [b[0].numpy()[0, 0] for b in loader]
    assert reused == list(range(0, 4000, 200))


@COUNTS
def test_a_batch_may_hold_anything(helpers, workers):
    here, there = (list(DataLoader(helpers.Mixed(), 5, num_workers=n)) for n in (0, workers))
    for a, b in zip(here, there, strict=True):
        assert a["name"] == b["name"] and b["empty"].shape == (5, 0, 3)
        for key in ("x", "draw"):
            np.testing.assert_array_equal(a[key].numpy(), b[key].numpy())


@COUNTS
def test_a_stream_gives_the_same_batches(helpers, workers):
    for n, drop in ((20, False), (23, False), (23, True), (0, False), (2, True)):
        here, there = (list(DataLoader(helpers.Count(n), 5, drop_last=drop, num_workers=w)) for w in (0, workers))
        assert len(here) == len(there)
        for a, b in zip(here, there, strict=True):
            np.testing.assert_array_equal(np.stack(a), np.stack(b))


def test_what_a_worker_knows(helpers):
    loader = DataLoader(helpers.Facts(), 4, num_workers=3)
    numbers, counts, threads, pids, draws = flat(loader)
    assert numbers.tolist() == [0] * 4 + [1] * 4 + [2] * 4 + [0] * 4 + [1] * 4 + [2] * 4
    assert set(counts) == {3} and set(threads) == {1}
    assert len(set(pids)) == 3 and os.getpid() not in pids
    assert len(set(draws)) == 24, "workers do not draw alike"
    loader = DataLoader(helpers.Facts(), 4, num_workers=2)
    np.testing.assert_array_equal(flat(loader)[4], draws)  # of epoch 0 again


def test_functions_go_along(helpers):
    loader = DataLoader(helpers.Initialised(), 1, num_workers=2, worker_init_fn=helpers.init)
    assert [b[0].numpy()[0] for b in loader][:4] == [0, 1, 0, 1]
    loader = DataLoader(helpers.Acting(n=3), 2, num_workers=1, collate_fn=helpers.stack_strings)
    assert list(loader) == [["sample 0", "sample 1"], ["sample 2"]]


def test_persistent_workers_stay_until_the_loader_goes(helpers):
    loader = DataLoader(helpers.Facts(), 4, num_workers=2, persistent_workers=True)
    first, second = (set(flat(loader)[3]) for _ in range(2))
    assert first == second
    for _ in loader:
        break  # what was under way is not mistaken for the next pass
    assert flat(loader)[0].tolist() == [0] * 4 + [1] * 4 + [0] * 4 + [1] * 4 + [0] * 4 + [1] * 4
    inner = [set(flat(loader)[3]) for _ in zip(loader, range(2), strict=False)]
    assert not first & (inner[0] | inner[1]), "a pass within a pass has workers of its own"
    other = DataLoader(helpers.Facts(), 4, num_workers=2)
    assert set(flat(other)[3]) != set(flat(other)[3])
    del loader
    gc.collect()
    assert not multiprocessing.active_children()


def test_epochs_and_seeds_reach_persistent_workers(helpers):
    import ringtrain as rt

    kept = DataLoader(augmented(20), 20, num_workers=1, persistent_workers=True)
    before = rt.random.state.seed
    try:
        images = []
        for seed in (0, 1):
            rt.random.state.seed = seed
            for epoch in (0, 1):
                for loader in (kept, DataLoader(augmented(20), 20)):
                    loader.set_epoch(epoch)
                    images.append(next(iter(loader))[0].numpy().tobytes())
    finally:
        rt.random.state.seed = before
    assert images[::2] == images[1::2] and len(set(images)) == 4


@pytest.mark.parametrize("error", [ZeroDivisionError, SystemExit, WorkerError])
def test_an_exception_arrives_with_its_traceback(helpers, error):
    act = {ZeroDivisionError: helpers.fail, SystemExit: helpers.leave, WorkerError: helpers.fail_oddly}[error]
    seen = []
    with pytest.raises(error) as caught:
        for (x,) in DataLoader(helpers.Acting(act), 2, num_workers=3):
            seen += x.numpy().tolist()
    assert seen == list(range(10))
    text = "".join(traceback.format_exception(caught.value))
    assert f"in {act.__name__}" in text and "self.act()" in text, "the worker's own traceback"
    assert "while gathering batch 5, samples 10, 11" in text and "worker 2 (process " in text
    if error is WorkerError:
        assert "Odd: 1 and 2" in text


def test_persistent_workers_are_started_anew_after_an_exception(helpers):
    loader = DataLoader(helpers.Acting(helpers.fail), 2, num_workers=2, persistent_workers=True)
    for _ in range(2):
        with pytest.raises(ZeroDivisionError):
            list(loader)


@pytest.mark.parametrize(
    "act, how",
    [("kill", "was killed by SIGKILL .*memory runs out"), ("end", "ended with exit status 7 .*__main__")],
)
def test_a_worker_that_dies_is_an_error_that_names_it(helpers, act, how):
    seen = []
    with pytest.raises(WorkerError, match=rf"worker 1 \(process \d+\) {how}") as caught:
        for (x,) in DataLoader(helpers.Acting(getattr(helpers, act)), 2, num_workers=2):
            seen += x.numpy().tolist()
    assert "batch 5, samples 10, 11" in str(caught.value) and seen == list(range(10))


def test_a_worker_that_is_killed_from_outside(helpers):
    loader = iter(DataLoader(helpers.Facts(), 4, num_workers=2))
    first = next(loader)
    os.kill(int(first[3].numpy()[0]), signal.SIGKILL)
    with pytest.raises(WorkerError, match=r"worker 0 \(process \d+\) was killed by SIGKILL"):
        list(loader)


def test_a_worker_that_takes_too_long(helpers):
    with pytest.raises(TimeoutError, match=r"worker 1 \(process \d+\) has not finished batch 5.* within 0.5 s"):
        list(DataLoader(helpers.Acting(helpers.sleep), 2, num_workers=2, timeout=0.5))


def test_errors_while_workers_start(helpers):
    with pytest.raises(ZeroDivisionError) as caught:
        list(DataLoader([1, 2], num_workers=1, worker_init_fn=helpers.Acting(helpers.fail, at=0).__getitem__))
    assert "while it started" in "".join(traceback.format_exception(caught.value))
    with pytest.raises(ZeroDivisionError):
        list(DataLoader([helpers.Unloadable()], num_workers=1))


def test_what_cannot_be_pickled_says_what_to_do():
    class Local:
        def __len__(self):
            return 3

    for arguments in ({"dataset": [1], "collate_fn": lambda s: s}, {"dataset": Local()}, {"dataset": [open(__file__)]}):  # noqa: SIM115
        with pytest.raises(TypeError, match=r"go to worker processes, but: .*define them at the top of a module"):
            list(DataLoader(**arguments, num_workers=1))


def test_leaving_the_loop_ends_the_workers(helpers):
    for _ in DataLoader(helpers.Facts(), 1, num_workers=2):
        break
    assert not multiprocessing.active_children()
    with pytest.raises(KeyError):
        for _ in DataLoader(helpers.Facts(), 1, num_workers=2):
            raise KeyError
    for _ in DataLoader(helpers.Acting(helpers.sleep, at=1), 1, num_workers=2):
        break  # though one is busy for ever
    waiting = iter(DataLoader(helpers.Facts(), num_workers=2))
    assert not multiprocessing.active_children(), "a pass that is never begun has no workers"
    del waiting


@pytest.mark.parametrize(
    "options, message",
    [
        ({"num_workers": -1}, "num_workers must be an integer >= 0"),
        ({"prefetch_factor": 0}, "prefetch_factor must be an integer >= 1"),
        ({"timeout": -1}, "timeout is in seconds"),
        ({"persistent_workers": True}, "needs num_workers >= 1"),
    ],
)
def test_bad_arguments(options, message):
    with pytest.raises(ValueError, match=message):
        DataLoader([1], **options)


# ---- parcels


def test_slots_grow_and_views_keep_what_they_lent():
    descriptor = new_file()
    slot, view, done = Slot(descriptor), View(descriptor), []
    try:
        small = np.arange(10)
        head, buffers = pickled((small, "text"))
        lent, text = view.read(head, slot.write(buffers), False, lambda: done.append(1))
        assert text == "text" and not done
        head, buffers = pickled(np.ones(10**6))
        spans = slot.write(buffers)
        copied = view.read(head, spans, True, lambda: done.append(2))
        assert done == [2] and copied.sum() == 10**6
        assert lent.base is not None and lent.flags.writeable
        del lent
        assert done == [2, 1]
    finally:
        os.close(descriptor)


def test_a_data_set_is_shared_until_it_is_written():
    descriptor = new_file()
    try:
        head, spans = send({"x": np.arange(1000)}, descriptor)
        one, two = (receive(head, spans, descriptor)["x"] for _ in range(2))
        one[:] = 0
        np.testing.assert_array_equal(two, np.arange(1000))
        del one, two
    finally:
        os.close(descriptor)
