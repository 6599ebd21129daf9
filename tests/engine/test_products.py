"""Compiled products and convolutions at sizes that fill tiles partly, against NumPy and the composed form."""

import importlib
import os
import platform
import subprocess
import sys

import numpy as np
import pytest
import threadpoolctl

import ringtrain as rt
from ringtrain.backend import cpu_matmul, get, host, layout, threads
from ringtrain.data.workers import worker
from ringtrain.distributed import world
from ringtrain.ops import conv, conv_transpose

pytestmark = pytest.mark.cpu

EPS = {np.float32: np.finfo(np.float32).eps, np.float64: np.finfo(np.float64).eps}


def bound(dtype, magnitudes, terms):
    """How far a sum of that many products, whose absolute values add up to `magnitudes`, may be off (Higham 2002)."""
    return EPS[dtype] * terms * magnitudes + np.finfo(dtype).tiny


def matrix(rng, m, n, dtype, layout):
    """An (m, n) matrix: "rows" or "columns" contiguous, or a part of a larger one of either kind."""
    a = rng.standard_normal((m + 3, n + 5)).astype(dtype)
    part = a[1 : m + 1, 2 : n + 2]
    made = {"rows": part.copy(), "part": part, "columns": part.T.copy().T}
    return made[layout] if layout in made else np.asfortranarray(a)[1 : m + 1, 2 : n + 2]


@pytest.fixture
def tiles(monkeypatch):
    """Tiles for everything that could have them, however small."""
    monkeypatch.setattr(cpu_matmul, "ENOUGH", 0)
    monkeypatch.setattr(cpu_matmul, "NARROW", 1)
    cpu_matmul._way.cache_clear()
    yield
    cpu_matmul._way.cache_clear()


@pytest.fixture(params=[1, 2, 3])
def thread_count(request, monkeypatch):
    """That many threads, whatever there is to do."""
    monkeypatch.setattr(threads, "count", lambda: request.param)
    monkeypatch.setattr(cpu_matmul, "SHARED", 0)
    threads._close()
    yield request.param
    threads._close()


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("shape", [(1, 1, 1), (9, 33, 17), (67, 15, 600), (300, 70, 13), (40, 200, 70)])
def test_gradients_of_a_layer_in_one_call(shape, dtype, tiles, rng):
    m, k, n = shape
    g, x, weight, out = (rng.standard_normal(s).astype(dtype) for s in ((m, n), (m, k), (n, k), (m, n)))
    places = (None, np.full((n, k), np.nan, dtype), np.full(n, np.nan, dtype))
    for kept in (None, out):
        for needs in ((True, True, True), (False, True, False), (True, False, True)):
            found = cpu_matmul.linear_back(g, x, weight, needs, places, kept)
            if n < k < m:  # such products are computed turned about
                assert found is None
                continue
            head = (g if kept is None else np.where(kept > 0, g, 0)).astype(np.float64)
            exact = (head @ weight, head.T @ x, head.sum(0))
            sizes = (abs(head) @ abs(weight), abs(head.T) @ abs(x), abs(head).sum(0))
            for i, terms in enumerate((n, m, m)):
                if needs[i]:
                    assert (abs(found[i] - exact[i]) <= bound(dtype, sizes[i], terms)).all()
            assert [a is not None for a in found] == list(needs) and found[1] is (places[1] if needs[1] else None)
    assert cpu_matmul.linear_back(g, x, np.asfortranarray(weight[:, ::-1]), needs, places) is None or min(shape) == 1
    assert cpu_matmul.linear_back(g.astype(np.float16), x, weight, needs, places) is None


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(
    "shape", [(1, 1, 1), (7, 5, 3), (8, 32, 16), (9, 33, 17), (67, 15, 600), (300, 70, 13), (5, 200, 1100)]
)
def test_products_of_every_layout(shape, dtype, tiles, rng):
    m, n, k = shape
    bias = rng.standard_normal(n).astype(dtype)
    for left in ("rows", "part", "columns", "part of columns"):
        for right in ("rows", "part", "columns", "part of columns"):
            a, b = matrix(rng, m, k, dtype, left), matrix(rng, k, n, dtype, right)
            assert cpu_matmul._way(a.shape, a.strides, a.dtype, b.shape, b.strides, b.dtype) or 1 in shape
            want = a.astype(np.longdouble) @ b + bias
            limit = bound(dtype, abs(a).astype(np.longdouble) @ abs(b) + abs(bias), k + 1)
            assert (abs(cpu_matmul.matmul(a, b, bias) - want) <= limit).all(), (left, right)
            place = np.full((m, n), np.nan, dtype)
            assert cpu_matmul.matmul(a, b, out=place) is place
            for again in (cpu_matmul.matmul(a, b), cpu_matmul.matmul(a, b, np.zeros(n, dtype))):
                assert place.tobytes() == again.tobytes()


def test_products_with_more_axes_and_what_is_left_to_numpy(tiles, rng):
    a, b = rng.standard_normal((3, 5, 7)), rng.standard_normal((7, 11))
    np.testing.assert_allclose(cpu_matmul.matmul(a, b), a @ b, rtol=1e-13)
    swapped = rng.standard_normal((5, 3, 7)).swapaxes(0, 1)
    np.testing.assert_allclose(cpu_matmul.matmul(swapped, b), swapped @ b, rtol=1e-13)
    every_other = rng.standard_normal((14, 11))[::2]
    np.testing.assert_allclose(cpu_matmul.matmul(a, every_other), a @ every_other, rtol=1e-13)
    np.testing.assert_allclose(cpu_matmul.matmul(a, b[:, ::-1]), a @ b[:, ::-1], rtol=1e-13)
    spread = np.broadcast_to(rng.standard_normal(7), (5, 7))
    np.testing.assert_allclose(cpu_matmul.matmul(spread, b), spread @ b, rtol=1e-13)
    place = np.empty((3, 5, 11))
    for left in (a, swapped, a[:, ::-1]):
        assert cpu_matmul.matmul(left, b, out=place) is place
        np.testing.assert_allclose(place, left @ b, rtol=1e-13)
    assert cpu_matmul.matmul(np.ones((2, 0)), np.ones((0, 3))).tolist() == [[0] * 3] * 2
    assert cpu_matmul.matmul(np.ones((2, 3), int), np.ones((3, 2), int)).dtype == int
    mixed = cpu_matmul.matmul(np.ones((2, 3), np.float32), np.ones((3, 2)))
    assert mixed.dtype == np.float64
    with pytest.raises(ValueError, match="mismatch"):
        cpu_matmul.matmul(a, np.ones((8, 11)))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_stacks_of_matrices(dtype, thread_count, tiles, rng):
    whole = rng.standard_normal((3, 21, 4, 40)).astype(dtype)  # samples, places, heads, numbers
    a, b = whole[..., :17].swapaxes(1, 2), whole[..., 20:39].swapaxes(1, 2)  # (3, 4, 21, ...)
    for left, right in (
        (a, b.swapaxes(-1, -2)[:, :, :17]),
        (a.swapaxes(-1, -2), b),
        (a[:, :2], a[:, 2:].swapaxes(2, 3)),
    ):
        assert cpu_matmul._stack_suits(left, right)
        want = left.astype(np.longdouble) @ right
        limit = bound(dtype, abs(left).astype(np.longdouble) @ abs(right), left.shape[-1] + 1)
        assert (abs(cpu_matmul.matmul(left, right) - want) <= limit).all()
        out = rng.standard_normal((*want.shape[:-1], want.shape[-1] + 3)).astype(dtype)[..., 1:-2]
        before = out.astype(np.longdouble)
        cpu_matmul.add_matmul(out, left, right)
        assert (abs(out - before - want) <= limit + EPS[dtype] * abs(before) * 2).all()
    assert cpu_matmul.matmul(a, b[:1].swapaxes(-1, -2)[:, :, :17]).shape == (3, 4, 21, 21)  # NumPy's: these broadcast
    with pytest.raises(ValueError, match="mismatch"):
        cpu_matmul.matmul(a, b)


def test_infinities_stay_where_they_are(tiles, rng):
    a, b = rng.standard_normal((9, 17)), rng.standard_normal((17, 35))
    a[3, 16], b[16, 34] = np.inf, np.nan
    got = cpu_matmul.matmul(a, b)
    rows, columns = np.ones(9, bool), np.ones(35, bool)
    rows[3] = columns[34] = False
    assert np.isfinite(got[rows][:, columns]).all()
    assert np.isnan(got[:, 34]).all()
    assert np.isinf(got[3, :34]).all()


def test_threads_change_no_bit(thread_count, tiles, rng):
    a, b = rng.standard_normal((101, 50)), rng.standard_normal((50, 77))
    whole = np.concatenate([cpu_matmul.matmul(a[i : i + 1], b) for i in range(101)])
    assert cpu_matmul.matmul(a, b).tobytes() == whole.tobytes()
    left = np.asfortranarray(a)
    assert cpu_matmul.matmul(left, b).tobytes() == whole.tobytes()


def test_a_rank_has_its_share_of_threads(monkeypatch):
    monkeypatch.setattr(threads, "_limit", [])
    for name in worker.THREAD_VARIABLES:
        monkeypatch.setenv(name, "3")
    threads.count.cache_clear()
    assert threads.count() == 3
    try:
        with threadpoolctl.threadpool_limits():  # which puts back what was
            world.set_threads(2)
            assert threads.count() == 2
            seen = []
            threads.shared(10, 1, lambda a, b: seen.append((a, b)))
            assert sorted(seen) == [(0, 5), (5, 10)]
            worker.one_thread()
            assert threads.count() == 1
    finally:
        threads._limit.clear()
        threads.count.cache_clear()
        threads._close()


# images, (C, H, W), (O, KH, KW), stride, padding, dilation, groups
CASES = [
    (9, (16, 8, 8), (33, 3, 3), (1, 1), (1, 1), (1, 1), 1),
    (17, (9, 6, 7), (5, 5, 5), (1, 1), (2, 2), (1, 1), 1),
    (3, (20, 13, 9), (40, 3, 5), (2, 3), (3, 2), (1, 2), 1),
    (2, (8, 5, 5), (16, 3, 3), (3, 3), (1, 1), (1, 1), 1),
    (2, (8, 4, 4), (8, 3, 3), (2, 2), (5, 4), (1, 1), 1),
    (5, (12, 9, 9), (18, 3, 3), (2, 1), (1, 1), (2, 1), 3),
    (3, (70, 7, 7), (70, 3, 3), (2, 2), (1, 1), (1, 1), 70),
    (2, (150, 5, 6), (150, 3, 5), (1, 2), (1, 4), (2, 1), 150),
    (2, (6, 6, 6), (6, 3, 3), (1, 1), (4, 4), (1, 1), 6),
    (2, (24, 9, 9), (200, 1, 1), (1, 1), (0, 0), (1, 1), 1),
    (2, (10, 9, 9), (20, 1, 1), (2, 2), (0, 0), (1, 1), 1),
    (2, (4, 70, 66), (3, 3, 3), (1, 1), (1, 1), (1, 1), 1),
]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("case", CASES, ids=str)
def test_convolutions(case, dtype, thread_count, rng):
    n, (c, h, w), (o, kh, kw), stride, padding, dilation, groups = case
    options = {"stride": stride, "padding": padding, "dilation": dilation, "groups": groups}
    arrays = [rng.standard_normal(s) for s in ((n, c, h, w), (o, c // groups, kh, kw), (o,))]
    kernel = get("cpu")[0].kernel("conv2d")
    assert kernel.accepts(*arrays, **options)
    inputs = [rt.from_numpy(a.astype(dtype)).requires_grad_() for a in arrays]
    exact = [rt.from_numpy(a.astype(dtype).astype(np.float64)).requires_grad_() for a in arrays]
    sizes = [rt.from_numpy(abs(a)).requires_grad_() for a in arrays]
    out, want, size = (
        f(*xs, **options) for f, xs in ((rt.nn.conv2d, inputs), (conv._composed, exact), (conv._composed, sizes))
    )
    head = rng.standard_normal(out.shape).astype(dtype)
    for y, g in ((out, head), (want, head.astype(np.float64)), (size, abs(head.astype(np.float64)))):
        y.backward(g)
    terms = {"y": c // groups * kh * kw + 1, "x": o // groups * kh * kw, "w": out.size // o, "b": out.size // o}
    got = [out, *(t.grad for t in inputs)]
    for a, b, s, k in zip(got, [want, *(t.grad for t in exact)], [size, *(t.grad for t in sizes)], terms, strict=True):
        assert a.dtype == dtype
        assert (abs(a._data - b._data) <= 2 * bound(dtype, s._data, terms[k])).all(), k


# images, (C, D, H, W), (O, KD, KH, KW), stride, padding, dilation, groups
VOLUMES = [
    (2, (9, 4, 5, 6), (18, 3, 3, 3), (1, 1, 1), (1, 1, 1), (1, 1, 1), 1),
    (3, (4, 5, 4, 7), (6, 2, 3, 1), (2, 1, 3), (0, 2, 1), (1, 2, 1), 2),
    (1, (5, 3, 6, 4), (5, 2, 3, 2), (1, 2, 1), (1, 1, 0), (2, 1, 1), 5),
]


@pytest.mark.parametrize("case", VOLUMES, ids=str)
def test_volumes_and_transposed_convolutions(case, rng):
    n, (c, *space), (o, *kernel), stride, padding, dilation, groups = case
    options = {"stride": stride, "padding": padding, "dilation": dilation, "groups": groups}
    x, w, b = (rng.standard_normal(s) for s in ((n, c, *space), (o, c // groups, *kernel), (o,)))
    y, v = rng.standard_normal((n, o, *space)), rng.standard_normal((c,))
    extra = tuple(s - 1 for s in stride)
    pairs = [
        (rt.nn.conv3d, conv._composed3d, (x, w, b), options),
        (rt.nn.conv_transpose3d, conv_transpose._composed, (y, w, v), {**options, "output_padding": extra}),
        (rt.nn.conv_transpose2d, conv_transpose._composed, (y[:, :, 0], w[:, :, 0], v), {}),
    ]
    pairs[2][3].update({k: p[1:] if isinstance(p, tuple) else p for k, p in pairs[1][3].items()})
    for kernel_form, composed, arrays, each in pairs:
        assert get("cpu")[0].kernel(kernel_form.__name__).accepts(*arrays, **each)
        results = []
        for f in (kernel_form, composed):
            inputs = [rt.from_numpy(a.copy()).requires_grad_() for a in arrays]
            out = f(*inputs, **each)
            out.backward(np.random.default_rng(1).standard_normal(out.shape))
            results.append([out._data, *(t.grad.numpy() for t in inputs)])
        for got, want in zip(*results, strict=True):
            np.testing.assert_allclose(got, want, rtol=1e-11, atol=1e-11)


PROGRAM = """
import numpy as np
import ringtrain as rt
from ringtrain.backend.vectors import BYTES
rng = np.random.default_rng(0)
for dtype in (np.float32, np.float64):
    a, b = rng.standard_normal((80, 700)).astype(dtype), rng.standard_normal((700, 90)).astype(dtype)
    for left, right in ((a, b), (np.asfortranarray(a), np.asfortranarray(b))):
        product = rt.matmul(rt.from_numpy(left), rt.from_numpy(right)).numpy()
        np.testing.assert_allclose(product, a.astype(float) @ b, rtol=0, atol=1e-3)
    for groups in (1, 12):
        x = rt.from_numpy(rng.standard_normal((3, 12, 7, 6)).astype(dtype)).requires_grad_()
        shape = (24, 12, 3, 3) if groups == 1 else (12, 1, 3, 3)
        w = rt.from_numpy(rng.standard_normal(shape).astype(dtype)).requires_grad_()
        out = rt.nn.conv2d(x, w, padding=1, groups=groups)
        rt.nn.conv2d(x.detach(), w, padding=1, groups=groups).backward(np.zeros(out.shape, dtype))  # by numbers: none
        out.sum().backward()
        y, v = x.detach().numpy().astype(float), w.detach().numpy().astype(float)
        y = np.pad(y, ((0, 0), (0, 0), (1, 1), (1, 1)))
        windows = np.lib.stride_tricks.sliding_window_view(y, (3, 3), axis=(2, 3))
        if groups == 1:
            want, grad = np.einsum("nchwij,ocij->nohw", windows, v), windows.sum((0, 2, 3))[None]
        else:
            want, grad = np.einsum("nchwij,cij->nchw", windows, v[:, 0]), windows.sum((0, 2, 3))[:, None]
        np.testing.assert_allclose(out.detach().numpy(), want, rtol=0, atol=1e-4)
        np.testing.assert_allclose(w.grad.numpy(), np.broadcast_to(grad, v.shape), rtol=0, atol=1e-4)
print(BYTES)
"""


GUARDED = """
import ctypes
import ringtrain.backend.host
mallopt = ctypes.CDLL(None).mallopt
assert mallopt(-3, 4096) and mallopt(-6, 165)  # arrays on pages of their own, and what is freed filled with noise
"""


@pytest.mark.skipif(not host.keep_memory(), reason="glibc's allocator is the one that can be told to")
def test_no_memory_is_used_after_its_time_or_past_its_end():
    environment = {**os.environ, "OMP_NUM_THREADS": "2"}
    program = [sys.executable, "-X", "faulthandler", "-c", GUARDED + PROGRAM]
    done = subprocess.run(program, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr


@pytest.mark.skipif(platform.machine() not in ("x86_64", "AMD64"), reason="the features are those of x86-64")
@pytest.mark.parametrize(("name", "features", "width"), [("haswell", "+avx2,+fma", 32), ("x86-64", "+sse2", 16)])
def test_processors_with_narrower_vectors(name, features, width, tmp_path):
    environment = {**os.environ, "NUMBA_CPU_NAME": name, "NUMBA_CPU_FEATURES": features}
    environment["NUMBA_CACHE_DIR"] = str(tmp_path)
    done = subprocess.run([sys.executable, "-c", PROGRAM], env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == [str(width)]


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.int32])
@pytest.mark.parametrize(
    "shape", [(2, 3, 5), (3, 16, 16, 2), (1, 17, 33), (2, 40, 4, 5), (5, 1, 7, 7), (2, 9, 1), (0, 3, 4)]
)
def test_images_move_between_orders_of_memory(shape, dtype, rng):
    x = (rng.standard_normal(shape) * 100).astype(dtype)
    last = layout.channels_last(x)
    assert last.flags.c_contiguous
    np.testing.assert_array_equal(last, np.moveaxis(x, 1, -1))
    images = np.moveaxis(last, -1, 1)
    assert layout.channels_last(images).base is not None
    for a, b in ((x, images), (images, x), (x, x), (images, np.empty(shape[::-1], dtype).T)):
        moved = layout.like(a, b)
        np.testing.assert_array_equal(moved, x)
        assert moved.size == 0 or all(n == 1 or s == t for n, s, t in zip(shape, moved.strides, b.strides, strict=True))


def gradients(arrays, head, options):
    """The weight's and the image's gradient of a convolution, by whatever kernel takes it."""
    inputs = [rt.from_numpy(a.copy()).requires_grad_() for a in arrays]
    rt.nn.conv2d(*inputs, **options).backward(head)
    return [t.grad.numpy() for t in inputs]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("case", [case for case in CASES if case[-1] == 1], ids=str)
def test_gradients_by_the_numbers_that_are_not_zero_are_the_same_bits(case, dtype, thread_count, monkeypatch, rng):
    n, (c, h, w), (o, kh, kw), stride, padding, dilation, groups = case
    options = {"stride": stride, "padding": padding, "dilation": dilation, "groups": groups}
    arrays = [rng.standard_normal(s).astype(dtype) for s in ((n, c, h, w), (o, c, kh, kw), (o,))]
    out = rt.nn.conv2d(*map(rt.from_numpy, arrays), **options)
    head = rng.standard_normal(out.shape).astype(dtype) * (rng.random(out.shape) < 0.3)
    dense = gradients(arrays, head, options)
    calls = []
    kernel = importlib.import_module("ringtrain.backend.cpu_conv")
    monkeypatch.setattr(kernel, "mostly_zeros", lambda *_: calls.append(1) or True)
    sparse = gradients(arrays, head, options)
    assert calls
    for a, b in zip(dense, sparse, strict=True):
        if thread_count == 1 and min(stride) == max(dilation) == 1:  # the same terms in the same order
            np.testing.assert_array_equal(a, b)
        np.testing.assert_allclose(a, b, rtol=0, atol=EPS[dtype] * 200 * abs(a).max())


def test_what_is_mostly_zeros_and_what_is_not(rng):
    cpu_conv = importlib.import_module("ringtrain.backend.cpu_conv")
    images, weight = rng.standard_normal((2, 8, 8, 16)), rng.standard_normal((4, 16, 3, 3))
    plain = {"stride": (1, 1), "padding": (1, 1), "dilation": (1, 1)}
    g = cpu_conv.geometry((2, 16, 8, 8), weight, **plain, groups=1)
    few = np.where(rng.random((2, 8, 8, 4)) < 0.2, 1.0, 0.0)
    assert cpu_conv.mostly_zeros(g, few, images, weight)
    assert not cpu_conv.mostly_zeros(g, few + 1, images, weight)
    assert not cpu_conv.mostly_zeros(cpu_conv.geometry((2, 16, 8, 8), weight[:, :8], **plain, groups=2), few, images)
    for value in (np.inf, -np.inf, np.nan):
        broken = images.copy()
        broken[1, 2, 3, 4] = value
        assert not cpu_conv.mostly_zeros(g, few, broken, weight)


def test_a_zero_times_an_infinity_is_not_left_out(rng):
    x, w = rng.standard_normal((2, 16, 8, 8)), rng.standard_normal((4, 16, 3, 3))
    x[0, 3, 4, 4] = np.inf
    head = np.zeros((2, 4, 8, 8))
    gw, gx = gradients([x, w], head, {"padding": 1})[::-1]
    assert np.isnan(gw[:, 3]).all()
    assert not gx.any()
