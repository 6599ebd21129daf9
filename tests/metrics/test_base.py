"""Metrics: the same figure however samples are batched."""

import math

import ml_dtypes
import numpy as np
import pytest

import ringtrain as rt
from ringtrain.metrics import Accuracy, Mean

LOGITS = np.random.default_rng(0).standard_normal((53, 7))
LABELS = np.random.default_rng(1).integers(0, 7, 53)
SPLITS = [[53], [1] * 53, [13, 17, 23], [50, 3], [0, 53, 0]]


@pytest.mark.parametrize("sizes", SPLITS)
def test_ragged_batches_give_the_figure_of_all(sizes):
    accuracy, mean = Accuracy(), Mean()
    start = 0
    for size in sizes:
        x, y = LOGITS[start : start + size], LABELS[start : start + size]
        accuracy.update(rt.from_numpy(x), rt.from_numpy(y))
        mean.update(x.sum(axis=1).mean() if size else math.nan, size)  # a mean of nothing is nan, and counts nothing
        start += size
    assert accuracy.value() == np.mean(LOGITS.argmax(1) == LABELS)
    assert mean.value() == pytest.approx(LOGITS.sum(1).mean(), rel=53 * 2.0**-53, abs=1e-14)
    assert accuracy.totals[1] == mean.totals[1] == 53


@pytest.mark.parametrize("dtype", [np.float16, ml_dtypes.bfloat16, np.float32, np.float64])
def test_values_of_every_kind(dtype):
    mean = Mean()
    mean.update(rt.from_numpy(np.array(1.5, dtype)).requires_grad_(), 2)
    mean.update(np.array(1.5, dtype)[()], 1)
    mean.update(3, 1)
    assert mean.value() == (1.5 * 3 + 3) / 4
    accuracy = Accuracy()
    accuracy.update(rt.from_numpy(np.eye(3).astype(dtype)), [0, 1, 0])
    assert accuracy.value() == 2 / 3


def test_nothing_counted_and_reset():
    mean = Mean()
    assert math.isnan(mean.value())
    mean.update(2.0, 3)
    mean.reset()
    assert math.isnan(mean.value()) and not mean.totals.any()


@pytest.mark.parametrize("scores, labels", [((5, 3), (4,)), ((5,), (5,)), ((5, 3), (5, 1)), ((5, 3, 1), (5,))])
def test_shapes_that_do_not_fit(scores, labels):
    with pytest.raises(ValueError) as caught:
        Accuracy().update(np.zeros(scores), np.zeros(labels, int))
    assert str(caught.value) == f"Accuracy wants scores (N, C) and labels (N,); got {scores} and {labels}"


def test_scores_that_are_nan_are_never_right():
    accuracy = Accuracy()
    accuracy.update(np.array([[np.nan, np.nan], [0.0, 1.0]]), np.array([0, 1]))
    assert accuracy.value() == 0.5


def test_nothing_is_added_to_what_has_been_merged():
    rt.init()
    loss = Mean()
    loss.update(2.0, 3)
    rt.merge_metrics(loss)
    for wrong in (lambda: loss.update(1.0), lambda: rt.merge_metrics(loss)):
        with pytest.raises(RuntimeError, match="reset"):
            wrong()
    assert loss.value() == 2.0
    loss.reset()
    loss.update(5.0)
    assert loss.value() == 5.0
    rt.shutdown()
