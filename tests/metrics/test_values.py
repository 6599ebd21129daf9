"""What metrics compute, against their definitions written out."""

import math

import numpy as np
import pytest

import ringtrain as rt
from ringtrain import metrics

N = 200


def rng(seed):
    return np.random.default_rng(seed)


# --- classes ------------------------------------------------------------------------------------------------
def sample(classes):
    labels = rng(1).integers(0, classes, N)
    predictions = np.where(rng(2).random(N) < 0.6, labels, rng(3).integers(0, classes, N))
    return predictions, labels


def decided(kind, **options):
    metric = kind(**options)
    metric.update(*sample(options.get("num_classes", 2)))
    return metric.value()


def test_top_k():
    scores, labels = rng(1).standard_normal((N, 7)), rng(2).integers(0, 7, N)
    for k in (1, 2, 5, 7, 9):
        top = metrics.TopKAccuracy(k)
        top.update(rt.from_numpy(scores), labels)
        order = np.argsort(-scores, axis=1)[:, :k]
        assert top.value() == np.mean([label in row for label, row in zip(labels, order, strict=True)])
    ties = metrics.TopKAccuracy(2)
    ties.update(np.zeros((3, 4)), [0, 1, 2])
    assert ties.value() == 2 / 3
    unknown = metrics.TopKAccuracy(2)
    unknown.update(np.array([[np.nan, 0.0, 1.0], [0.0, 1.0, 2.0]]), [0, 7])
    assert unknown.value() == 0


def test_confusion_matrix():
    predictions, labels = sample(3)
    matrix = decided(metrics.ConfusionMatrix, num_classes=3)
    for i in range(3):
        for j in range(3):
            assert matrix[i, j] == np.count_nonzero((labels == i) & (predictions == j))
    pixels = metrics.ConfusionMatrix(3, ignore_index=255)
    pixels.update(np.eye(3)[[[0, 1], [2, 1]]], np.array([[0, 255], [1, 1]]))
    np.testing.assert_array_equal(pixels.value(), [[1, 0, 0], [0, 1, 1], [0, 0, 0]])


@pytest.mark.parametrize("classes", [2, 5])
def test_precision_recall_f1_iou(classes):
    predictions, labels = sample(classes)
    figures = {}
    for kind in (metrics.Precision, metrics.Recall, metrics.F1, metrics.MeanIoU):
        each = []
        for c in range(classes):
            tp = np.count_nonzero((predictions == c) & (labels == c))
            fp = np.count_nonzero((predictions == c) & (labels != c))
            fn = np.count_nonzero((predictions != c) & (labels == c))
            precision, recall = tp / (tp + fp), tp / (tp + fn)
            f1 = 2 * precision * recall / (precision + recall)
            each.append({"Precision": precision, "Recall": recall, "F1": f1}.get(kind.__name__, tp / (tp + fp + fn)))
        figures[kind] = each
        np.testing.assert_allclose(decided(kind, num_classes=classes, average=None), each, rtol=1e-14)
        assert decided(kind, num_classes=classes, average="macro") == pytest.approx(np.mean(each), rel=1e-14)
        support = np.bincount(labels, minlength=classes)
        weighted = decided(kind, num_classes=classes, average="weighted")
        assert weighted == pytest.approx(np.average(each, weights=support), rel=1e-14)
        if classes == 2:
            assert decided(kind, num_classes=2, average="binary") == pytest.approx(each[1], rel=1e-14)
    share = np.mean(predictions == labels)
    for kind in (metrics.Precision, metrics.Recall, metrics.F1):
        assert decided(kind, num_classes=classes, average="micro") == pytest.approx(share, rel=1e-14)


def test_classes_that_do_not_occur():
    f1 = metrics.F1(5, "macro")
    f1.update([0, 1, 1, 3], [0, 1, 0, 0])  # 2 and 4 are in neither; 3 is never right
    assert f1.value() == pytest.approx((0.5 + 2 / 3 + 0) / 3)


def test_mcc():
    predictions, labels = sample(2)
    assert decided(metrics.MCC) == pytest.approx(np.corrcoef(predictions, labels)[0, 1], rel=1e-12)
    predictions, labels = sample(4)
    x, y = np.eye(4)[predictions], np.eye(4)[labels]
    x, y = x - x.mean(0), y - y.mean(0)
    exact = (x * y).sum() / math.sqrt((x * x).sum() * (y * y).sum())
    assert decided(metrics.MCC, num_classes=4) == pytest.approx(exact, rel=1e-12)
    constant = metrics.MCC()
    constant.update([1, 1, 1], [0, 1, 1])
    assert constant.value() == 0


# --- ranking and regression ---------------------------------------------------------------------------------
def test_auc():
    labels = rng(1).integers(0, 2, N)
    scores = labels + rng(2).integers(-4, 4, N) / 2  # with ties
    auc = metrics.AUC()
    auc.update(scores, labels)
    up, down = scores[labels == 1], scores[labels == 0]
    won = (up[:, None] > down).sum() + 0.5 * (up[:, None] == down).sum()
    assert auc.value() == pytest.approx(won / (len(up) * len(down)), rel=1e-14)
    one = metrics.AUC()
    one.update([0.3, 0.4], [1, 1])
    assert math.isnan(one.value())


def test_errors():
    x, y = rng(1).standard_normal((N, 3)), rng(2).standard_normal((N, 3))
    for kind, exact in [
        (metrics.MAE, np.abs(x - y).mean()),
        (metrics.MSE, ((x - y) ** 2).mean()),
        (metrics.RMSE, math.sqrt(((x - y) ** 2).mean())),
    ]:
        metric = kind()
        metric.update(rt.from_numpy(x), rt.from_numpy(y))
        assert metric.value() == pytest.approx(exact, rel=1e-13)


def test_correlations():
    x = rng(1).integers(-3, 4, N).astype(np.float64)
    y = x + rng(2).integers(-2, 3, N)
    pearson, spearman = metrics.Pearson(), metrics.Spearman()
    for metric in (pearson, spearman):
        metric.update(x + 1e8, y)
    assert pearson.value() == pytest.approx(np.corrcoef(x, y)[0, 1], rel=1e-12)
    ranks = [np.array([np.sum(v < u) + (np.sum(v == u) + 1) / 2 for u in v]) for v in (x, y)]
    assert spearman.value() == pytest.approx(np.corrcoef(*ranks)[0, 1], rel=1e-12)
    flat = metrics.Pearson()
    flat.update([1.0, 1.0], [0.0, 3.0])
    assert math.isnan(flat.value())


# --- text ---------------------------------------------------------------------------------------------------
def test_cross_entropy_and_perplexity():
    logits, labels = rng(1).standard_normal((4, 6, 9)) * 30, rng(2).integers(0, 9, (4, 6))
    p = np.exp(logits - logits.max(-1, keepdims=True))
    p /= p.sum(-1, keepdims=True)
    losses = -np.log(np.take_along_axis(p, labels[..., None], -1))[..., 0]
    for metric, scores, exact in [
        (metrics.CrossEntropy(), logits, losses.mean()),
        (metrics.CrossEntropy(from_logits=False), p, losses.mean()),
        (metrics.Perplexity(ignore_index=3), logits, np.exp(losses[labels != 3].mean())),
    ]:
        metric.update(scores, labels)
        assert metric.value() == pytest.approx(exact, rel=1e-10)
    np.testing.assert_allclose(
        rt.nn.cross_entropy(rt.from_numpy(logits.reshape(-1, 9)), rt.from_numpy(labels.reshape(-1))).item(),
        losses.mean(),
        rtol=1e-10,
    )


def bleu(hypotheses, references, **options):
    metric = metrics.BLEU(**options)
    metric.update(hypotheses, references)
    return metric.value()


def test_bleu_by_hand():
    # Papineni et al. 2002: unigram precision of "the the the ..." is 2 / 7
    the = (["the the the the the the the"], [["the cat is on the mat", "there is a cat on the mat"]])
    assert bleu(*the, max_n=1) == pytest.approx(2 / 7)
    assert bleu(*the) == 0
    # the cat sat on mat | the cat sat on the mat: 5/5, 3/4, 2/3, 1/2, and 5 words for 6
    short = (["the cat sat on mat"], [["the cat sat on the mat"]])
    assert bleu(*short) == pytest.approx(math.exp(1 - 6 / 5) * (1 * 3 / 4 * 2 / 3 * 1 / 2) ** 0.25)
    assert bleu(*short, smooth="add") == pytest.approx(math.exp(-0.2) * (4 / 5 * 3 / 4 * 2 / 3) ** 0.25)
    # a corpus adds up counts before it divides: 5 + 2 of 7 words, 3 + 1 of 5 pairs; 7 words for 8
    both = (["the cat sat on mat", "a dog"], [["the cat sat on the mat"], ["a dog"]])
    assert bleu(*both, max_n=2) == pytest.approx(math.exp(1 - 8 / 7) * (7 / 7 * 4 / 5) ** 0.5)
    # nothing of four words in common: "floor" counts a tenth
    none = (["a b c d e"], [["a b c x e"]])
    assert bleu(*none) == 0
    assert bleu(*none, smooth="floor") == pytest.approx((4 / 5 * 2 / 4 * 1 / 3 * 0.1 / 2) ** 0.25)
    assert bleu([["x", "y"]], [[["x", "y"]]], max_n=2) == 1
    # of references as close, the shorter: no penalty
    assert bleu(["a b c"], [["a b", "a b c d"]], max_n=1) == pytest.approx(1.0)


# --- boxes --------------------------------------------------------------------------------------------------
def test_box_iou():
    a = [[0, 0, 2, 2], [1, 1, 3, 3], [5, 5, 5, 5]]
    np.testing.assert_allclose(metrics.box_iou(a, a), [[1, 1 / 7, 0], [1 / 7, 1, 0], [0, 0, 0]], rtol=1e-15)
    assert metrics.box_iou(np.zeros((0, 4)), a).shape == (0, 3)


BOX = np.array([0.0, 0.0, 10.0, 10.0])
DOWN = np.array([0, 100, 0, 100])


def moved(*by):
    """Boxes that overlap BOX with an IoU of (10 - by) / (10 + by)."""
    return np.array([BOX + np.array([d, 0, d, 0]) for d in by]).reshape(-1, 4)


def test_average_precision_by_hand():
    """Three truths far apart; detections, best first: right, wrong, right."""
    truth = np.array([BOX, BOX + 100, BOX + 200])
    boxes = np.array([BOX, BOX + 50, BOX + 100])
    update = (boxes, np.array([0.9, 0.8, 0.7]), np.zeros(3, int), truth, np.zeros(3, int))
    # recall 1/3 with precision 1, recall 2/3 with precision 2/3
    for style, exact in [
        ("voc", 1 / 3 + 1 / 3 * 2 / 3),
        ("voc07", (4 * 1 + 3 * 2 / 3) / 11),  # recalls 0 ... 0.3, then 0.4 ... 0.6
        ("coco", (34 * 1 + 33 * 2 / 3) / 101),  # 0 ... 0.33, then 0.34 ... 0.66
    ]:
        metric = metrics.MeanAveragePrecision(2, style)
        metric.update(*update)
        assert metric.value() == pytest.approx(exact, rel=1e-12), style
        assert np.isnan(metric.table()[:, 1]).all()


def far_apart(*right):
    """One truth after another far apart, and a detection on each, or on none, of falling score."""
    boxes = np.array([BOX + 100 * i + (0 if there else 50) for i, there in enumerate(right)])
    truth = np.array([BOX + 100 * i for i, there in enumerate(right) if there])
    return boxes, np.linspace(0.9, 0.1, len(right)), np.zeros(len(right), int), truth, np.zeros(len(truth), int)


def test_precision_never_falls_with_lower_recall():
    # precisions 1, 1/2, 2/3, 3/4 at recalls 1/3, 1/3, 2/3, 1: from 1/3 on it is 3/4
    for style, exact in [
        ("voc", (1 + 3 / 4 + 3 / 4) / 3),
        ("voc07", (4 * 1 + 7 * 3 / 4) / 11),
        ("coco", (34 * 1 + 67 * 3 / 4) / 101),
    ]:
        metric = metrics.MeanAveragePrecision(1, style, thresholds=[0.5])
        metric.update(*far_apart(True, False, True, True))
        assert metric.value() == pytest.approx(exact, rel=1e-12), style


@pytest.mark.parametrize("right", [(True, False), (False, True)])
@pytest.mark.parametrize("style", ["coco", "voc", "voc07"])
def test_equal_scores_are_one_point(style, right):
    boxes, scores, *rest = far_apart(*right)
    metric = metrics.MeanAveragePrecision(1, style, thresholds=[0.5])
    metric.update(boxes, np.full_like(scores, 0.5), *rest)
    assert metric.value() == 0.5


def test_thresholds_of_coco():
    metric = metrics.MeanAveragePrecision(1)
    metric.update(moved(2.0), [0.9], [0], [BOX], [0])  # an IoU of 8 / 12: right at 0.5, 0.55, 0.6, 0.65
    assert metric.value() == pytest.approx(0.4)
    np.testing.assert_array_equal(metric.table()[:, 0], [1.0] * 4 + [0.0] * 6)


def test_a_truth_is_found_once():
    near = np.concatenate([moved(0.0, 1.0), moved(1.0) + DOWN])
    truth = np.array([BOX, BOX + DOWN])
    for style, exact in [("coco", (51 * 1 + 50 * 2 / 3) / 101), ("voc", 0.5 + 0.5 * 2 / 3)]:
        metric = metrics.MeanAveragePrecision(1, style, thresholds=[0.5])
        metric.update(near, [0.9, 0.8, 0.7], [0, 0, 0], truth, [0, 0])
        assert metric.value() == pytest.approx(exact)
    # the second-best truth is free: COCO gives it, VOC does not
    for style, flags in [("coco", [1, 1]), ("voc", [1, 0])]:
        metric = metrics.MeanAveragePrecision(1, style, thresholds=[0.5])
        metric.update(moved(0.0, 0.5), [0.9, 0.8], [0, 0], moved(0.0, 3.0), [0, 0])
        np.testing.assert_array_equal(sorted(metric.samples[:, 2], reverse=True), flags)


def test_truths_to_be_ignored_and_limits():
    metric = metrics.MeanAveragePrecision(1, thresholds=[0.5])
    metric.update(moved(0.0, 100.0), [0.9, 0.8], [0, 0], moved(0.0, 100.0), [0, 0], [True, False])
    assert metric.value() == 1 and metric.totals[0] == 1
    metric = metrics.MeanAveragePrecision(1, thresholds=[0.5], max_detections=1)
    metric.update(moved(50.0, 0.0), [0.9, 0.8], [0, 0], [BOX], [0])
    assert metric.value() == 0
    empty = metrics.MeanAveragePrecision(2)
    empty.update(np.zeros((0, 4)), [], [], [BOX], [1])
    assert empty.value() == 0


# --- what does not fit --------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    "call, message",
    [
        (lambda: metrics.TopKAccuracy(0), "k must be >= 1"),
        (lambda: metrics.TopKAccuracy().update([1, 2], [1, 2]), r"wants scores \(N, C\)"),
        (lambda: metrics.ConfusionMatrix(1), "num_classes must be >= 2"),
        (lambda: metrics.ConfusionMatrix(3).update([0, 3], [0, 1]), r"prediction 3 is not in \[0, 3\)"),
        (lambda: metrics.ConfusionMatrix(3).update([0, 1], [0, -1]), r"label -1 is not in"),
        (lambda: metrics.ConfusionMatrix(3).update([0.2, 0.7], [0, 1]), "wants integer labels"),
        (lambda: metrics.ConfusionMatrix(2).update([[0.0, np.nan]], [0]), "scores are nan"),
        (lambda: metrics.F1(3), "'binary' is for two classes"),
        (lambda: metrics.F1(3, "mean"), "average is binary, micro"),
        (lambda: metrics.AUC().update([1.0, 2.0], [0, 2]), "labels of 0 and 1"),
        (lambda: metrics.AUC().update([1.0, np.nan], [0, 1]), "not nan"),
        (lambda: metrics.MAE().update([1.0, 2.0], [1.0]), "of one shape"),
        (lambda: metrics.Pearson().update([1.0, 2.0], [1.0]), "wants pairs"),
        (lambda: metrics.CrossEntropy().update(np.zeros((2, 3)), [0, 3]), r"labels lie in \[0, 3\); got 0 to 3"),
        (lambda: metrics.CrossEntropy().update(np.zeros((2, 3)), [[0], [1]]), r"wants scores \(..., C\)"),
        (lambda: metrics.BLEU(smooth="some"), "smooth is None, 'floor' or 'add'"),
        (lambda: metrics.BLEU().update("a b", ["a b"]), "a list of hypotheses"),
        (lambda: metrics.BLEU().update(["a b"], ["a b"]), "a list of one or more references"),
        (lambda: metrics.MeanAveragePrecision(2, "pascal"), "style is 'coco'"),
        (lambda: metrics.MeanAveragePrecision(2).update([BOX], [1.0], [2], [BOX], [0]), r"classes lie in \[0, 2\)"),
        (lambda: metrics.MeanAveragePrecision(2).update([BOX], [1.0, 2.0], [1], [BOX], [0]), "1 boxes, 2 scores"),
    ],
)
def test_errors_are_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()
