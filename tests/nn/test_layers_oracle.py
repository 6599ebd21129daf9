"""The same layers in PyTorch, where it is installed, with the same state: values, gradients, running statistics."""

import numpy as np
import pytest

import ringtrain as rt
from ringtrain import nn

torch = pytest.importorskip("torch")

PLANES = {1: (9,), 2: (9, 7), 3: (5, 4, 6)}
F64 = {"dtype": np.float64}

# name of the class in both, its arguments, and the input's shape; {d} stands for 1, 2 and 3
LAYERS = [
    ("Conv{d}d", (4, 6, 3), {}),
    ("Conv{d}d", (4, 6, 3, 2, 1, 1, 2, False), {}),
    *[("Conv{d}d", (4, 4, 3), {"padding": p, "padding_mode": m, "dilation": 2 - (p == "same"), "groups": 4})
      for p in (2, "same") for m in ("reflect", "replicate", "circular", "zeros")],
    ("ConvTranspose{d}d", (4, 6, 3, 2, 1, 1), {}),
    ("ConvTranspose{d}d", (4, 6, 3, 3, 0, 1, 2, False, 2), {}),
    ("MaxPool{d}d", (3, 2, 1), {"ceil_mode": True}),
    ("MaxPool{d}d", (2, 1, 0, 2), {}),
    ("AvgPool{d}d", (3, 2, 1), {"ceil_mode": True, "count_include_pad": False}),
    ("AdaptiveAvgPool{d}d", (3,), {}),
    ("AdaptiveMaxPool{d}d", (3,), {}),
    ("LPPool{d}d", (2, 3, 1), {}),
    ("ConstantPad{d}d", (2, 1.5), {}),
    ("ZeroPad{d}d", (1,), {}),
    ("ReflectionPad{d}d", (2,), {}),
    ("ReplicationPad{d}d", (2,), {}),
    ("CircularPad{d}d", (2,), {}),
    ("BatchNorm{d}d", (4,), {}),
    ("BatchNorm{d}d", (4, 1e-3, None, False), {}),
    ("BatchNorm{d}d", (4, 1e-3, 0.2), {"track_running_stats": False}),
    ("InstanceNorm{d}d", (4,), {}),
    ("BatchNorm{d}d", (4,), {"bias": False}),
    ("InstanceNorm{d}d", (4, 1e-3, 0.3, True, True), {}),
    ("InstanceNorm{d}d", (4, 1e-3, 0.3, True), {"bias": False}),
    ("GroupNorm", (2, 4), {}),
    ("GroupNorm", (4, 4, 1e-3, False), {}),
    ("GroupNorm", (2, 4), {"bias": False}),
    ("LocalResponseNorm", (3, 0.2, 0.6, 1.5), {}),
    ("Upsample", (), {"scale_factor": 2}),
    ("Upsample", (11,), {}),
]  # fmt: skip
ASYMMETRIC = [
    ("ReflectionPad2d", ((1, 2, 3, 0),), {}),
    ("ConstantPad3d", ((1, 0, 2, 0, 0, 3), -1.0), {}),
    ("ZeroPad2d", ((-1, 2, 1, -3),), {}),
    ("CircularPad3d", ((1, 2, 0, 3, 2, 1),), {}),
    ("UpsamplingNearest2d", (), {"scale_factor": 3}),
    ("UpsamplingBilinear2d", ((11, 5),), {}),
    ("PixelShuffle", (2,), {}),
    ("ChannelShuffle", (2,), {}),
    ("Unfold", ((2, 3), 1, 1, 2), {}),
    ("MaxPool2d", ((3, 2), (2, 1), (1, 0)), {}),
    ("LayerNorm", ((9, 7),), {}),
    ("LayerNorm", (7, 1e-3, True, False), {}),
    ("LayerNorm", (7, 1e-3, False), {}),
    ("RMSNorm", (7,), {}),
    ("RMSNorm", (7, 1e-3, False), {}),
]
PARAMETRIC = ("Conv", "Batch", "Instance", "Group", "Layer", "RMS")


def pair(name, args, kwargs):
    """Both modules, in float64, with one random state."""
    more = F64 if name.startswith(PARAMETRIC) else {}
    mine = getattr(nn, name)(*args, **kwargs, **more)
    other = getattr(torch.nn, name)(*args, **kwargs).double()
    rng = np.random.default_rng(1)
    state = {
        k: rng.uniform(0.5, 1.5, v.shape) if v.dtype.is_floating_point else v.numpy()
        for k, v in other.state_dict().items()
    }
    mine.load_state_dict(state)  # strict: the names are the same
    other.load_state_dict({k: torch.as_tensor(v) for k, v in state.items()})
    return mine, other


def compare(mine, other, x, seed=0):
    a, b = rt.from_numpy(x.copy()).requires_grad_(), torch.from_numpy(x.copy()).requires_grad_()
    y, z = mine(a), other(b)
    assert y.shape == tuple(z.shape)
    np.testing.assert_allclose(y.detach().numpy(), z.detach().numpy(), rtol=1e-10, atol=1e-10)
    head = np.random.default_rng(seed).standard_normal(y.shape)
    y.backward(head)
    z.backward(torch.from_numpy(head))
    theirs = dict(other.named_parameters())
    assert [n for n, _ in mine.named_parameters()] == list(theirs)
    gradients = [(a.grad, b.grad)] + [(p.grad, theirs[n].grad) for n, p in mine.named_parameters()]
    for s, t in gradients:
        np.testing.assert_allclose(s.numpy(), t.numpy(), rtol=1e-10, atol=1e-10)
    for n, t in other.named_buffers():
        if n == "num_batches_tracked" and isinstance(mine, nn.InstanceNorm):
            continue  # there it never counts
        np.testing.assert_allclose(dict(mine.named_buffers())[n].numpy(), t.numpy(), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("d", [1, 2, 3])
@pytest.mark.parametrize("layer", LAYERS, ids=str)
def test_layer(layer, d):
    """Two steps of training, then evaluation."""
    name, args, kwargs = layer
    mine, other = pair(name.format(d=d), args, kwargs)
    for step in range(3):
        if step == 2:
            mine.eval(), other.eval()
        for module in (mine, other):
            module.zero_grad()
        compare(mine, other, np.random.default_rng(step).standard_normal((3, 4, *PLANES[d])), step)


@pytest.mark.parametrize("layer", ASYMMETRIC, ids=str)
def test_layer_of_images(layer):
    d = 3 if layer[0].endswith("3d") else 2
    compare(*pair(*layer), np.random.default_rng(0).standard_normal((3, 4, *PLANES[d])))


ALONE = [layer for layer in LAYERS if "{d}" in layer[0] and not layer[0].startswith("Batch")]


@pytest.mark.parametrize("d", [1, 2, 3])
@pytest.mark.parametrize("layer", ALONE, ids=str)
def test_a_sample_without_a_batch(layer, d):
    name, args, kwargs = layer
    mine, other = pair(name.format(d=d), args, kwargs)
    compare(mine, other, np.random.default_rng(0).standard_normal((4, *PLANES[d])))


@pytest.mark.parametrize("d", [1, 2, 3])
def test_the_way_back_without_a_batch(d):
    x = np.random.default_rng(0).standard_normal((4, *PLANES[d]))
    values, places = getattr(nn, f"MaxPool{d}d")(2, return_indices=True)(rt.from_numpy(x))
    theirs = getattr(torch.nn, f"MaxPool{d}d")(2, return_indices=True)(torch.from_numpy(x))
    np.testing.assert_array_equal(places.numpy(), theirs[1].numpy())
    back = getattr(nn, f"MaxUnpool{d}d")(2)(values, places, PLANES[d])
    wanted = getattr(torch.nn, f"MaxUnpool{d}d")(2)(*theirs, output_size=PLANES[d])
    np.testing.assert_array_equal(back.numpy(), wanted.numpy())


def test_the_state_is_in_pytorchs_order():
    for name in ("BatchNorm2d", "InstanceNorm2d"):
        mine, other = pair(name, (4, 1e-5, 0.1, True, True), {})
        assert list(mine.state_dict()) == list(other.state_dict())


def test_layers_of_other_inputs():
    rng = np.random.default_rng(0)
    compare(*pair("BatchNorm1d", (4,), {}), rng.standard_normal((5, 4)))
    compare(*pair("PixelUnshuffle", (2,), {}), rng.standard_normal((2, 3, 4, 6)))
    compare(*pair("Fold", ((5, 6), 2), {}), rng.standard_normal((2, 12, 20)))
    compare(*pair("Fold", ((5, 6), 2), {}), rng.standard_normal((12, 20)))
    compare(*pair("Unfold", ((2, 3), 1, 1, 2), {}), rng.standard_normal((4, 5, 6)))
    mine, other = pair("ConvTranspose2d", (4, 6, 4, 2), {})
    x = rng.standard_normal((4, 9, 7))
    a, b = mine(rt.from_numpy(x), output_size=(21, 16)), other(torch.from_numpy(x), output_size=(21, 16))
    np.testing.assert_allclose(a.detach().numpy(), b.detach().numpy(), rtol=1e-10, atol=1e-10)
    assert nn.Conv2d(None, 5, 3)(rt.from_numpy(x)).shape == (5, 7, 5)


@pytest.mark.parametrize("size", [(20, 16), (21, 17), (2, 6, 21, 16)], ids=str)
def test_output_size_of_a_transposed_convolution(size):
    mine, other = pair("ConvTranspose2d", (4, 6, 4, 2), {})
    x = np.random.default_rng(0).standard_normal((2, 4, 9, 7))
    a, b = mine(rt.from_numpy(x), output_size=size), other(torch.from_numpy(x), output_size=size)
    np.testing.assert_allclose(a.detach().numpy(), b.detach().numpy(), rtol=1e-10, atol=1e-10)


def test_defaults_agree():
    """First weights have PyTorch's bounds, and options PyTorch's defaults."""
    for name in ("Conv2d", "ConvTranspose2d"):
        mine, other = getattr(nn, name)(8, 16, 5), getattr(torch.nn, name)(8, 16, 5)
        for n, p in mine.named_parameters():
            theirs = dict(other.named_parameters())[n].detach().numpy()
            assert p.shape == theirs.shape
            if p.size > 1000:  # the largest of so many lies near the bound, whatever the seeds
                bound, most = [float(abs(v).max()) for v in (theirs, p.detach().numpy())]
                np.testing.assert_allclose(most, bound, rtol=0.02)
            else:
                assert abs(p.detach().numpy()).max() <= bound * 1.02
    for name in ("BatchNorm2d", "InstanceNorm2d"):
        mine, other = getattr(nn, name)(3), getattr(torch.nn, name)(3)
        for option in ("eps", "momentum", "affine", "track_running_stats"):
            assert getattr(mine, option) == getattr(other, option)
