"""Rows of losses."""

import numpy as np

import ringtrain as rt
from ringtrain import nn

from .table import ORDER, Row, softmax

SIGNS = np.array([1, -1, 1, 1, -1])
PAIR = [((13,), (13,)), ((3, 4), (3, 4))]
FIVE = [((5,), (5,))]
CLASSES = np.array([0.5, 2.0, 0.25])
LABELS = np.array([[1, 0, -1], [2, -1, 0]])
WORDS = np.array([[0, 2, 2], [4, 1, 0]])


def _weights(x):
    return rt.from_numpy(CLASSES.astype(x.dtype))


def _smoothed(x, smoothing):
    scores = np.log(softmax(x, 1))
    plain = -(scores[np.arange(4), ORDER] * CLASSES[ORDER])
    uniform = -(scores * CLASSES).sum(1) / 3
    return (plain * (1 - smoothing) + uniform * smoothing).sum() / CLASSES[ORDER].sum()


def _sigmoid(x):
    return 1 / (1 + np.exp(-x))


def _softplus(x):
    return np.log1p(np.exp(x))


def _distance(a, b, p=2.0):
    return (abs(a - b + 1e-6) ** p).sum(-1) ** (1 / p)


def _cosine(a, b, axis=-1):
    return (a * b).sum(axis) / np.sqrt((a * a).sum(axis) * (b * b).sum(axis))


def _multi_margin(x, labels, p=1, weight=None):
    terms = np.maximum(0, 1 - x[np.arange(len(x)), labels][:, None] + x)
    terms = terms**p if weight is None else (terms * weight[labels][:, None]) ** p
    terms[np.arange(len(x)), labels] = 0
    return (terms.sum(1) / x.shape[1]).mean()


def _multilabel_margin(x):
    def one(row, labels):
        labels = labels[: list(labels).index(-1)]
        others = [j for j in range(len(row)) if j not in labels]
        return sum(max(0.0, 1 - row[i] + row[j]) for i in labels for j in others) / len(row)

    return np.mean([one(row, labels) for row, labels in zip(x, LABELS, strict=True)])


ROWS = [
    Row("mse_loss", rt.nn.mse_loss, lambda a, b: ((a - b) ** 2).mean(), [((13,), (13,)), ((3, 4), (3, 4))]),
    Row(
        "mse_loss/none",
        lambda a, b: rt.nn.mse_loss(a, b, "none"),
        lambda a, b: (a - b) ** 2,
        [((3, 4), (3, 4))],
    ),
    Row("l1_loss", lambda a, b: rt.nn.l1_loss(a, b, "sum"), lambda a, b: abs(a - b).sum(), [((13,), (13,))]),
    Row(
        "huber_loss",
        lambda a, b: rt.nn.huber_loss(a, b, 0.7),
        lambda a, b: np.where(abs(a - b) <= 0.7, (a - b) ** 2 / 2, 0.7 * (abs(a - b) - 0.35)).mean(),
        [((13,), (13,))],
    ),
    Row(
        "binary_cross_entropy_with_logits",
        rt.nn.binary_cross_entropy_with_logits,
        lambda a, t: -(t * np.log(1 / (1 + np.exp(-a))) + (1 - t) * np.log(1 - 1 / (1 + np.exp(-a)))).mean(),
        [((13,), (13,))],
    ),
    Row(
        "nll_loss",
        lambda x: rt.nn.nll_loss(x, ORDER),
        lambda x: -x[np.arange(4), ORDER].mean(),
        [((4, 3),)],
    ),
    Row(
        "linear_cross_entropy",
        lambda x, w: nn.linear_cross_entropy(x, w, ORDER, chunk_size=3),
        lambda x, w: np.asarray(-np.log(softmax(x @ w.T, 1))[np.arange(4), ORDER].mean()),
        [((4, 5), (3, 5))],
    ),
    Row(
        "cross_entropy",
        lambda x: rt.nn.cross_entropy(x, ORDER),
        lambda x: -np.log(softmax(x))[np.arange(4), ORDER].mean(),
        [((4, 3),), ((4, 17),)],
    ),
    Row(
        "cross_entropy/none",
        lambda x: rt.nn.cross_entropy(x, ORDER, reduction="none"),
        lambda x: -np.log(softmax(x))[np.arange(4), ORDER],
        [((4, 3),)],
    ),
    Row(
        "cross_entropy/weights",
        lambda x: nn.cross_entropy(x, ORDER, _weights(x), label_smoothing=0.3),
        lambda x: _smoothed(x, 0.3),
        [((4, 3),)],
    ),
    Row(
        "cross_entropy/probabilities",
        lambda x, t: nn.cross_entropy(x, t, reduction="none"),
        lambda x, t: -(t * np.log(softmax(x, 1))).sum(1),
        [((4, 3), (4, 3)), ((2, 3, 5), (2, 3, 5))],
    ),
    Row(
        "nll_loss/weights",
        lambda x: nn.nll_loss(x, ORDER, _weights(x), ignore_index=1),
        lambda x: -(x[np.arange(4), ORDER] * CLASSES[ORDER])[ORDER != 1].sum() / CLASSES[ORDER][ORDER != 1].sum(),
        [((4, 3),)],
    ),
    Row(
        "binary_cross_entropy",
        nn.binary_cross_entropy,
        lambda p, t: -(t * np.log(p) + (1 - t) * np.log(1 - p)).mean(),
        PAIR,
        (0.1, 0.9),
    ),
    Row(
        "binary_cross_entropy_with_logits/pos_weight",
        lambda a, t: nn.binary_cross_entropy_with_logits(a, t, pos_weight=2.0, reduction="sum"),
        lambda a, t: -(2 * t * np.log(_sigmoid(a)) + (1 - t) * np.log(_sigmoid(-a))).sum(),
        PAIR,
    ),
    Row(
        "sigmoid_focal_loss",
        nn.sigmoid_focal_loss,
        lambda a, t: (
            -(t * np.log(_sigmoid(a)) + (1 - t) * np.log(_sigmoid(-a)))
            * (t * _sigmoid(-a) + (1 - t) * _sigmoid(a)) ** 2
            * (t * 0.25 + (1 - t) * 0.75)
        ),
        PAIR,
        (0.1, 0.9),
    ),
    Row("soft_margin_loss", nn.soft_margin_loss, lambda a, t: _softplus(-a * t).mean(), PAIR),
    Row(
        "smooth_l1_loss",
        lambda a, b: nn.smooth_l1_loss(a, b, 0.7),
        lambda a, b: np.where(abs(a - b) < 0.7, (a - b) ** 2 / 1.4, abs(a - b) - 0.35).mean(),
        PAIR,
    ),
    Row("smooth_l1_loss/0", lambda a, b: nn.smooth_l1_loss(a, b, 0.0), lambda a, b: abs(a - b).mean(), PAIR),
    Row("log_cosh_loss", nn.log_cosh_loss, lambda a, b: np.log(np.cosh(a - b)).mean(), PAIR),
    Row("poisson_nll_loss", nn.poisson_nll_loss, lambda x, t: (np.exp(x) - t * x).mean(), PAIR),
    Row(
        "poisson_nll_loss/full",
        lambda x, t: nn.poisson_nll_loss(x, t, log_input=False, full=True, reduction="sum"),
        lambda x, t: (
            x - t * np.log(x + 1e-8) + np.where(t > 1, t * np.log(t) - t + np.log(2 * np.pi * t) / 2, 0)
        ).sum(),
        PAIR,
        (0.3, 3.0),
    ),
    Row(
        "gaussian_nll_loss",
        lambda x, t, v: nn.gaussian_nll_loss(x, t, v, full=True),
        lambda x, t, v: (np.log(v) + (x - t) ** 2 / v + np.log(2 * np.pi)).mean() / 2,
        [((13,), (13,), (13,)), ((3, 4), (3, 4), (3, 1))],
        (0.3, 2.0),
    ),
    Row("kl_div", nn.kl_div, lambda x, t: (t * (np.log(t) - x)).mean(), PAIR, (0.1, 0.9)),
    Row(
        "kl_div/log_target",
        lambda x, t: nn.kl_div(x, t, True, "batchmean"),
        lambda x, t: (np.exp(t) * (t - x)).sum() / len(x),
        PAIR,
    ),
    Row("hinge_loss", nn.hinge_loss, lambda x, t: np.maximum(0, 1 - x * t).mean(), PAIR),
    Row("squared_hinge_loss", nn.squared_hinge_loss, lambda x, t: (np.maximum(0, 1 - x * t) ** 2).mean(), PAIR),
    Row(
        "hinge_embedding_loss",
        lambda x: nn.hinge_embedding_loss(x, SIGNS),
        lambda x: np.where(SIGNS == 1, x, np.maximum(0, 1 - x)).mean(),
        [((5,),)],
    ),
    Row(
        "cosine_embedding_loss",
        lambda a, b: nn.cosine_embedding_loss(a, b, SIGNS, 0.1),
        lambda a, b: np.where(SIGNS == 1, 1 - _cosine(a, b), np.maximum(0, _cosine(a, b) - 0.1)).mean(),
        [((5, 3), (5, 3))],
        (0.3, 2.0),
    ),
    Row(
        "margin_ranking_loss",
        lambda a, b: nn.margin_ranking_loss(a, b, SIGNS, 0.1),
        lambda a, b: np.maximum(0, 0.1 - SIGNS * (a - b)).mean(),
        FIVE,
    ),
    Row(
        "triplet_margin_loss",
        nn.triplet_margin_loss,
        lambda a, p, n: np.maximum(0, 1 + _distance(a, p) - _distance(a, n)).mean(),
        [((5, 3),) * 3, ((3,),) * 3],
    ),
    Row(
        "triplet_margin_loss/swap",
        lambda *a: nn.triplet_margin_loss(*a, p=3.0, swap=True, reduction="none"),
        lambda a, p, n: np.maximum(0, 1 + _distance(a, p, 3) - np.minimum(_distance(a, n, 3), _distance(p, n, 3))),
        [((5, 3),) * 3],
    ),
    Row("multi_margin_loss", lambda x: nn.multi_margin_loss(x, ORDER), lambda x: _multi_margin(x, ORDER), [((4, 3),)]),
    Row(
        "multi_margin_loss/weights",
        lambda x: nn.multi_margin_loss(x, ORDER, 2, weight=_weights(x)),
        lambda x: _multi_margin(x, ORDER, 2, np.sqrt(CLASSES)),
        [((4, 3),)],
    ),
    Row("multilabel_margin_loss", lambda x: nn.multilabel_margin_loss(x, LABELS), _multilabel_margin, [((2, 3),)]),
    Row(
        "multilabel_soft_margin_loss",
        nn.multilabel_soft_margin_loss,
        lambda a, t: -(t * np.log(_sigmoid(a)) + (1 - t) * np.log(_sigmoid(-a))).mean(),
        [((3, 4), (3, 4))],
    ),
    # --- distances, tables
    Row("cosine_similarity", nn.cosine_similarity, lambda a, b: _cosine(a, b, 1), [((5, 3), (5, 3)), ((5, 3), (1, 3))]),
    Row("pairwise_distance", nn.pairwise_distance, _distance, [((5, 3), (5, 3)), ((5, 3), (3,))]),
    Row(
        "normalize",
        lambda x: nn.normalize(x, 3.0, 0),
        lambda x: x / (abs(x) ** 3).sum(0, keepdims=True) ** (1 / 3),
        [((5, 3),), ((4,),)],
    ),
    Row("embedding", lambda w: nn.embedding(WORDS, w), lambda w: w[WORDS], [((5, 3),)]),
    *(
        Row(f"embedding_bag/{mode}", f, ref, [((5, 3),)])
        for mode in ("sum", "mean", "max")
        for f, ref in [
            (
                lambda w, mode=mode: nn.embedding_bag(WORDS, w, mode=mode),
                lambda w, mode=mode: getattr(w[WORDS], mode)(1),
            )
        ]
    ),
    Row(
        "embedding_bag/offsets",
        lambda w: nn.embedding_bag(WORDS.reshape(-1), w, np.array([0, 1, 1, 4]), "mean"),
        lambda w: np.stack([w[0], w[0] * 0, w[[2, 2, 4]].mean(0), w[[1, 0]].mean(0)]),
        [((5, 3),)],
    ),
    Row(
        "embedding_bag/factors",
        lambda w, f: nn.embedding_bag(WORDS, w, mode="sum", per_sample_weights=f, padding_idx=0),
        lambda w, f: (w[WORDS] * (f * (WORDS != 0))[..., None]).sum(1),
        [((5, 3), (2, 3))],
    ),
]
