"""Kernels that go row by row, against the same op composed of others, in float64."""

import numpy as np
import pytest

import ringtrain as rt
from ringtrain import nn
from ringtrain.backend import get
from ringtrain.backend.numpy_ import BACKEND

pytestmark = pytest.mark.skipif(get("cpu")[0].kernel("softmax") is None, reason="needs numba")

LABELS = np.random.default_rng(1).integers(0, 167, 13)
#: name -> function, shapes of its inputs, the kernel that must run
CASES = {
    "softmax": (lambda x: rt.softmax(x), [(13, 167)], "softmax"),
    "log_softmax": (lambda x: rt.log_softmax(x), [(13, 167)], "log_softmax"),
    "cross_entropy": (lambda x: nn.cross_entropy(x, LABELS), [(13, 167)], "cross_entropy"),
    "cross_entropy/sum": (lambda x: nn.cross_entropy(x, LABELS, reduction="sum"), [(13, 167)], "cross_entropy"),
    "glu": (lambda x: nn.glu(x), [(13, 5, 34)], "glu"),
    "glu/1": (lambda x: nn.glu(x, 1), [(5, 26, 17)], "glu"),
    "group_norm": (lambda x, w, b: nn.group_norm(x, 3, w, b), [(5, 6, 7, 13), (6,), (6,)], "group_norm"),
    "group_norm/plain": (lambda x: nn.group_norm(x, 2), [(5, 6, 91)], "group_norm"),
    "instance_norm": (lambda x, w, b: nn.instance_norm(x, w, b), [(5, 6, 7, 13), (6,), (6,)], "group_norm"),
    "rows of a table": (lambda w: nn.embedding(LABELS % 13, w), [(13, 167)], "add_at"),
    "places": (lambda x: rt.take_along_axis(x, LABELS[:, None], 1), [(13, 167)], "add_at"),
    "negative places": (lambda x: x[-LABELS[:, None] % 13 - 13, np.array([-1, 3, -1])], [(13, 167)], "add_at"),
    "bins": (lambda x: nn.adaptive_avg_pool2d(x, (3, 7)), [(3, 5, 9, 14)], "bin_means"),
    "one bin": (lambda x: nn.adaptive_avg_pool2d(x, 1), [(3, 5, 13, 17)], "bin_means"),
    "topk": (lambda x: rt.topk(x, 5)[0], [(13, 167)], "top_k"),
}


def results(f, arrays, head_of):
    inputs = [rt.from_numpy(a).requires_grad_() for a in arrays]
    out = f(*inputs)
    out.backward(head_of(out))
    return [out.detach().numpy(), *(t.grad.numpy() for t in inputs)]


@pytest.mark.parametrize("strided", [False, True], ids=["dense", "strided"])
@pytest.mark.parametrize("name", CASES)
def test_kernels_are_what_they_replace(name, strided, monkeypatch, rng):
    f, shapes, kernel = CASES[name]
    assert BACKEND.kernel(kernel) is not None
    arrays = [rng.standard_normal((*shape[:-1], 2 * shape[-1]) if strided else shape) * 3 for shape in shapes]
    if strided:
        arrays = [a[..., ::-2] for a in arrays]

    def head_of(out):  # in float32's numbers for both
        g = np.random.default_rng(3).standard_normal(out.shape[::-1]).T
        return np.asarray(g).astype(np.float32).astype(out.dtype)

    for dtype in (np.float32, np.float64):
        given = [a.astype(dtype) for a in arrays]
        found = results(f, given, head_of)
        with monkeypatch.context() as patch:
            for each in ("softmax", "log_softmax", "pointwise", kernel):
                patch.setitem(BACKEND.kernels, each, None)
            wanted = results(f, [a.astype(np.float64) for a in given], head_of)
        for mine, exact in zip(found, wanted, strict=True):
            assert mine.dtype == dtype
            # sums of at most 455 terms of the size of the largest, each rounded: errors add like a random walk, and
            # the functions of `cpu_math` add three units
            bound = np.finfo(dtype).eps * (3 + 3 * np.sqrt(455)) * (1 + abs(exact).max())
            np.testing.assert_allclose(mine, exact, rtol=0, atol=bound)


@pytest.mark.parametrize("f", [rt.softmax, rt.log_softmax])
def test_softmax_of_extreme_rows(f):
    x = np.zeros((5, 1000), np.float32)
    x[0, ::3], x[1, 7], x[2, :] = -np.inf, np.nan, 1e38
    x[3, 5], x[4, 9] = -np.nan, 3e38
    with np.errstate(over="ignore"):
        found = f(rt.from_numpy(x)).numpy()
        wide = x.astype(np.float64)
        top = wide.max(axis=1, keepdims=True)
        exps = np.exp(wide - top)
        wanted = exps / exps.sum(axis=1, keepdims=True)
    if f is rt.log_softmax:
        with np.errstate(divide="ignore"):
            wanted = wide - top - np.log(exps.sum(axis=1, keepdims=True))
    np.testing.assert_allclose(found, wanted, rtol=1e-5, atol=1e-37)
    assert np.isnan(found[[1, 3]]).all()


def test_nothing():
    for shape in [(0, 5), (3, 0, 4)]:
        x = rt.from_numpy(np.zeros(shape, np.float32)).requires_grad_()
        rt.softmax(x, -1).sum().backward()
        assert x.grad.shape == shape
    table = rt.from_numpy(np.ones((5, 3), np.float32)).requires_grad_()
    nn.embedding(np.zeros((0, 2), np.int64), table).sum().backward()
    assert not table.grad.numpy().any()


@pytest.mark.parametrize("descending", [False, True])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_order_is_stable_and_nan_largest(descending, dtype, rng):
    x = rng.integers(-4, 4, (13, 300)).astype(dtype)
    x[2, ::7], x[3, 5], x[4, 6], x[5, ::2] = np.nan, -np.nan, np.inf, -0.0
    x[6, 8] = -np.inf
    rank = np.where(np.isnan(x), np.inf, np.where(np.isinf(x), np.sign(x) * 1e9, x))
    rank = -rank if descending else rank
    wanted = np.argsort(rank, axis=1, kind="stable")
    found = rt.argsort(rt.from_numpy(x), descending=descending).numpy()
    np.testing.assert_array_equal(found, wanted)
    for k in (1, 13, 64):
        values, index = rt.topk(rt.from_numpy(x), k, largest=descending)
        np.testing.assert_array_equal(index.numpy(), wanted[:, :k])
        np.testing.assert_array_equal(values.numpy(), np.take_along_axis(x, wanted[:, :k], 1))
    columns = np.argsort(rank, axis=0, kind="stable")
    np.testing.assert_array_equal(rt.argsort(rt.from_numpy(x), 0, descending).numpy(), columns)


@pytest.mark.parametrize("kind", ["rnn", "lstm", "gru"])
def test_recurrent_layers_wider_than_a_tile(kind, monkeypatch, rng):
    """Several panels and strips, samples shared among threads, against one op after the other."""
    steps, batch, features, hidden = 4, 19, 23, 37
    rows = {"rnn": 1, "lstm": 4, "gru": 3}[kind] * hidden
    shapes = [(steps, batch, features)] + [(batch, hidden)] * (2 if kind == "lstm" else 1)
    shapes += [(rows, features), (rows, hidden), (rows,), (rows,)]
    arrays = [rng.standard_normal(shape) * 0.5 for shape in shapes]
    f = getattr(nn, kind)

    def head_of(out):
        return np.random.default_rng(3).standard_normal(out.shape).astype(out.dtype)

    for dtype in (np.float32, np.float64):
        given = [a.astype(dtype) for a in arrays]
        found = results(lambda *xs: f(*xs)[0], given, head_of)
        with monkeypatch.context() as patch:
            patch.setitem(BACKEND.kernels, "rnn", None)
            wanted = results(lambda *xs: f(*xs)[0], [a.astype(np.float64) for a in given], head_of)
        for mine, exact in zip(found, wanted, strict=True):
            # a sum of 60 products of size 1/2 each step, and of up to 76 terms over steps and samples
            bound = 8 * np.finfo(dtype).eps * np.sqrt(60 + 76) * steps * (1 + abs(exact).max())
            np.testing.assert_allclose(mine, exact, rtol=0, atol=bound)
