"""Losses, distances and tables in PyTorch, where it is installed: values and gradients, in float64."""

import numpy as np
import pytest

import ringtrain as rt
from ringtrain import nn

torch = pytest.importorskip("torch")
F = torch.nn.functional
from .test_oracle import compare  # noqa: E402

REDUCTIONS = pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
SIGNS = np.array([1, -1, 1, 1, -1])
CLASSES = np.array([0.5, 2.0, 0.25, 1.0])
LABELS = np.array([2, 0, 3, 3, 1])
DENSE = np.array([[1, 0, 3], [2, 3, 3]])
SETS = np.array([[1, 0, -1, 2], [2, -1, 0, 0], [-1, 3, 3, 3], [3, 1, 2, 0], [0, 0, 0, 0]])
SETS[4] = [0, -1, 0, 0]
SMOOTH, FIVE, ROWS = [(5, 4), (5, 4)], [(5,), (5,)], [(5, 3), (5, 3)]


def both(name, torch_name="", before=(), **options):
    """The loss here and there, with constant arrays between the tensors and the options."""
    ours, theirs = getattr(nn, name), getattr(F, torch_name or name)
    return (
        lambda *xs, **more: ours(*xs, *before, **options, **more),
        lambda *xs, **more: theirs(*xs, *map(torch.from_numpy, before), **options, **more),
    )


# name, shapes, where values lie, (ours, theirs)
LOSSES = [
    ("mse", SMOOTH, (-2, 2), both("mse_loss")),
    ("l1", SMOOTH, (-2, 2), both("l1_loss")),
    ("smooth l1", SMOOTH, (-2, 2), both("smooth_l1_loss", beta=0.75)),
    ("huber", SMOOTH, (-2, 2), both("huber_loss", delta=0.75)),
    ("bce", SMOOTH, (0, 1), both("binary_cross_entropy")),
    ("logits", SMOOTH, (-3, 3), both("binary_cross_entropy_with_logits")),
    ("poisson", SMOOTH, (0.1, 3), both("poisson_nll_loss", full=True)),
    ("poisson rate", SMOOTH, (0.1, 3), both("poisson_nll_loss", log_input=False)),
    ("kl", SMOOTH, (0.1, 2), both("kl_div")),
    ("kl logs", SMOOTH, (-2, 2), both("kl_div", log_target=True)),
    ("gaussian", [(5, 4), (5, 4), (5, 4)], (0.1, 2), both("gaussian_nll_loss", full=True)),
    ("soft margin", [(5,)], (-2, 2), both("soft_margin_loss", before=[SIGNS * 1.0])),
    ("hinge embedding", [(5,)], (-2, 2), both("hinge_embedding_loss", before=[SIGNS * 1.0], margin=0.5)),
    ("cosine", ROWS, (-2, 2), both("cosine_embedding_loss", before=[SIGNS], margin=0.1)),
    ("ranking", FIVE, (-2, 2), both("margin_ranking_loss", before=[SIGNS * 1.0], margin=0.5)),
    ("triplet", [(5, 3)] * 3, (-2, 2), both("triplet_margin_loss", p=2.0)),
    ("triplet swap", [(5, 3)] * 3, (-2, 2), both("triplet_margin_loss", p=3.0, swap=True, margin=0.5)),
    ("multi margin", [(5, 4)], (-2, 2), both("multi_margin_loss", before=[LABELS])),
    ("multi margin 2", [(5, 4)], (-2, 2), both("multi_margin_loss", before=[LABELS], p=2, margin=0.5)),
    ("multilabel margin", [(5, 4)], (-2, 2), both("multilabel_margin_loss", before=[SETS])),
    ("multilabel soft", [(5, 4)], (-2, 2), both("multilabel_soft_margin_loss", before=[(SETS > 0) * 1.0])),
]  # fmt: skip


@REDUCTIONS
@pytest.mark.parametrize(("name", "shapes", "domain", "pair"), LOSSES, ids=[row[0] for row in LOSSES])
def test_loss(name, shapes, domain, pair, reduction, rng):
    arrays = [rng.uniform(*domain, s) for s in shapes]
    compare(*[lambda *xs, f=f: f(*xs, reduction=reduction) for f in pair], arrays)


@REDUCTIONS
@pytest.mark.parametrize("shape", [(5, 4), (2, 4, 3)])
@pytest.mark.parametrize("smoothing", [0.0, 0.25])
@pytest.mark.parametrize("weighted", [False, True])
def test_cross_entropy_with_probabilities(shape, smoothing, weighted, reduction, rng):
    options = {"label_smoothing": smoothing, "reduction": reduction}
    compare(
        lambda x, t: nn.cross_entropy(x, t, rt.from_numpy(CLASSES) if weighted else None, **options),
        lambda x, t: F.cross_entropy(x, t, torch.from_numpy(CLASSES) if weighted else None, **options),
        [rng.standard_normal(shape), rng.uniform(0, 1, shape)],
    )


@REDUCTIONS
@pytest.mark.parametrize("target", [2, np.array(3), np.array([0.1, 0.2, 0.3, 0.4])], ids=["number", "array", "floats"])
@pytest.mark.parametrize("weighted", [False, True])
def test_cross_entropy_of_one_sample(target, weighted, reduction, rng):
    options = {"reduction": reduction, "label_smoothing": 0.2}
    compare(
        lambda x: nn.cross_entropy(x, target, rt.from_numpy(CLASSES) if weighted else None, **options),
        lambda x: F.cross_entropy(x, torch.tensor(target), torch.from_numpy(CLASSES) if weighted else None, **options),
        [rng.standard_normal(4)],
    )


@REDUCTIONS
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize(
    ("shape", "labels"), [((5, 4), LABELS), ((2, 4, 3), np.array([[1, 0, 3], [2, 3, 3]]))], ids=str
)
def test_nll_loss(shape, labels, weighted, reduction, rng):
    options = {"ignore_index": 3, "reduction": reduction}
    compare(
        lambda x: nn.nll_loss(x, labels, rt.from_numpy(CLASSES) if weighted else None, **options),
        lambda x: F.nll_loss(x, torch.from_numpy(labels), torch.from_numpy(CLASSES) if weighted else None, **options),
        [rng.standard_normal(shape)],
    )


@REDUCTIONS
def test_weights_of_binary_losses(reduction, rng):
    x, t = rng.standard_normal((5, 4)), rng.integers(0, 2, (5, 4)) * 1.0
    for ours, theirs, values in [
        (nn.binary_cross_entropy_with_logits, F.binary_cross_entropy_with_logits, x),
        (nn.binary_cross_entropy, F.binary_cross_entropy, 1 / (1 + np.exp(-x))),
    ]:
        compare(
            lambda a, f=ours: f(a, t, weight=CLASSES, reduction=reduction),
            lambda a, f=theirs: f(a, torch.from_numpy(t), weight=torch.from_numpy(CLASSES), reduction=reduction),
            [values],
        )
    compare(
        lambda a: nn.binary_cross_entropy_with_logits(a, t, pos_weight=CLASSES, reduction=reduction),
        lambda a: F.binary_cross_entropy_with_logits(
            a, torch.from_numpy(t), pos_weight=torch.from_numpy(CLASSES), reduction=reduction
        ),
        [x],
    )
    weight = np.array(CLASSES)
    compare(
        lambda a: nn.multi_margin_loss(a, LABELS, 2, weight=rt.from_numpy(weight), reduction=reduction),
        lambda a: F.multi_margin_loss(
            a, torch.from_numpy(LABELS), 2, weight=torch.from_numpy(weight), reduction=reduction
        ),
        [x],
    )


@REDUCTIONS
def test_samples_without_a_batch(reduction, rng):
    for label in (np.array(2), np.array([2])):
        compare(
            lambda a, label=label: nn.multi_margin_loss(a, label, weight=rt.from_numpy(CLASSES), reduction=reduction),
            lambda a, label=label: F.multi_margin_loss(
                a, torch.from_numpy(label), weight=torch.from_numpy(CLASSES), reduction=reduction
            ),
            [rng.standard_normal(4)],
        )
        compare(
            lambda a: nn.nll_loss(a, np.array(1), rt.from_numpy(CLASSES), reduction=reduction),
            lambda a: F.nll_loss(a, torch.tensor(1), torch.from_numpy(CLASSES), reduction=reduction),
            [rng.standard_normal(4)],
        )
    for labels in (np.array([3, 0, -1, 1]), np.array(0)):
        compare(
            lambda a, labels=labels: nn.multilabel_margin_loss(a, labels, reduction=reduction),
            lambda a, labels=labels: F.multilabel_margin_loss(a, torch.from_numpy(labels), reduction=reduction),
            [rng.standard_normal(labels.shape)],
        )


@pytest.mark.parametrize("scale", [1e-3, 100.0])
def test_cosines_of_16_bits_neither_overflow_nor_vanish(scale, rng):
    a, b = (rng.standard_normal((6, 8)).astype(np.float16) * np.float16(scale) for _ in range(2))
    sign = np.array([1, -1, 1, -1, 1, -1])
    exact = nn.cosine_embedding_loss(*[rt.from_numpy(x.astype(np.float64)) for x in (a, b)], sign, reduction="none")
    half = nn.cosine_embedding_loss(rt.from_numpy(a), rt.from_numpy(b), sign, reduction="none")
    assert half.dtype == np.float16
    np.testing.assert_allclose(half.numpy(), exact.numpy(), rtol=2**-10, atol=2**-10)


@pytest.mark.parametrize(
    ("mistake", "message"),
    [
        (lambda x: nn.huber_loss(x, x, "sum"), "huber_loss: delta is > 0; got 'sum'"),
        (lambda x: nn.huber_loss(x, x, 0.0), "huber_loss: delta is > 0; got 0.0"),
        (lambda x: nn.smooth_l1_loss(x, x, "sum"), "smooth_l1_loss: beta is a number >= 0; got 'sum'"),
        (lambda x: nn.cross_entropy(x, [0, 1], rt.ones(2)), r"want a weight for each class, \(3,\); got \(2,\)"),
        (lambda x: nn.cross_entropy(x, x, rt.ones(1)), r"want a weight for each class, \(3,\); got \(1,\)"),
        (lambda x: nn.nll_loss(x, [0, 1], rt.ones(4)), r"want a weight for each class, \(3,\); got \(4,\)"),
        (
            lambda x: nn.multi_margin_loss(x, [0, 1], weight=rt.ones(2)),
            r"scores \(2, 3\) want weights \(3,\); got \(2,\)",
        ),
        (
            lambda x: nn.multilabel_margin_loss(x[None], np.zeros((1, 2, 3), int)),
            r"wants scores \(N, C\) or \(C,\); got \(1, 2, 3\)",
        ),
    ],
)
def test_what_losses_refuse(mistake, message):
    with pytest.raises(ValueError, match=message):
        mistake(rt.ones((2, 3)))


# name, inputs at the kinks, (ours, theirs)
KINKS = [
    ("bce", [[0.0, 0.0, 1.0, 1.0, 0.5]], both("binary_cross_entropy", before=[np.array([0.0, 1.0, 0.0, 1.0, 0.5])])),
    ("smooth l1", [[-0.5, 0.0, 0.5]], both("smooth_l1_loss", before=[np.zeros(3)], beta=0.5)),
    ("huber", [[-0.5, 0.0, 0.5]], both("huber_loss", before=[np.zeros(3)], delta=0.5)),
    ("ranking", [[1.0, 2.0, 3.0], [2.0, 2.0, 2.0]], both("margin_ranking_loss", before=[np.ones(3)])),
    ("hinge embedding", [[1.0, 0.0]], both("hinge_embedding_loss", before=[np.array([-1.0, 1.0])])),
    ("multi margin", [[[1.0, 0.0, 2.0]]], both("multi_margin_loss", before=[np.array([0])])),
    ("multilabel margin", [[[1.0, 0.0, 2.0]]], both("multilabel_margin_loss", before=[np.array([[0, -1, 0]])])),
    ("kl", [[-1.0, -2.0]], both("kl_div", before=[np.array([0.0, 0.5])])),
    ("distance", [[[1.0, 2.0]], [[1.0, 2.0]]], both("pairwise_distance", eps=0.0)),
    ("cosine", [[[0.0, 0.0]], [[1.0, 2.0]]], both("cosine_similarity")),
    ("normalize", [[[0.0, 0.0], [3.0, 4.0]]], both("normalize")),
]  # fmt: skip


@pytest.mark.parametrize(("name", "values", "pair"), KINKS, ids=[row[0] for row in KINKS])
def test_kinks(name, values, pair):
    # the 1e-12 that keeps the slope of "bce" finite is a float32 there
    compare(*pair, [np.array(v) for v in values], 1e-8 if name == "bce" else 1e-10)


@pytest.mark.parametrize("p", [1.0, 2.0, 3.0, 0.5, np.inf])
def test_distances(p, rng):
    arrays = [rng.standard_normal((5, 3)), rng.standard_normal((5, 3))]
    compare(lambda a, b: nn.pairwise_distance(a, b, p), lambda a, b: F.pairwise_distance(a, b, p), arrays)
    compare(lambda a, b: nn.cosine_similarity(a, b, 0), lambda a, b: F.cosine_similarity(a, b, 0), arrays)
    compare(lambda a: nn.normalize(a, p, 0), lambda a: F.normalize(a, p, 0), arrays[:1])


@pytest.mark.parametrize("axis", [0, 1, -1, -2])
def test_cosine_similarity_broadcasts_before_it_measures(axis, rng):
    arrays = [rng.standard_normal((1, 2, 3)), rng.standard_normal((2, 1, 3))]
    compare(lambda a, b: nn.cosine_similarity(a, b, axis), lambda a, b: F.cosine_similarity(a, b, axis), arrays)
    compare(
        lambda a, b: nn.cosine_similarity(a, b, axis - 1 if axis < 0 else axis),
        lambda a, b: F.cosine_similarity(a, b, axis - 1 if axis < 0 else axis),
        [arrays[0], arrays[1][:, 0, None, None]],
    )


@REDUCTIONS
@pytest.mark.parametrize("shape", [(4,), (4, 1), (4, 4), ()])
def test_gaussian_variance_of_a_row(shape, reduction, rng):
    """(4,) beside (4, 4) is a variance for each row, in PyTorch, too."""
    arrays = [rng.standard_normal((4, 4)), rng.standard_normal((4, 4)), rng.uniform(0.5, 2, shape)]
    theirs = [arrays[0], arrays[1], arrays[2] if shape else np.full((4, 1), arrays[2])]
    if shape:
        compare(*both("gaussian_nll_loss", reduction=reduction), arrays)
    ours = [nn.gaussian_nll_loss(*map(rt.from_numpy, arrays[:2]), v, reduction=reduction) for v in _forms(arrays[2])]
    want = F.gaussian_nll_loss(*map(torch.from_numpy, theirs), reduction=reduction).numpy()
    for found in ours:
        np.testing.assert_allclose(found.numpy(), want, rtol=1e-12)


def _forms(value):
    """A variance as a tensor and as NumPy's array, and as a number where it is one."""
    return [rt.from_numpy(value), value] if value.ndim else [rt.from_numpy(value), float(value)]


@pytest.mark.parametrize("mode", ["sum", "mean", "max"])
def test_embedding_bag(mode, rng):
    numbers, offsets = np.array([1, 2, 4, 5, 4, 3, 2, 9]), np.array([0, 4, 4, 5])
    for padding in (None, 4):
        compare(
            lambda w, p=padding: nn.embedding_bag(numbers, w, offsets, mode, padding_idx=p),
            lambda w, p=padding: F.embedding_bag(
                torch.from_numpy(numbers), w, torch.from_numpy(offsets), mode=mode, padding_idx=p
            ),
            [rng.standard_normal((10, 3))],
        )


def test_embedding_with_a_padding_row(rng):
    numbers = np.array([[1, 2, 0], [2, 2, 3]])
    compare(
        lambda w: nn.embedding(numbers, w, -2),
        lambda w: F.embedding(torch.from_numpy(numbers), w, -2),
        [rng.standard_normal((4, 3))],
    )


@pytest.mark.parametrize("norm", [1.0, 2.0, np.inf])
def test_rows_are_shortened_in_place(norm, rng):
    numbers, values = np.array([[1, 2, 0], [2, 2, 1]]), rng.standard_normal((5, 3)) * 2
    options = {"max_norm": 1.5, "norm_type": norm}
    w, v = rt.from_numpy(values.copy()).requires_grad_(), torch.tensor(values, requires_grad=True)
    for _ in range(2):  # what has been shortened stays as it is
        a = nn.embedding(numbers, w, **options)
        b = F.embedding(torch.from_numpy(numbers), v, **options)
        np.testing.assert_allclose(a.detach().numpy(), b.detach().numpy(), rtol=1e-14)
    bag = nn.embedding_bag(np.array([[3, 0]]), w, mode="sum", **options)
    other = F.embedding_bag(torch.tensor([[3, 0]]), v, mode="sum", **options)
    np.testing.assert_allclose(bag.detach().numpy(), other.detach().numpy(), rtol=1e-14)
    np.testing.assert_allclose(w.detach().numpy(), v.detach().numpy(), rtol=1e-14)
    assert (w.detach().numpy()[4] == values[4]).all() and w.is_leaf


def test_gradients_by_frequency(rng):
    numbers, offsets = np.array([1, 2, 4, 5, 4, 3, 2, 2]), np.array([0, 4, 4, 5, 8])
    table = [rng.standard_normal((10, 3))]
    compare(
        lambda w: nn.embedding(numbers.reshape(2, 4), w, 4, scale_grad_by_freq=True),
        lambda w: F.embedding(torch.from_numpy(numbers.reshape(2, 4)), w, 4, scale_grad_by_freq=True),
        table,
    )
    for mode in ("sum", "mean"):  # PyTorch 2.13.0 divides row 3, which is there once, by the 3 of row 2
        compare(
            lambda w, mode=mode: nn.embedding_bag(numbers, w, offsets, mode, include_last_offset=True),
            lambda w, mode=mode: F.embedding_bag(
                torch.from_numpy(numbers), w, torch.from_numpy(offsets), mode=mode, include_last_offset=True
            ),
            table,
        )
        grads = []
        for by_frequency in (False, True):
            w = rt.from_numpy(table[0].copy()).requires_grad_()
            bags = nn.embedding_bag(numbers, w, offsets[:-1], mode, scale_grad_by_freq=by_frequency)
            bags.backward(np.arange(12.0).reshape(4, 3))
            grads.append(w.grad.numpy())
        counts = np.maximum(np.bincount(numbers, minlength=10), 1)[:, None]
        np.testing.assert_allclose(grads[1], grads[0] / counts, rtol=1e-15)
    with pytest.raises(ValueError, match=r"the last offset is where the last bag ends, 8; got \[0 4\]"):
        nn.embedding_bag(numbers, rt.ones((6, 2)), np.array([0, 4]), include_last_offset=True)
    with pytest.raises(ValueError, match="scale_grad_by_freq is for modes"):
        nn.embedding_bag(numbers, rt.ones((6, 2)), offsets, "max", scale_grad_by_freq=True)


def test_bilinear(rng):
    compare(nn.bilinear, F.bilinear, [rng.standard_normal(s) for s in [(5, 2), (5, 3), (4, 2, 3), (4,)]])
