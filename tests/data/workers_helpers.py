"""Data sets and functions that go to worker processes: those must be importable there."""

import os
import signal
import time

import numpy as np
import threadpoolctl

from ringtrain.data import Dataset, IterableDataset, drawing, get_worker_info


class Odd(Exception):
    """Cannot be made again from its arguments."""

    def __init__(self, a, b):
        super().__init__(f"{a} and {b}")


class Acting(Dataset):
    """Sample i is (i,), and sample `at` does something first."""

    def __init__(self, act=None, at=10, n=17):
        self.act, self.at, self.n = act, at, n

    def __len__(self):
        return self.n

    def __getitem__(self, index):
        if index == self.at and self.act:
            self.act()
        return (index,)


def fail():
    raise ZeroDivisionError("in the data")


def fail_oddly():
    raise Odd(1, 2)


def leave():
    raise SystemExit(3)


def kill():
    os.kill(os.getpid(), signal.SIGKILL)


def end():
    os._exit(7)


def sleep():
    time.sleep(1000)


class Facts(Dataset):
    """What a worker knows: its number, how many there are, its threads, its process, a draw past ringtrain."""

    def __len__(self):
        return 24

    def __getitem__(self, index):
        info = get_worker_info()
        threads = max((pool["num_threads"] for pool in threadpoolctl.threadpool_info()), default=1)
        return info.id, info.num_workers, threads, os.getpid(), np.random.random()  # noqa: NPY002


class Mixed(Dataset):
    """Samples with all that a batch may hold, of sizes that grow."""

    def __len__(self):
        return 30

    def __getitem__(self, index):
        x = np.full((index // 5 + 1, 1000), index, np.float32)
        return {"x": x, "empty": np.zeros((0, 3)), "name": f"s{index}", "draw": drawing.uniform(1)[0, 0]}


class Count(IterableDataset):
    def __init__(self, n):
        self.n = n

    def __iter__(self):
        return iter(range(self.n))

    def prepare(self, sample):
        return sample, drawing.uniform(1)[0, 0]


class Unloadable:
    """Can be pickled, but not made again."""

    def __reduce__(self):
        return fail, ()


def init(worker):
    os.environ["RINGTRAIN_TEST_INIT"] = str(worker)


class Initialised(Acting):
    def __getitem__(self, index):
        return (int(os.environ["RINGTRAIN_TEST_INIT"]),)


def stack_strings(samples):
    return [f"sample {s[0]}" for s in samples]
