"""Merging any partition of the samples, in any order, is the metric of all."""

import numpy as np
import pytest

import ringtrain as rt

from .zoo import COUNT, ZOO, count, rng


@pytest.mark.parametrize("parts", [1, 2, 3, 7])
@pytest.mark.parametrize("name", ZOO)
def test_a_partition_gives_the_figure_of_all(name, parts):
    make, feed = ZOO[name]
    whole = count(make, feed, range(COUNT)).value()
    of = rng(parts).integers(0, parts, COUNT)  # a part may be empty
    pieces = [count(make, feed, rng(99).permutation(np.flatnonzero(of == part))) for part in range(parts)]
    merged = make()
    merged.merge(*pieces[::-1])
    np.testing.assert_allclose(merged.value(), whole, rtol=1e-13, atol=1e-15)
    if name in ("auc", "pearson", "spearman", "coco", "voc", "voc07", "confusion", "bleu"):
        np.testing.assert_array_equal(merged.value(), whole)  # whole numbers, or samples in one order
    assert np.isfinite(whole).all()


@pytest.mark.parametrize("name", ZOO)
def test_nothing_counted_and_reset(name):
    make, feed = ZOO[name]
    metric = make()
    empty = np.asarray(metric.value())
    assert np.isnan(empty).all() or (name == "confusion" and not empty.any())
    metric.update(*feed(2))
    metric.reset()
    np.testing.assert_array_equal(metric.value(), empty)


@pytest.mark.parametrize("name", ZOO)
def test_what_is_merged_over_ranks_is_closed(name):
    rt.init()
    make, feed = ZOO[name]
    metric = count(make, feed, range(9))
    value = metric.value()
    rt.merge_metrics(metric)
    np.testing.assert_array_equal(metric.value(), value)
    with pytest.raises(RuntimeError, match="reset"):
        metric.update(*feed(3))
    metric.reset()
    metric.update(*feed(3))
    rt.shutdown()


def test_metrics_that_do_not_count_the_same():
    with pytest.raises(ValueError, match="do not count the same"):
        rt.metrics.F1(3, "macro").merge(rt.metrics.F1(4, "macro"))
    with pytest.raises(ValueError, match="do not count the same"):
        rt.metrics.MAE().merge(rt.metrics.MSE())


@pytest.mark.parametrize(
    "metric, arguments",
    [
        (rt.metrics.MSE(), (np.arange(4.0), np.array([1.0, 1.0, 5.0, 0.0]))),
        (rt.metrics.Accuracy(), (np.eye(4), np.array([0, 1, 1, 3]))),
        (rt.metrics.TopKAccuracy(2), (np.eye(4), np.array([0, 1, 1, 3]))),
        (rt.metrics.F1(4, "macro"), (np.array([0, 1, 2, 3]), np.array([0, 1, 1, 3]))),
        (rt.metrics.AUC(), (np.array([0.1, 0.9, 0.4, 0.4]), np.array([0, 1, 1, 0]))),
        (rt.metrics.Pearson(), (np.array([0.1, 0.9, 0.4, 0.3]), np.array([0.0, 1.0, 5.0, 0.0]))),
        (rt.metrics.Spearman(), (np.array([0.1, 0.9, 0.4, 0.4]), np.array([0.0, 1.0, 5.0, 0.0]))),
        (rt.metrics.CrossEntropy(), (np.eye(4), np.array([0, 1, 1, 3]))),
    ],
)
def test_a_weight_counts_as_copies(metric, arguments):
    weights = np.array([2, 1, 0, 3])
    metric.update(*arguments, weights)
    weighted = metric.value()
    metric.reset()
    metric.update(*(np.repeat(a, weights, axis=0) for a in arguments))
    assert weighted == pytest.approx(metric.value(), rel=1e-14)
    with pytest.raises(ValueError, match="weights are 4 numbers >= 0, one a sample"):
        metric.update(*arguments, np.ones(3))
    with pytest.raises(ValueError, match="weights are 4 numbers >= 0"):
        metric.update(*arguments, np.array([1, 1, -1, 1]))
