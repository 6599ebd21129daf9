"""Layers of images: open shapes, options that change what is normalised, dropped channels, and messages."""

import copy
import math

import numpy as np
import pytest

import ringtrain as rt
from ringtrain import nn, random

from ..arrays import on_host

OPEN = {
    "conv 1": (lambda c: nn.Conv1d(c, 6, 3, groups=2), (2, 4, 7)),
    "conv 2": (lambda c: nn.Conv2d(c, 6, (3, 2), padding="same"), (2, 4, 7, 5)),
    "conv 3": (lambda c: nn.Conv3d(c, 6, 2, bias=False), (2, 4, 4, 5, 3)),
    "transposed 1": (lambda c: nn.ConvTranspose1d(c, 6, 3), (2, 4, 7)),
    "transposed 2": (lambda c: nn.ConvTranspose2d(c, 6, 3, 2, 1, 1, 2), (2, 4, 7, 5)),
    "transposed 3": (lambda c: nn.ConvTranspose3d(c, 6, 2), (2, 4, 3, 2, 4)),
    "batch norm": (lambda c: nn.BatchNorm2d(c), (2, 4, 7, 5)),
    "instance norm": (lambda c: nn.InstanceNorm1d(c, affine=True, track_running_stats=True), (2, 4, 7)),
    "group norm": (lambda c: nn.GroupNorm(2, c), (2, 4, 7)),
    "layer norm": (lambda c: nn.LayerNorm(c), (2, 3, 4)),
    "rms norm": (lambda c: nn.RMSNorm(c), (2, 3, 4)),
}


class TestOpenShapes:
    @pytest.mark.parametrize("name", OPEN)
    def test_the_first_input_decides(self, name):
        make, shape = OPEN[name]
        rt.seed(3)
        known = make(4)
        rt.seed(3)
        layer = make(None)
        with pytest.raises(RuntimeError, match=r"(weight|running_mean) has no shape yet .*device='meta'"):
            list(layer.parameters())
        x = rt.from_numpy(np.random.default_rng(0).standard_normal(shape).astype(np.float32))
        a, b = known(x), layer(x)
        np.testing.assert_array_equal(a.detach().numpy(), b.detach().numpy())
        mine, theirs = layer.state_dict(), known.state_dict()
        assert list(mine) == list(theirs)
        for key in mine:
            np.testing.assert_array_equal(on_host(mine[key]), on_host(theirs[key]))
        assert repr(layer) == repr(known)

    @pytest.mark.parametrize("name", OPEN)
    def test_a_run_without_data_builds_it_and_measures_nothing(self, name):
        make, shape = OPEN[name]
        layer = make(None)
        out = layer(rt.zeros(shape, device="meta"))
        assert out.device == "meta" and out.shape == layer(rt.ones(shape)).shape
        assert all(p.device == rt.ones(1).device for p in layer.parameters())

    def test_inputs_that_cannot_decide(self):
        with pytest.raises(ValueError, match=r"Conv2d wants an input \(N, C, H, W\); got \(3, 4\)"):
            nn.Conv2d(None, 4, 3)(rt.ones((3, 4)))
        with pytest.raises(ValueError, match=r"Conv1d: groups=2 must divide the 3 inputs"):
            nn.Conv1d(None, 4, 3, groups=2)(rt.ones((2, 3, 4)))
        with pytest.raises(ValueError, match=r"num_groups=2 divides; got \(2, 3, 4\)"):
            nn.GroupNorm(2, None)(rt.ones((2, 3, 4)))
        with pytest.raises(ValueError, match=r"BatchNorm2d wants 4 axes; got float32\[2, 3\]"):
            nn.BatchNorm2d(None)(rt.ones((2, 3)))


class TestRunningStatistics:
    def test_momentum_none_is_the_average_of_all_batches(self):
        layer = nn.BatchNorm1d(3, momentum=None, dtype=np.float64)
        batches = np.random.default_rng(0).standard_normal((4, 5, 3)) * 2.0 + 1.0
        for x in batches:
            layer(rt.from_numpy(x))
        assert layer.num_batches_tracked.item() == 4
        np.testing.assert_allclose(layer.running_mean.numpy(), batches.mean((0, 1)), rtol=1e-12)
        np.testing.assert_allclose(layer.running_var.numpy(), batches.var(1, ddof=1).mean(0), rtol=1e-12)

    def test_nothing_tracked(self):
        layer = nn.BatchNorm1d(3, track_running_stats=False)
        x = rt.from_numpy(np.random.default_rng(0).standard_normal((5, 3)).astype(np.float32))
        np.testing.assert_array_equal(layer(x).detach().numpy(), layer.eval()(x).detach().numpy())
        assert list(layer.named_buffers()) == []

    def test_instance_norm_tracks_the_mean_over_samples(self):
        layer = nn.InstanceNorm1d(2, momentum=0.25, track_running_stats=True, dtype=np.float64)
        x = np.random.default_rng(0).standard_normal((4, 2, 5)) + 3.0
        layer(rt.from_numpy(x))
        np.testing.assert_allclose(layer.running_mean.numpy(), 0.25 * x.mean((0, 2)), rtol=1e-12)
        np.testing.assert_allclose(layer.running_var.numpy(), 0.75 + 0.25 * x.var(2, ddof=1).mean(0), rtol=1e-12)
        y = layer.eval()(rt.from_numpy(x)).numpy()
        mean, var = layer.running_mean.numpy(), layer.running_var.numpy()
        np.testing.assert_allclose(y, (x - mean[:, None]) / np.sqrt(var[:, None] + 1e-5), rtol=1e-12)

    def test_state_goes_through_a_checkpoint(self, tmp_path):
        layer = nn.BatchNorm2d(3)
        layer(rt.from_numpy(np.random.default_rng(0).standard_normal((2, 3, 4, 4)).astype(np.float32)))
        rt.checkpoint.save(tmp_path / "c", layer)
        again = nn.BatchNorm2d(3)
        rt.checkpoint.load(tmp_path / "c", again)
        assert again.num_batches_tracked.item() == 1
        np.testing.assert_array_equal(again.running_var.numpy(), layer.running_var.numpy())


@pytest.fixture
def fresh():
    """One rank, seed 5, and afterwards one rank again."""
    random.seed(5)
    yield
    random.state.offset, random.state.stride = 0, 1
    random.seed(0)


@pytest.mark.usefixtures("fresh")
class TestDropout:
    @pytest.mark.parametrize(
        ("kind", "shape"),
        [(nn.Dropout1d, (40, 30, 3)), (nn.Dropout2d, (40, 30, 2, 3)), (nn.Dropout3d, (40, 30, 2, 1, 3))],
    )
    def test_whole_channels(self, kind, shape):
        out = kind(0.3)(rt.ones(shape)).numpy().reshape(40, 30, -1)
        assert (out == out[..., :1]).all() and set(np.unique(out)) == {0, np.float32(1 / 0.7)}
        assert abs((out[..., 0] != 0).mean() - 0.7) < 6 * math.sqrt(0.3 * 0.7 / 1200)
        x = rt.ones(shape)
        assert kind(0.3).eval()(x) is x

    @pytest.mark.parametrize("kind", [nn.Dropout2d, nn.FeatureAlphaDropout])
    def test_ranks_together_draw_the_mask_of_one(self, kind):
        whole = kind(0.4)(rt.ones((12, 7, 2, 2))).numpy()
        for rank in range(3):
            random.seed(5)
            random.state.offset, random.state.stride = rank, 3
            np.testing.assert_array_equal(kind(0.4)(rt.ones((4, 7, 2, 2))).numpy(), whole[rank::3])

    @pytest.mark.parametrize("kind", [nn.AlphaDropout, nn.FeatureAlphaDropout])
    @pytest.mark.parametrize("p", [0.1, 0.5])
    def test_alpha_keeps_mean_and_variance(self, kind, p):
        x = np.random.default_rng(0).standard_normal((100, 500, 4))
        t = rt.from_numpy(x).requires_grad_()
        out = kind(p)(t)
        # of 200,000 values, of which four may fall together: the mean's deviation is at most 2 / sqrt(200,000)
        assert abs(out.detach().numpy().mean()) < 6 * 2 / math.sqrt(x.size)
        assert abs(out.detach().numpy().var() - 1.0) < 6 * 2 * 2 / math.sqrt(x.size)
        scale = 1 / math.sqrt((1 - p) * (1 + p * 1.7580993408473766**2))
        out.sum().backward()
        assert set(np.round(np.unique(t.grad.numpy()), 12)) == {0.0, round(scale, 12)}
        dropped = out.detach().numpy()[t.grad.numpy() == 0]
        np.testing.assert_allclose(dropped, scale * -1.7580993408473766 * (1 - p), rtol=1e-12)

    def test_copies_have_masks_of_their_own(self):
        layer = nn.Dropout2d(0.5)
        twin = copy.deepcopy(layer)
        assert type(twin) is nn.Dropout2d
        assert (layer(rt.ones((9, 9, 1, 1))).numpy() != twin(rt.ones((9, 9, 1, 1))).numpy()).any()

    def test_wrong_axes(self):
        with pytest.raises(ValueError, match=r"Dropout2d wants an input \(N, C, ...\) of 4 axes; got float32\[2, 3\]"):
            nn.Dropout2d(0.5)(rt.ones((2, 3)))


def test_layers_that_make_no_sense():
    for make, message in [
        (lambda: nn.Conv1d(3, 4, 3, padding_mode="mirror"), "Conv1d: padding_mode 'mirror' is unknown; use 'zeros'"),
        (lambda: nn.ConvTranspose2d(3, 4, 3, groups=3), "ConvTranspose2d: groups=3 must divide 3 inputs and 4 outputs"),
        (lambda: nn.Conv3d(3, 4, (3, 3)), r"kernel_size must be an integer or three; got \(3, 3\)"),
        (lambda: nn.GroupNorm(2, 3), "GroupNorm: num_groups=2 must divide num_channels=3"),
        (lambda: nn.ReflectionPad2d((1, 2)), r"ReflectionPad2d: padding is an integer or 4 of them; got \(1, 2\)"),
        (lambda: nn.BatchNorm1d(0), r"BatchNorm1d: every length of \(0,\) must be >= 1"),
        (lambda: nn.ZeroPad1d(1)(rt.ones((2,))), r"ZeroPad1d wants an input \(N, C, L\); got \(2,\)"),
        (
            lambda: nn.ConvTranspose1d(1, 1, 3, 2)(rt.ones((1, 1, 4)), output_size=(11,)),
            r"ConvTranspose1d: output_size \(11,\) lies outside \[9\] \.\. \[10\]",
        ),
        (
            lambda: nn.Conv2d(1, 1, 3, padding=3, padding_mode="reflect")(rt.ones((1, 1, 3, 9))),
            r"Conv2d: reflect padding \(3, 3\) is more than 2",
        ),
    ]:
        with pytest.raises(ValueError, match=message):
            make()


def test_widths_of_padding_begin_with_the_last_axis():
    x = np.random.default_rng(0).standard_normal((1, 2, 4, 5, 6))
    for layer, mode in [
        (nn.ConstantPad3d((1, 2, 3, 0, 0, 1), 0.5), {"constant_values": 0.5}),
        (nn.ReflectionPad3d((1, 2, 3, 0, 0, 1)), {"mode": "reflect"}),
        (nn.CircularPad3d((1, 2, 3, 0, 0, 1)), {"mode": "wrap"}),
    ]:
        want = np.pad(x, [(0, 0), (0, 0), (0, 1), (3, 0), (1, 2)], **mode)
        np.testing.assert_array_equal(layer(rt.from_numpy(x)).numpy(), want)


def test_repr():
    for layer, text in [
        (nn.Conv1d(2, 4, 3, padding="same", padding_mode="reflect"), "kernel_size=(3,), stride=1, padding='same'"),
        (nn.ConvTranspose2d(2, 4, 3, 2, output_padding=1), "ConvTranspose2d(2, 4, kernel_size=(3, 3), stride=2, out"),
        (nn.MaxPool2d(3, 2), "MaxPool2d(kernel_size=3, stride=2, padding=0)"),
        (nn.GroupNorm(2, 4), "GroupNorm(2, 4, eps=1e-05)"),
        (nn.BatchNorm2d(4, bias=False), "BatchNorm2d(4, eps=1e-05, momentum=0.1, bias=False)"),
        (nn.Flatten(0), "Flatten(start_axis=0, end_axis=-1)"),
        (nn.LayerNorm((3, 4)), "LayerNorm((3, 4), eps=1e-05)"),
        (nn.Upsample(scale_factor=2), "Upsample(scale_factor=2, mode='nearest')"),
        (nn.InstanceNorm2d(3), "InstanceNorm2d(3, eps=1e-05, momentum=0.1, affine=False, track_running_stats=False)"),
    ]:
        assert text in repr(layer)


@pytest.mark.parametrize("d", [1, 2, 3])
def test_global_pools(d):
    x = np.random.default_rng(0).standard_normal((2, 3, *(4, 5, 3)[:d]))
    axes = tuple(range(2, 2 + d))
    for name, reduce in (("Avg", np.mean), ("Max", np.max)):
        out = getattr(nn, f"Global{name}Pool{d}d")()(rt.from_numpy(x)).numpy()
        np.testing.assert_allclose(out, reduce(x, axis=axes, keepdims=True), rtol=1e-14)


def test_a_network_of_volumes_learns():
    """A few steps of training through most of the family lower the loss."""
    rt.seed(1)
    model = nn.Sequential(
        *[nn.Conv3d(None, 4, 3, padding="same"), nn.BatchNorm3d(None), nn.ReLU(), nn.MaxPool3d(2)],
        *[nn.ConvTranspose3d(None, 4, 2, 2), nn.GroupNorm(2, None), nn.ReLU(), nn.Upsample(3, mode="trilinear")],
        *[nn.ReplicationPad3d(1), nn.Conv3d(None, 2, 3), nn.GlobalAvgPool3d(), nn.Flatten()],
    )
    target = np.array([0, 1, 0, 1, 1, 0])
    noise = np.random.default_rng(0).standard_normal((6, 2, 4, 6, 5)).astype(np.float32)
    x = rt.from_numpy(noise + np.float32([[1, -1]] * target[:, None])[:, :, None, None, None])
    model(x)
    adam = rt.optim.Adam(model.parameters(), lr=0.05)
    losses = []
    for _ in range(15):
        loss = nn.cross_entropy(model(x), target)
        loss.backward()
        adam.step()
        adam.zero_grad()
        losses.append(loss.item())
    assert losses[-1] < 0.5 * losses[0]
