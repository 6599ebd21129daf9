"""Convolution, pooling, interpolation, sampling and norms in PyTorch, where it is installed: values and gradients."""

import numpy as np
import pytest

import ringtrain as rt
from ringtrain import nn

torch = pytest.importorskip("torch")
F = torch.nn.functional

PLANES = {1: (13,), 2: (13, 9), 3: (7, 6, 9)}
KERNELS = {1: (3,), 2: (3, 2), 3: (3, 2, 3)}
LINEAR = {1: "linear", 2: "bilinear", 3: "trilinear"}
DIMS = pytest.mark.parametrize("d", [1, 2, 3])


def compare(ours, theirs, arrays):
    """Values, and gradients under one random head, to 1e-10."""
    a = [rt.from_numpy(x.copy()).requires_grad_() for x in arrays]
    b = [torch.from_numpy(x.copy()).requires_grad_() for x in arrays]
    y, z = ours(*a), theirs(*b)
    assert y.shape == tuple(z.shape)
    head = np.random.default_rng(3).standard_normal(y.shape)
    y.backward(head)
    z.backward(torch.from_numpy(head))
    np.testing.assert_allclose(y.detach().numpy(), z.detach().numpy(), rtol=1e-10, atol=1e-10)
    for s, t in zip(a, b, strict=True):
        mine = np.zeros(s.shape) if s.grad is None else s.grad.numpy()  # a grid's by the nearest pixel
        np.testing.assert_allclose(mine, t.grad.numpy(), rtol=1e-10, atol=1e-10)


def both(name, *args, **kwargs):
    """The function of that name here and there, with the same arguments after the tensors."""
    return [lambda *t, f=f: f(*t, *args, **kwargs) for f in (getattr(nn, name), getattr(F, name))]


@pytest.mark.filterwarnings("ignore:Using padding='same'")
@DIMS
@pytest.mark.parametrize(
    "options",
    [(1, 0, 1, 1), (2, 1, 2, 1), (3, 2, 1, 2), (1, "same", 2, 4), (1, "same", 1, 2), (1, "valid", 1, 1), (2, 5, 1, 1)],
    ids=str,
)
def test_conv(d, options, rng):
    groups = options[-1]
    shapes = [(2, 4, *PLANES[d]), (8, 4 // groups, *KERNELS[d]), (8,)]
    compare(*both(f"conv{d}d", *options), [rng.standard_normal(s) for s in shapes])


@DIMS
@pytest.mark.parametrize(
    "options",
    [
        (1, 0, 0, 1, 1),
        (2, 1, 1, 1, 2),
        (3, 2, 1, 2, 1),
        (2, 3, 1, 4, 1),
        (1, 1, 1, 1, 2),
        (4, 2, 3, 1, 1),
        (2, 3, 1, 1, 1),
    ],
)
def test_conv_transpose(d, options, rng):
    groups = options[3]
    outputs = 2 * groups
    shapes = [(2, 4, *PLANES[d]), (4, 2, *KERNELS[d]), (outputs,)]
    compare(*both(f"conv_transpose{d}d", *options), [rng.standard_normal(s) for s in shapes])


WINDOWS = [(2, None, 0, 1, False), (3, 2, 1, 1, False), (3, 2, 1, 1, True), (2, 3, 1, 2, True), (2, 3, 0, 1, True)]


@DIMS
@pytest.mark.parametrize("window", [*WINDOWS, (2, 2, 0, 1, True), (4, 1, 2, 1, True)], ids=str)
def test_max_pool(d, window, rng):
    compare(*both(f"max_pool{d}d", *window), [rng.standard_normal((2, 3, *PLANES[d]))])
    ties = rng.integers(0, 3, (2, 3, *PLANES[d])) * 1.0
    compare(*both(f"max_pool{d}d", *window), [ties])
    ours, theirs = both(f"max_pool{d}d", *window, return_indices=True)
    for mine, other in zip(ours(rt.from_numpy(ties)), theirs(torch.from_numpy(ties)), strict=True):
        np.testing.assert_array_equal(mine.numpy(), other.numpy())


@DIMS
@pytest.mark.parametrize("inside", [False, True])
@pytest.mark.parametrize("window", WINDOWS, ids=str)
def test_avg_pool(d, window, inside, rng):
    kernel, stride, padding, _, ceil_mode = window
    x = [rng.standard_normal((2, 3, *PLANES[d]))]
    compare(*both(f"avg_pool{d}d", kernel, stride, padding, ceil_mode, not inside), x)
    if d > 1:
        compare(*both(f"avg_pool{d}d", kernel, stride, padding, ceil_mode, divisor_override=5), x)


@DIMS
@pytest.mark.parametrize("size", [1, 2, 3, 5, 11])
def test_adaptive_pools(d, size, rng):
    for plane in (PLANES[d], (6, 10, 4)[:d]):
        ties = rng.integers(0, 3, (2, 3, *plane)) * 1.0
        for x in (rng.standard_normal((2, 3, *plane)), ties):
            compare(*both(f"adaptive_avg_pool{d}d", size), [x])
            compare(*both(f"adaptive_max_pool{d}d", size), [x])
        ours, theirs = both(f"adaptive_max_pool{d}d", size, return_indices=True)
        np.testing.assert_array_equal(ours(rt.from_numpy(ties))[1].numpy(), theirs(torch.from_numpy(ties))[1].numpy())


@DIMS
def test_lp_pool(d, rng):
    x = rng.standard_normal((2, 3, *PLANES[d]))
    compare(*both(f"lp_pool{d}d", 2, 2), [x])
    compare(*both(f"lp_pool{d}d", 3, 3, 2, True), [abs(x)])


@DIMS
@pytest.mark.parametrize("window", [(2,), (3, 2)], ids=str)
def test_max_unpool(d, window, rng):
    """Also of windows that overlap: a place that two of them found."""
    x = torch.from_numpy(rng.standard_normal((2, 3, *(9, 7, 5)[:d])))
    best, places = getattr(F, f"max_pool{d}d")(x, *window, return_indices=True)
    size = tuple(x.shape[2:])
    compare(
        lambda t: getattr(nn, f"max_unpool{d}d")(t, rt.from_numpy(places.numpy()), *window, output_size=size),
        lambda t: getattr(F, f"max_unpool{d}d")(t, places, *window, output_size=size),
        [best.numpy()],
    )


MODES = [(m, None) for m in ("nearest", "nearest-exact", "area")] + [
    (m, c) for m in ("linear", "bicubic") for c in (False, True)
]


@DIMS
@pytest.mark.parametrize(("mode", "corners"), MODES)
@pytest.mark.parametrize(
    "size",
    [
        *[{"size": 5}, {"size": 17}, {"size": 1}, {"scale_factor": 2}, {"scale_factor": 1.7}, {"scale_factor": 0.6}],
        {"scale_factor": 1.3, "recompute_scale_factor": True},
    ],
    ids=str,
)
def test_interpolate(d, mode, corners, size, rng):
    if mode == "bicubic" and d != 2:
        return
    mode = LINEAR[d] if mode == "linear" else mode
    compare(*both("interpolate", **size, mode=mode, align_corners=corners), [rng.standard_normal((2, 3, *PLANES[d]))])


@pytest.mark.parametrize("corners", [False, True])
@pytest.mark.parametrize("padding", ["zeros", "border", "reflection"])
@pytest.mark.parametrize("mode", ["bilinear", "nearest", "bicubic"])
def test_grid_sample(mode, padding, corners, rng):
    for x, grid in [((2, 3, 7, 5), (2, 4, 6, 2)), ((1, 2, 1, 5), (1, 4, 6, 2)), ((2, 3, 4, 7, 5), (2, 3, 4, 6, 3))]:
        if mode == "bicubic" and len(x) == 5:
            continue
        places = rng.uniform(-2.5, 2.5, grid)
        compare(*both("grid_sample", mode, padding, corners), [rng.standard_normal(x), places])


@pytest.mark.parametrize("corners", [False, True])
def test_affine_grid(corners, rng):
    compare(*both("affine_grid", (2, 3, 5, 7), corners), [rng.standard_normal((2, 2, 3))])
    compare(*both("affine_grid", (2, 3, 2, 5, 7), corners), [rng.standard_normal((2, 3, 4))])


@pytest.mark.parametrize(
    "window", [{"kernel_size": 3}, {"kernel_size": (2, 3), "dilation": (3, 2), "padding": (1, 2), "stride": (2, 1)}]
)
def test_folds(window, rng):
    compare(*both("unfold", **window), [rng.standard_normal((2, 3, 11, 9))])
    shape = F.unfold(torch.zeros(2, 3, 11, 9), **window).shape
    compare(*both("fold", (11, 9), **window), [rng.standard_normal(tuple(shape))])


def test_shuffles(rng):
    compare(*both("pixel_shuffle", 3), [rng.standard_normal((2, 18, 3, 4))])
    compare(*both("pixel_unshuffle", 3), [rng.standard_normal((2, 2, 9, 12))])
    compare(*both("channel_shuffle", 3), [rng.standard_normal((2, 6, 3, 4))])


def test_norms(rng):
    def normal(*shapes):
        return [rng.standard_normal(s) for s in shapes]

    compare(
        lambda x, w, b: nn.layer_norm(x, (3, 5), w, b),
        lambda x, w, b: F.layer_norm(x, (3, 5), w, b),
        normal((4, 3, 5), (3, 5), (3, 5)),
    )
    for eps in (None, 1e-3):
        compare(
            lambda x, w, e=eps: nn.rms_norm(x, 5, w, e),
            lambda x, w, e=eps: F.rms_norm(x, (5,), w, e),
            normal((4, 3, 5), (5,)),
        )
    for groups in (1, 2, 4):
        compare(
            lambda x, w, b, g=groups: nn.group_norm(x, g, w, b),
            lambda x, w, b, g=groups: F.group_norm(x, g, w, b),
            normal((3, 4, 5, 2), (4,), (4,)),
        )
    compare(nn.instance_norm, lambda x, w, b: F.instance_norm(x, None, None, w, b), normal((3, 4, 5, 2), (4,), (4,)))
    for size in (1, 2, 3, 5):
        compare(*both("local_response_norm", size, 0.1, 0.6, 1.5), normal((3, 4, 5, 2)))


FRACTIONS = [{"output_size": (5, 3)}, {"output_ratio": (0.4, 0.7)}, {"output_size": (1, 7)}]


@pytest.mark.parametrize("size", FRACTIONS, ids=str)
@pytest.mark.parametrize("dims", [2, 3])
def test_fractional_pools(dims, size, rng):
    x, plane = rng.standard_normal((2, 3, 4, 11, 9)), (11, 9)
    if dims == 2:
        x = x[:, :, 0]
    else:
        size = {k: (2 if k == "output_size" else 0.6, *v) for k, v in size.items()}
        plane = (4, 11, 9)
    draws, name = rng.random((2, 3, dims)), f"fractional_max_pool{dims}d"
    compare(
        lambda t: getattr(nn, name)(t, 2, **size, samples=draws),
        lambda t: getattr(F, name)(t, 2, **size, _random_samples=torch.from_numpy(draws)),
        [x],
    )
    _, ours = getattr(nn, name)(rt.from_numpy(x), 2, **size, samples=draws, return_indices=True)
    options = {"_random_samples": torch.from_numpy(draws), "return_indices": True}
    np.testing.assert_array_equal(ours.numpy(), getattr(F, name)(torch.from_numpy(x), 2, **size, **options)[1].numpy())
    layer = getattr(nn, f"FractionalMaxPool{dims}d")(2, **size)
    rt.seed(0)
    first, second = layer(rt.from_numpy(x)), layer(rt.from_numpy(x))
    assert first.shape == second.shape
    assert "output_ratio" not in size or not np.array_equal(first.numpy(), second.numpy())
    rt.seed(0)
    np.testing.assert_array_equal(layer(rt.from_numpy(x)).numpy(), first.numpy())
    with pytest.raises(ValueError, match="do not fit"):
        getattr(nn, name)(rt.from_numpy(x), 2, plane)
    with pytest.raises(ValueError, match="either output_size or output_ratio"):
        getattr(nn, name)(rt.from_numpy(x), 2)
