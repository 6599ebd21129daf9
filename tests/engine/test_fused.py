"""Fused kernels against the composed definitions that they stand for: values, gradients, second derivatives."""

import numpy as np
import pytest

import ringtrain as rt
from ringtrain.backend import get
from ringtrain.ops import conv, conv_transpose, loss, pool

# (N, C, H, W), (O, KH, KW), stride, padding, dilation, groups
CONVOLUTIONS = [
    ((2, 3, 5, 7), (4, 3, 3), (1, 1), (0, 0), (1, 1), 1),
    ((3, 1, 13, 17), (2, 3, 5), (2, 3), (1, 2), (1, 1), 1),
    ((1, 2, 9, 8), (3, 2, 3), (1, 2), (2, 1), (3, 2), 1),
    ((2, 4, 6, 6), (6, 3, 3), (1, 1), (1, 1), (1, 1), 2),
    ((2, 4, 5, 5), (4, 2, 2), (2, 1), (0, 1), (1, 2), 4),
    ((1, 2, 3, 3), (2, 3, 3), (1, 1), (0, 0), (1, 1), 1),
    ((2, 3, 4, 4), (5, 1, 1), (1, 1), (0, 0), (1, 1), 1),
    ((2, 3, 7, 7), (2, 1, 1), (3, 3), (0, 0), (1, 1), 1),
    ((1, 1, 2, 2), (1, 3, 3), (1, 1), (2, 2), (1, 1), 1),
    ((1, 1, 5, 5), (1, 2, 2), (4, 4), (1, 1), (1, 1), 1),
    ((40, 2, 8, 8), (3, 3, 3), (1, 1), (1, 1), (1, 1), 1),
]
# (N, C, H, W), kernel, stride, padding
POOLS = [
    ((2, 3, 4, 6), (2, 2), (2, 2), (0, 0)),
    ((2, 1, 13, 17), (3, 2), (2, 3), (1, 1)),
    ((1, 3, 5, 5), (3, 3), (1, 1), (1, 1)),
    ((1, 1, 3, 3), (3, 3), (3, 3), (0, 0)),
    ((2, 2, 5, 4), (1, 2), (2, 1), (0, 1)),
    ((2, 2, 7, 7), (2, 3), (3, 3), (0, 0)),
]


def same(kernel, composed, arrays, rtol=1e-12):
    """Both forms on the same arrays: value, gradients under one random head, and gradcheck of the kernel's form."""
    results = []
    for f in (kernel, composed):
        inputs = [rt.from_numpy(a.copy()).requires_grad_() for a in arrays]
        out = f(*inputs)
        head = np.random.default_rng(5).standard_normal(out.shape).astype(out.dtype)
        out.backward(head)
        results.append([out.detach().numpy(), *(t.grad.numpy() for t in inputs)])
    for a, b in zip(*results, strict=True):
        assert a.dtype == b.dtype
        assert a.shape == b.shape
        # sums of products of numbers of size 1, in another order: errors of a few eps times their root mean square
        np.testing.assert_allclose(a, b, rtol=rtol, atol=rtol * 10)


@pytest.mark.parametrize("case", CONVOLUTIONS, ids=str)
def test_conv2d(case, rng):
    shape, (o, kh, kw), stride, padding, dilation, groups = case
    options = {"stride": stride, "padding": padding, "dilation": dilation, "groups": groups}
    x = rng.standard_normal(shape)
    w = rng.standard_normal((o, shape[1] // groups, kh, kw))
    b = rng.standard_normal(o)
    for arrays in ([x, w, b], [x, w]):
        for dtype, rtol in [(np.float64, 1e-12), (np.float32, 1e-4)]:
            same(
                lambda *xs: rt.nn.conv2d(*xs, **options),
                lambda *xs: conv._composed(*(*xs, None)[:3], **options),
                [a.astype(dtype) for a in arrays],
                rtol,
            )
        assert rt.gradcheck(
            lambda *xs: rt.nn.conv2d(*xs, **options), *(rt.from_numpy(a).requires_grad_() for a in arrays)
        )


def direct(x, w, stride, padding, dilation, groups):
    """Convolution by its definition, one output element at a time."""
    n = len(x)
    o, cg, kh, kw = w.shape
    x = np.pad(x, ((0, 0), (0, 0), (padding[0],) * 2, (padding[1],) * 2))
    spans = [d * (k - 1) + 1 for d, k in zip(dilation, (kh, kw), strict=True)]
    oh, ow = ((m - span) // s + 1 for m, span, s in zip(x.shape[2:], spans, stride, strict=True))
    out = np.zeros((n, o, oh, ow))
    for k, i, j in np.ndindex(o, oh, ow):
        group = k // (o // groups)
        top, left = i * stride[0], j * stride[1]
        window = x[:, group * cg : (group + 1) * cg, top : top + spans[0] : dilation[0]]
        out[:, k, i, j] = (window[..., left : left + spans[1] : dilation[1]] * w[k]).sum((1, 2, 3))
    return out


@pytest.mark.parametrize("case", CONVOLUTIONS, ids=str)
def test_both_forms_are_convolution(case, rng):
    shape, (o, kh, kw), *options = case
    x, w = rng.standard_normal(shape), rng.standard_normal((o, shape[1] // options[-1], kh, kw))
    want = direct(x, w, *options)
    names = dict(zip(("stride", "padding", "dilation", "groups"), options, strict=True))
    got = rt.nn.conv2d(rt.from_numpy(x), rt.from_numpy(w), **names)
    np.testing.assert_allclose(got.numpy(), want, rtol=1e-12, atol=1e-12)
    composed = conv._composed(rt.from_numpy(x), rt.from_numpy(w), None, **names)
    np.testing.assert_allclose(composed.numpy(), want, rtol=1e-12, atol=1e-12)


# (N, C, H, W), (O, KH, KW), stride, padding, output_padding, dilation; the last with more padding than kernel
TRANSPOSED = [
    ((2, 3, 5, 7), (4, 3, 3), (1, 1), (0, 0), (0, 0), (1, 1)),
    ((3, 1, 4, 6), (2, 3, 5), (2, 3), (1, 2), (1, 2), (1, 1)),
    ((1, 2, 5, 4), (3, 2, 3), (1, 2), (2, 1), (0, 1), (3, 2)),
    ((40, 2, 4, 4), (3, 4, 4), (2, 2), (1, 1), (0, 0), (1, 1)),
    ((2, 4, 5, 5), (3, 2, 2), (3, 2), (3, 2), (1, 0), (1, 1)),
]


@pytest.mark.parametrize("case", TRANSPOSED, ids=str)
def test_conv_transpose2d(case, rng):
    shape, (o, kh, kw), stride, padding, output_padding, dilation = case
    options = {"stride": stride, "padding": padding, "output_padding": output_padding, "dilation": dilation}
    x, w, b = rng.standard_normal(shape), rng.standard_normal((shape[1], o, kh, kw)), rng.standard_normal(o)
    kernel = get("cpu")[0].kernel("conv_transpose2d")
    assert kernel is None or kernel.accepts(x, w, b, **options, groups=1)
    for arrays in ([x, w, b], [x, w]):
        for dtype, rtol in [(np.float64, 1e-12), (np.float32, 1e-4)]:
            same(
                lambda *xs: rt.nn.conv_transpose2d(*xs, **options),
                lambda *xs: conv_transpose._composed(*(*xs, None)[:3], **options, groups=1),
                [a.astype(dtype) for a in arrays],
                rtol,
            )
    assert rt.gradcheck(
        lambda *xs: rt.nn.conv_transpose2d(*xs, **options), *(rt.from_numpy(a).requires_grad_() for a in (x, w, b))
    )


def test_conv2d_takes_any_memory_layout(rng):
    x, w = rng.standard_normal((2, 5, 7, 3)), rng.standard_normal((3, 3, 3, 4))
    same(
        lambda x, w: rt.nn.conv2d(x.transpose(0, 3, 1, 2)[:, ::-1], w.T),
        lambda x, w: conv._composed(
            x.transpose(0, 3, 1, 2)[:, ::-1], w.T, None, stride=(1, 1), padding=(0, 0), dilation=(1, 1), groups=1
        ),
        [x, w],
    )


def test_conv2d_without_images_or_of_integers(rng):
    assert rt.nn.conv2d(rt.ones((1, 1, 5, 5)), rt.ones((1, 1, 3, 3)), stride=np.int64(2)).shape == (1, 1, 2, 2)
    x, w = rt.zeros((0, 3, 5, 5)).requires_grad_(), rt.ones((2, 3, 3, 3)).requires_grad_()
    out = rt.nn.conv2d(x, w, padding=1)
    assert out.shape == (0, 2, 5, 5)
    out.sum().backward()
    assert not w.grad.numpy().any()
    whole = rt.nn.conv2d(rt.ones((1, 1, 3, 3), np.int64), rt.ones((1, 1, 2, 2), np.int64))
    assert whole.dtype == np.int64
    assert whole.numpy().tolist() == [[[[4, 4], [4, 4]]]]


def test_kernels_run_where_these_tests_compare_them():
    cpu, _ = get("cpu")
    x = np.ones((1, 1, 3, 3))
    assert cpu.kernel("conv2d").accepts(x, x, None, groups=1)
    assert cpu.kernel("max_pool2d").accepts(x)
    assert cpu.kernel("cross_entropy").accepts(x[0, 0], np.zeros(3, int), ignored=-100, counted=3, reduction="mean")


@pytest.mark.parametrize("case", POOLS, ids=str)
def test_max_pool2d(case, rng):
    shape, kernel, stride, padding = case
    options = {"kernel": kernel, "stride": stride, "padding": padding}

    def by_kernel(t):
        return rt.nn.max_pool2d(t, kernel, stride, padding)

    for x in [rng.permutation(np.prod(shape)).reshape(shape) * 0.25, rng.integers(0, 2, shape) * 1.0]:
        for dtype, rtol in [(np.float64, 1e-12), (np.float32, 1e-5)]:  # of ties the first takes the gradient
            same(by_kernel, lambda t: pool._composed_max(t, **options), [x.astype(dtype)], rtol)
    distinct = rng.permutation(np.prod(shape)).reshape(shape) * 0.25
    assert rt.gradcheck(by_kernel, rt.from_numpy(distinct).requires_grad_())


def test_max_pool2d_ties_nan_and_infinity():
    x = rt.from_numpy(np.array([[5.0, 5.0], [5.0, 1.0]])[None, None]).requires_grad_()
    rt.nn.max_pool2d(x, 2).sum().backward()
    assert x.grad.numpy()[0, 0].tolist() == [[1, 0], [0, 0]]
    values = np.array([[1.0, np.nan, -np.inf, -np.inf], [np.nan, 2.0, -np.inf, -np.inf]])[None, None]
    options = {"kernel": (2, 2), "stride": (2, 2), "padding": (0, 0)}
    for f in (lambda t: rt.nn.max_pool2d(t, 2), lambda t: pool._composed_max(t, **options)):
        x = rt.from_numpy(values.copy()).requires_grad_()
        out = f(x)
        assert np.isnan(out.detach().numpy()[0, 0, 0, 0])
        assert out.detach().numpy()[0, 0, 0, 1] == -np.inf
        out.sum().backward()
        assert x.grad.numpy()[0, 0].tolist() == [[0, 0, 1, 0], [1, 0, 0, 0]]


@pytest.mark.parametrize("padding", [(0, 0), (1, 0), (1, 1)])
def test_avg_pool2d(padding, rng):
    x = rng.standard_normal((2, 3, 5, 7))
    wide = np.pad(x, ((0, 0), (0, 0), (padding[0],) * 2, (padding[1],) * 2))
    windows = np.lib.stride_tricks.sliding_window_view(wide, (3, 2), (2, 3))[:, :, ::2, ::3]
    got = rt.nn.avg_pool2d(rt.from_numpy(x), (3, 2), (2, 3), padding)
    np.testing.assert_allclose(got.numpy(), windows.mean((-2, -1)), rtol=1e-13, atol=1e-15)
    assert rt.gradcheck(lambda t: rt.nn.avg_pool2d(t, (3, 2), (2, 3), padding), rt.from_numpy(x).requires_grad_())


@pytest.mark.parametrize("ignored", ["none", "some", "all"])
@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
@pytest.mark.parametrize("shape", [(1, 1), (13, 17), (5, 2), (300, 10), (3, 2500)], ids=str)
def test_cross_entropy(shape, reduction, ignored, rng):
    """Rows narrower than a vector, more of them than are gone through at once, and rows longer than that."""
    logits, labels = rng.standard_normal(shape) * 5, rng.integers(0, shape[1], shape[0])
    labels[{"none": slice(0), "some": slice(1, None, 2), "all": slice(None)}[ignored]] = 1 if shape[1] > 2 else -100
    ignore_index = 1 if shape[1] > 2 and ignored != "none" else -100
    options = {"ignored": ignore_index, "counted": int((labels != ignore_index).sum()), "reduction": reduction}

    def by_kernel(t):
        return rt.nn.cross_entropy(t, labels, ignore_index=ignore_index, reduction=reduction)

    if options["counted"] == 0 and reduction == "mean":  # as in PyTorch: no mean, and no gradient
        x = rt.from_numpy(logits).requires_grad_()
        out = by_kernel(x)
        out.backward()
        assert np.isnan(out.item())
        assert not x.grad.numpy().any()
        return
    same(by_kernel, lambda t: loss._composed(t, t.backend.asarray(labels), **options), [logits])
    if logits.size < 300:
        assert rt.gradcheck(by_kernel, rt.from_numpy(logits).requires_grad_())


def test_cross_entropy_of_extreme_logits():
    x = rt.from_numpy(np.array([[1e4, -1e4, 0.0], [-1e30, 1e30, 0.0]])).requires_grad_()
    out = rt.nn.cross_entropy(x, np.array([1, 1]), reduction="sum")
    out.backward()
    assert out.item() == 2e4
    assert x.grad.numpy().tolist() == [[1, -1, 0], [0, 0, 0]]


def test_weights_smoothing_and_ignored_targets(rng):
    """Against a sum written out by class, and its gradients to finite differences."""
    logits, labels = rng.standard_normal((13, 5)), rng.integers(0, 5, 13)
    labels[[2, 7]] = -1
    weight = rng.uniform(0.5, 2, 5)
    options = {"weight": rt.from_numpy(weight), "ignore_index": -1, "label_smoothing": 0.3}
    scores = logits - np.log(np.exp(logits).sum(1, keepdims=True))
    per = np.zeros(13)
    for i in np.flatnonzero(labels >= 0):
        target = np.full(5, 0.3 / 5)
        target[labels[i]] += 0.7
        per[i] = -(target * weight * scores[i]).sum()
    total = weight[labels[labels >= 0]].sum()
    for reduction, want in [("none", per), ("sum", per.sum()), ("mean", per.sum() / total)]:
        got = rt.nn.cross_entropy(rt.from_numpy(logits), labels, reduction=reduction, **options)
        np.testing.assert_allclose(got.numpy(), want, rtol=1e-13)
        assert rt.gradcheck(
            lambda t, r=reduction: rt.nn.cross_entropy(t, labels, reduction=r, **options),
            rt.from_numpy(logits).requires_grad_(),
        )


def test_cross_entropy_of_images(rng):
    """(N, C, H, W): one sample for each place."""
    logits, labels = rng.standard_normal((2, 3, 4, 5)), rng.integers(0, 3, (2, 4, 5))
    flat = rt.from_numpy(logits.transpose(0, 2, 3, 1).reshape(-1, 3))
    for reduction in ("mean", "none"):
        got = rt.nn.cross_entropy(rt.from_numpy(logits), labels, reduction=reduction)
        want = rt.nn.cross_entropy(flat, labels.reshape(-1), reduction=reduction)
        np.testing.assert_allclose(got.numpy().reshape(-1), want.numpy().reshape(-1), rtol=1e-14)


def test_shapes_of_models_on_meta():
    """A small network without data, its weights real or not: the shapes that it would have."""
    for device in ("cpu", "meta"):
        w, b = rt.zeros((4, 3, 3, 3), device=device), rt.zeros(4, device=device)
        dense = rt.zeros((10, 4 * 3 * 3), device=device)
        x = rt.zeros((8, 3, 13, 13), device="meta")
        h = rt.nn.max_pool2d(rt.nn.relu(rt.nn.conv2d(x, w, b, stride=2, padding=1)), 3, 2)
        assert h.shape == (8, 4, 3, 3)
        h = rt.nn.batch_norm(rt.zeros((1, 4, 1, 1), device=device) + h, b, b)[0]
        logits = rt.nn.linear(h.reshape(8, -1), dense)
        labels = rt.zeros(8, np.int64, device=device)
        assert rt.nn.cross_entropy(logits, labels, label_smoothing=0.1).shape == ()
        assert rt.nn.cross_entropy(logits, labels, reduction="none").shape == (8,)
        logits[:, 0] = rt.zeros((8,), device=device)
        assert rt.one_hot(rt.zeros((8, 2), np.int64, device="meta"), 7).shape == (8, 2, 7)
