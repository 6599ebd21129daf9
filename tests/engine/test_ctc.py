"""CTC: against the sum over every alignment, and against PyTorch where it is installed."""

import itertools
import math

import ml_dtypes
import numpy as np
import pytest

import ringtrain as rt
from ringtrain import nn
from ringtrain.backend.numpy_ import BACKEND

T, B, C = 5, 4, 3
TARGETS = np.array([[1, 2, 0], [1, 1, 0], [2, 0, 0], [0, 0, 0]])
TARGET_LENGTHS = np.array([2, 2, 1, 0])
INPUT_LENGTHS = np.array([5, 4, 1, 3])


@pytest.fixture(params=["composed", "kernel"])
def way(request, monkeypatch):
    if request.param == "composed":
        monkeypatch.setitem(BACKEND.kernels, "ctc", None)


def scores(steps=T, batch=B, classes=C, dtype="f8"):
    x = np.random.default_rng(1).normal(size=(steps, batch, classes))
    return (x - np.log(np.exp(x).sum(axis=2, keepdims=True))).astype(dtype)


def spelled(path, blank):
    return tuple(label for label, _ in itertools.groupby(path) if label != blank)


def reference(x, targets, input_lengths, target_lengths, blank=0):
    """The probabilities of all alignments, one by one."""
    out = []
    for b in range(x.shape[1]):
        wanted, steps = tuple(targets[b][: target_lengths[b]]), input_lengths[b]
        paths = itertools.product(range(x.shape[2]), repeat=steps)
        total = sum(math.exp(sum(x[t, b, c] for t, c in enumerate(p))) for p in paths if spelled(p, blank) == wanted)
        out.append(-math.log(total) if total else math.inf)
    return np.array(out)


def test_values(way):
    x = scores()
    found = nn.ctc_loss(rt.from_numpy(x), TARGETS, INPUT_LENGTHS, TARGET_LENGTHS, reduction="none").numpy()
    np.testing.assert_allclose(found, reference(x, TARGETS, INPUT_LENGTHS, TARGET_LENGTHS), rtol=1e-12)


def test_another_blank_joined_targets_and_lengths_of_nothing(way):
    x, targets = scores(), np.array([[0, 1], [1, 1], [0, 0], [1, 0]])
    lengths, inputs = np.array([2, 2, 0, 0]), np.array([5, 3, 0, 4])
    joined = np.concatenate([t[:n] for t, n in zip(targets, lengths, strict=True)])
    found = nn.ctc_loss(rt.from_numpy(x), joined, inputs, lengths, blank=2, reduction="none").numpy()
    np.testing.assert_allclose(found, reference(x, targets, inputs, lengths, 2), rtol=1e-12, atol=1e-15)


def test_targets_that_do_not_fit_their_inputs(way):
    """(1, 1) needs a blank between: three steps."""
    x = rt.tensor(scores(3, 2), "f8", requires_grad=True)
    args = (np.array([[1, 1], [1, 2]]), [2, 2], [2, 2])
    losses = nn.ctc_loss(x, *args, reduction="none")
    assert losses.detach().numpy()[0] == math.inf and np.isfinite(losses.detach().numpy()[1])
    zero = nn.ctc_loss(x, *args, reduction="none", zero_infinity=True)
    assert zero.detach().numpy()[0] == 0
    zero.sum().backward()
    assert not x.grad.numpy()[:, 0].any() and x.grad.numpy()[:2, 1].any()


def test_gradients_of_both_orders(way):
    x = rt.tensor(scores(), "f8", requires_grad=True)
    for reduction in ("mean", "sum", "none"):
        rt.gradcheck(lambda x, r=reduction: nn.ctc_loss(x, TARGETS, INPUT_LENGTHS, TARGET_LENGTHS, 0, r), x)


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
@pytest.mark.parametrize("sizes", [(13, 3, 7, 5), (1, 1, 2, 1), (17, 2, 4, 8)])
def test_equals_pytorch(way, reduction, sizes):
    torch = pytest.importorskip("torch")
    steps, batch, classes, longest = sizes
    rng = np.random.default_rng(2)
    logits = rng.normal(size=(steps, batch, classes))
    targets = rng.integers(1, classes, (batch, longest))
    lengths = np.arange(longest, longest - batch, -1)
    inputs = steps - np.arange(batch)
    a, b = rt.tensor(logits, "f8", requires_grad=True), torch.tensor(logits, requires_grad=True)
    ours = nn.CTCLoss(0, reduction)(rt.log_softmax(a, -1), targets, inputs, lengths)
    arrays = [torch.tensor(v) for v in (targets, inputs, lengths)]
    theirs = torch.nn.CTCLoss(0, reduction)(b.log_softmax(-1), *arrays)
    np.testing.assert_allclose(ours.detach().numpy(), theirs.detach().numpy(), rtol=1e-10)
    assert np.isfinite(ours.detach().numpy()).all()
    ours.sum().backward()
    theirs.sum().backward()
    np.testing.assert_allclose(a.grad.numpy(), b.grad.numpy(), rtol=1e-9, atol=1e-10)


def test_without_a_batch_and_in_16_bits(way):
    x = scores(T, 1)
    alone = nn.ctc_loss(rt.from_numpy(x[:, 0]), [1, 2], T, 2, reduction="none")
    assert alone.shape == ()
    np.testing.assert_allclose(alone.item(), reference(x, [[1, 2]], [T], [2])[0], rtol=1e-12)
    for dtype in ("float16", ml_dtypes.bfloat16):
        low = x.astype(dtype)
        found = nn.ctc_loss(rt.from_numpy(low), [[1, 2]], [T], [2])
        assert found.dtype == np.dtype(dtype)
        exact = reference(low.astype("f8"), [[1, 2]], [T], [2])[0] / 2
        assert abs(float(found.astype(np.float32).item()) - exact) <= exact * float(ml_dtypes.finfo(dtype).eps)


def test_certain_and_impossible_labels(way):
    """Probabilities of 1 and 0: logarithms of 0 and -inf."""
    with np.errstate(divide="ignore"):
        x = np.log(np.eye(3)[[1, 0, 2]][:, None])
    t = rt.tensor(x, "f8", requires_grad=True)
    loss = nn.ctc_loss(t, [[1, 2]], [3], [2])
    assert loss.item() == 0
    loss.backward()
    assert np.isfinite(t.grad.numpy()).all()
    assert nn.ctc_loss(t, [[2, 1]], [3], [2]).item() == math.inf


def test_what_cannot_be_is_named():
    x = rt.from_numpy(scores())
    for args, message in [
        ((TARGETS, [6, 1, 1, 1], TARGET_LENGTHS), r"input_lengths lie in 0 .. 5; got 1 .. 6"),
        ((TARGETS, [5, 1, 1], TARGET_LENGTHS), r"input_lengths are 4 integers"),
        ((TARGETS, INPUT_LENGTHS, [4, 0, 0, 0]), r"targets of these lengths have the shape \(4, 4\) or \(4,\)"),
        ((TARGETS, INPUT_LENGTHS, [2, 2, 2, 0]), "target 0 at place 1 of sample 2 is no label"),
        ((TARGETS + 1, INPUT_LENGTHS, [2, 2, 1, 0]), "target 3 at place 1 of sample 0 is no label"),
    ]:
        with pytest.raises(ValueError, match=message):
            nn.ctc_loss(x, *args)
    with pytest.raises(TypeError, match="integers"):
        nn.ctc_loss(x, TARGETS * 1.0, INPUT_LENGTHS, TARGET_LENGTHS)
    assert nn.ctc_loss(rt.zeros((T, B, C), device="meta"), TARGETS, INPUT_LENGTHS, TARGET_LENGTHS).shape == ()
