"""Cutting a data set into parts that are disjoint, cover it, and are the same on every rank."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from ringtrain.data.dataset import Subset, labels_of
from ringtrain.data.shuffle import SPLIT, permutation


def split(dataset: Any, parts: Sequence[float] | Sequence[int], seed: int = 0, stratify: bool = True) -> list[Subset]:
    """Cut a data set into random parts: `train, test = split(data, [0.8, 0.2])`.

    parts: counts (ints, which sum to len(dataset)) or fractions (floats, which sum to 1). Fractions become
        counts by the largest-remainder method: each is the exact share rounded up or down, and they sum to
        len(dataset).
    seed: the parts are a function of (seed, len(dataset), labels) and of nothing else, so that every rank
        that calls this gets the same ones.
    stratify: give each part its share of every class, by `dataset.labels`. With two parts each class is its
        exact share rounded up or down; with more, parts are cut off one after the other, each so.

    Within a part, samples stay in the order of the data set. Raises ValueError for parts that do not sum up,
    a part left without a sample, and stratify=True on a data set without labels.
    """
    total = len(dataset)
    counts = _counts(total, parts)
    shuffled = permutation(total, seed, SPLIT)
    if stratify:
        # Sorted by class, still shuffled within each: what _cut takes evenly from here is even over classes.
        shuffled = shuffled[np.argsort(_labels(dataset)[shuffled], kind="stable")]
    chosen = []
    for count in counts[:-1]:
        part, shuffled = _cut(shuffled, count) if stratify else (shuffled[:count], shuffled[count:])
        chosen.append(part)
    return [Subset(dataset, np.sort(part)) for part in (*chosen, shuffled)]


def _counts(total: int, parts: Sequence[float] | Sequence[int]) -> list[int]:
    sizes = np.asarray(parts)
    if sizes.ndim != 1 or sizes.size == 0 or sizes.dtype.kind not in "iuf":
        raise ValueError(f"split: parts must be a list of counts or of fractions, got {parts!r}")
    if not np.all(sizes >= 0):  # as written, NaN fails too
        raise ValueError(f"split: parts must not be negative, got {list(parts)}")
    if sizes.dtype.kind == "f":
        if not math.isclose(sizes.sum(), 1, abs_tol=1e-6):
            raise ValueError(f"split: fractions must sum to 1, got {list(parts)}: {sizes.sum():g}")
        counts = apportion(total, sizes)
    elif sizes.sum() != total:
        raise ValueError(
            f"split: counts must sum to the {total} samples of the data set, "
            f"got {list(parts)} which sum to {sizes.sum()}"
        )
    else:
        counts = sizes
    if total and np.any((counts == 0) & (sizes > 0)):
        raise ValueError(
            f"split: {total} samples are too few for parts {list(parts)}: they would get {counts.tolist()} samples"
        )
    return counts.tolist()


def apportion(total: int, weights: np.ndarray) -> np.ndarray:
    """Whole numbers that sum to `total` and are proportional to `weights`: the largest-remainder method."""
    exact = total * (weights / weights.sum())
    counts = np.floor(exact).astype(np.int64)
    largest_first = np.argsort(counts - exact, kind="stable")
    counts[largest_first[: total - counts.sum()]] += 1
    return counts


def _labels(dataset: Any) -> np.ndarray:
    labels = labels_of(dataset)
    if labels is None:
        raise ValueError(
            f"split: {type(dataset).__name__} has no integer labels to stratify on; "
            f"pass stratify=False, or define its `labels`"
        )
    return labels


def _cut(ordered: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Take `count` of the indices, spaced evenly, and the rest; both keep their order.

    Of any run of m neighbours, m * count / len(ordered) are taken, rounded up or down: the steps of
    floor(j * count / len) tell which.
    """
    steps = np.arange(len(ordered) + 1) * count // max(len(ordered), 1)
    taken = np.diff(steps) == 1
    return ordered[taken], ordered[~taken]
