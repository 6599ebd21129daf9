"""Every metric, with something to feed it: name -> (make, sample number -> arguments of update)."""

import numpy as np

from ringtrain import metrics

COUNT = 41


def rng(*seed):
    return np.random.default_rng([*seed])


def classified(i, classes=5):
    """A batch of one to three samples: scores with ties, labels, weights."""
    n = 1 + i % 3
    scores = rng(1, i).integers(0, 6, (n, classes)).astype(np.float64)
    return scores, rng(2, i).integers(0, classes, n), rng(3, i).integers(0, 4, n) / 2


def chosen(i, classes=5):
    scores, labels, weights = classified(i, classes)
    return scores.argmax(1), labels, weights


def pairs(i):
    n = 1 + i % 3
    x = rng(4, i).integers(-5, 5, n) / 2
    return x, x + rng(5, i).standard_normal(n), rng(3, i).integers(0, 4, n) / 2


def ranked(i):
    n = 1 + i % 3
    labels = rng(6, i).integers(0, 2, n)
    return labels + rng(7, i).integers(-3, 3, n) / 2, labels, rng(3, i).integers(0, 4, n) / 2


def sentences(i):
    def words(j):
        return [str(w) for w in rng(8, i, j).integers(0, 3, 4 + (i + j) % 5)]

    return [words(0)], [[words(1), words(2)]]


def image(i):
    """Truths, and detections that are truths moved a little, doubled, or nowhere near."""
    low = rng(9, i).integers(0, 20, (i % 4, 2)).astype(np.float64)
    truth = np.concatenate([low, low + rng(10, i).integers(4, 9, (i % 4, 2))], axis=1)
    kinds = rng(11, i).integers(0, 3, i % 4)
    boxes = np.concatenate([truth + rng(12, i).integers(-1, 2, truth.shape), truth[:1], rng(13, i).random((2, 4)) * 9])
    classes = np.concatenate([kinds, kinds[:1], [0, 1]])
    scores = rng(14, i).integers(1, 6, len(boxes)) / 5
    return boxes, scores, classes, truth, kinds, rng(15, i).random(i % 4) < 0.2


ZOO = {
    "mean": (metrics.Mean, lambda i: (rng(i).standard_normal(), 1 + i % 3)),
    "accuracy": (metrics.Accuracy, classified),
    "top 2": (lambda: metrics.TopKAccuracy(2), classified),
    "confusion": (lambda: metrics.ConfusionMatrix(5), chosen),
    "precision": (lambda: metrics.Precision(5, "macro"), chosen),
    "recall": (lambda: metrics.Recall(5, "weighted"), chosen),
    "f1": (metrics.F1, lambda i: chosen(i, 2)),
    "f1 micro": (lambda: metrics.F1(5, "micro"), classified),
    "f1 each": (lambda: metrics.F1(5, None), chosen),
    "mcc": (lambda: metrics.MCC(5), chosen),
    "iou": (lambda: metrics.MeanIoU(5), chosen),
    "auc": (metrics.AUC, ranked),
    "mae": (metrics.MAE, pairs),
    "mse": (metrics.MSE, pairs),
    "rmse": (metrics.RMSE, pairs),
    "pearson": (metrics.Pearson, pairs),
    "spearman": (metrics.Spearman, pairs),
    "cross-entropy": (metrics.CrossEntropy, classified),
    "perplexity": (lambda: metrics.Perplexity(ignore_index=0), classified),
    "bleu": (metrics.BLEU, sentences),
    "bleu smoothed": (lambda: metrics.BLEU(smooth="add"), sentences),
    "coco": (lambda: metrics.MeanAveragePrecision(3), image),
    "voc": (lambda: metrics.MeanAveragePrecision(3, "voc"), image),
    "voc07": (lambda: metrics.MeanAveragePrecision(3, "voc07"), image),
}


def count(make, feed, numbers):
    metric = make()
    for i in numbers:
        metric.update(*feed(i))
    return metric
