"""Augmentation as a function: what a random transform draws is decided by (seed, epoch, sample, place in the pipeline).

The loader says which samples it reads, in which epoch; transforms ask `uniform` for numbers, one row a sample. So an
epoch's images come out the same from any number of worker processes and ranks, in batches of any size, and again
after a resume. A sample is named by its index in the data set that the loader reads: a sample that an epoch reads
twice is augmented alike both times.

Where nobody has said anything (a transform called by hand) samples are numbered as they come, so that calls differ.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable
from types import TracebackType
from typing import Any

import numpy as np

from ringtrain import random

__all__ = ["drawing", "normal", "uniform"]

LARGEST = 2.0**-32
_place = threading.local()
_by_hand = 0


class drawing:
    """In its body the samples `samples` of an epoch are read: `with drawing([3, 1], epoch=2): ...`.

    samples   integers, shape (n,): transforms called in the body get n images, or one at a time where n is 1
    epoch, seed  the rest of what draws depend on, besides `rt.seed`
    path      tells draws of nested parts of a pipeline apart
    """

    __slots__ = ("before", "drawn", "epoch", "path", "samples", "seed")

    def __init__(self, samples: Any, epoch: int = 0, seed: int = 0, path: str = ""):
        self.samples, self.epoch, self.seed, self.path = np.asarray(samples), epoch, seed, path
        self.drawn = 0  # draws so far: the next one's name

    def __enter__(self) -> drawing:
        self.before = current()
        _place.current = self
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        _place.current = self.before

    def part(self, rows: Any, path: str) -> drawing:
        return drawing(self.samples[rows], self.epoch, self.seed, path)


def current() -> drawing | None:
    """What this thread is reading, if anybody has said."""
    return getattr(_place, "current", None)


def narrowed(rows: Any) -> drawing:
    """For a body that reads only these rows (positions) of the batch: the same draws as when all are read at once."""
    whole = current()
    if whole is None:
        raise RuntimeError("drawing.narrowed: nobody has said which samples are read")
    part = whole.part(rows, whole.path)
    part.drawn = whole.drawn
    return part


def reading(samples: Any) -> Any:
    """For a body that reads these samples: theirs are the draws unless somebody further out has said whose they are."""
    whole = current()
    if whole is None:
        return drawing(samples)
    if len(whole.samples) == len(samples):
        return contextlib.nullcontext()
    # One sample made of several, a mosaic: they draw as parts of it.
    whole.drawn += 1
    owner = int(whole.samples[0]) if len(whole.samples) else 0
    return drawing(samples, whole.epoch, whole.seed, f"{whole.path}{whole.drawn - 1}@{owner}/")


def scoped() -> Any:
    """For a body whose number of draws does not shift the draws after it."""
    whole = current()
    return contextlib.nullcontext() if whole is None else branch(slice(None), len(whole.samples))


def branch(rows: Any, n: int) -> drawing:
    """For a body that only these rows of n pass through, such as RandomApply's."""
    whole = current()
    if whole is None:
        return drawing(_numbers(n)[rows], path="by hand/")
    whole.drawn += 1
    return whole.part(rows, f"{whole.path}{whole.drawn - 1}/")


def uniform(n: int, width: int = 1) -> np.ndarray:
    """Uniform in [0, 1), float64 of shape (n, width), a row for each of the n samples that are being read."""
    place = current()
    if place is None:
        return _unit(_numbers(n), width, "augment/by hand", 0)
    if len(place.samples) != n:
        raise ValueError(
            f"a random transform got {n} images while {len(place.samples)} samples are read: "
            f"a transform takes the whole batch, or one sample within __getitem__"
        )
    place.drawn += 1
    return _unit(place.samples, width, f"augment/{place.seed}/{place.path}{place.drawn - 1}", place.epoch)


def normal(n: int, width: int = 1) -> np.ndarray:
    """Standard normal, float64 of shape (n, width), by Box and Muller."""
    unit = uniform(n, 2 * width).reshape(n, width, 2)
    return np.sqrt(-2 * np.log(1 - unit[..., 0])) * np.cos(2 * np.pi * unit[..., 1])


def choose(n: int, p: float) -> np.ndarray:
    """True with probability p, for each of n samples."""
    return uniform(n)[:, 0] < p


def _unit(samples: np.ndarray, width: int, name: str, epoch: int) -> np.ndarray:
    return random.row_bits(samples, width, name, epoch) * LARGEST


def _numbers(n: int) -> np.ndarray:
    global _by_hand
    _by_hand += n
    return np.arange(_by_hand - n, _by_hand)


def applied(transform: Callable[[Any], Any], x: Any, samples: Any) -> Any:
    """`transform(x)`, a batch of these samples unless somebody further out has said whose they are."""
    with reading(samples), scoped():
        return transform(x)
