"""The last layer and its loss in one: the same numbers in chunks, without the scores of all rows."""

import tracemalloc

import numpy as np
import pytest

import ringtrain as rt
from ringtrain import nn

N, D, C = 13, 5, 17
OPTIONS = [
    {},
    {"reduction": "sum", "label_smoothing": 0.2},
    {"reduction": "none"},
    {"weight": True, "ignore_index": 3},
    {"ignore_index": 3, "label_smoothing": 0.1, "weight": True, "reduction": "none"},
]


def arrays():
    rng = np.random.default_rng(0)
    labels = rng.integers(0, C, N)
    labels[[2, 7]] = 3
    return rng.standard_normal((N, D)), rng.standard_normal((C, D)), rng.standard_normal(C), labels, rng.random(C) + 0.5


def run(options, chunk, create_graph=False):
    x, w, b, labels, weights = arrays()
    inputs = [rt.from_numpy(a).requires_grad_() for a in (x, w, b)]
    options = dict(options)
    if options.pop("weight", False):
        options["weight"] = rt.from_numpy(weights)
    out = nn.linear_cross_entropy(inputs[0], inputs[1], labels, inputs[2], **options, chunk_size=chunk)
    head = np.random.default_rng(1).standard_normal(out.shape)
    if create_graph:
        grads = rt.grad((out * head).sum(), inputs, create_graph=True)
        sum((g**2).sum() for g in grads).backward()
    else:
        out.backward(head)
    return [out.detach().numpy(), *(t.grad.numpy() for t in inputs)]


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_pytorch_agrees(options):
    torch = pytest.importorskip("torch")
    x, w, b, labels, weights = arrays()
    inputs = [torch.from_numpy(a).requires_grad_() for a in (x, w, b)]
    options_of_theirs = options | ({"weight": torch.from_numpy(weights)} if "weight" in options else {})
    scores = torch.nn.functional.linear(*inputs)
    out = torch.nn.functional.cross_entropy(scores, torch.from_numpy(labels), **options_of_theirs)
    out.backward(torch.from_numpy(np.asarray(np.random.default_rng(1).standard_normal(tuple(out.shape)))))
    for got, want in zip(run(options, 4), [out.detach(), *(t.grad for t in inputs)], strict=True):
        np.testing.assert_allclose(got, want.numpy(), rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("chunk", [1, 4, N - 1, N, 100])
@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_chunks_change_nothing(options, chunk):
    for second in (False, True):
        for got, want in zip(run(options, chunk, second), run(options, None, second), strict=True):
            np.testing.assert_allclose(got, want, rtol=1e-11, atol=1e-12)


def test_more_axes_and_probabilities():
    x, w, _, labels, _ = arrays()
    layer = nn.LinearCrossEntropyLoss(D, C, reduction="none", chunk_size=3, dtype=np.float64)
    layer.linear.weight.replace(rt.from_numpy(w))
    flat = layer(rt.from_numpy(x[:12]), labels[:12]).detach().numpy()
    out = layer(rt.from_numpy(x[:12].reshape(3, 4, D)), labels[:12].reshape(3, 4))
    np.testing.assert_array_equal(out.detach().numpy(), flat.reshape(3, 4))
    chances = np.eye(C)[labels]
    mean = nn.linear_cross_entropy(rt.from_numpy(x), rt.from_numpy(w), rt.from_numpy(chances))
    exact = nn.linear_cross_entropy(rt.from_numpy(x), rt.from_numpy(w), labels)
    assert mean.item() == pytest.approx(exact.item(), rel=1e-12)
    assert [n for n, _ in layer.named_parameters()] == ["linear.weight"]
    with pytest.raises(ValueError, match="chunk_size is for class numbers"):
        nn.linear_cross_entropy(rt.from_numpy(x), rt.from_numpy(w), chances, chunk_size=2)
    with pytest.raises(ValueError, match=r"targets of its leading axes, .*\(12,\), 2"):
        nn.linear_cross_entropy(rt.from_numpy(x), rt.from_numpy(w), labels[:12], chunk_size=2)
    assert layer(rt.zeros((4, D), np.float64, device="meta"), np.zeros(4, int)).shape == (4,)


@pytest.mark.cpu
def test_the_scores_of_all_rows_never_exist():
    x, w = rt.zeros((256, 4)), rt.zeros((4000, 4)).requires_grad_()
    labels, peaks = np.arange(256), []
    for chunk in (None, 16):
        tracemalloc.start()
        nn.linear_cross_entropy(x, w, labels, chunk_size=chunk).backward()
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[0] > 256 * 4000 * 4 and peaks[1] < 256 * 4000 * 4 / 3
