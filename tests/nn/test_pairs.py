"""A Linear and the ReLU behind it are one op in a Sequential: the same numbers, and nobody is passed over."""

import numpy as np
import pytest

import ringtrain as rt
from ringtrain import nn
from ringtrain.backend import cpu_matmul, threads

SHAPES = [((128, 300), 64), ((4, 33, 70), 64), ((7, 300), 70), ((200, 90), 3), ((0, 5), 4), ((6,), 5), ((64, 90), 130)]


@pytest.fixture
def rng():
    return np.random.default_rng(5)


def pair(width, out, dtype, bias=True):
    rt.seed(1)
    return nn.Sequential(nn.Linear(width, out, bias=bias, dtype=dtype), nn.ReLU(), nn.Linear(out, 9, dtype=dtype))


def run(model, x, shown=()):
    """The output and all gradients. shown: places of modules that a hook looks at."""
    seen = []
    hooks = [model[i].register_forward_hook(lambda module, args, out: seen.append(type(module))) for i in shown]
    x = rt.from_numpy(x.copy()).requires_grad_()
    y = model(x)
    (y * y).sum().backward()
    assert seen == [type(model[i]) for i in shown]
    for hook in hooks:
        hook.remove()
    found = [y.detach().numpy(), x.grad.numpy()] + [p.grad.numpy().copy() for p in model.parameters()]
    for p in model.parameters():
        p.grad = None
    return found


@pytest.mark.cpu
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.float16])
@pytest.mark.parametrize(("shape", "out"), SHAPES)
@pytest.mark.parametrize("count", [1, 2])
def test_one_op_gives_the_numbers_of_two(shape, out, dtype, bias, count, rng, monkeypatch):
    monkeypatch.setattr(threads, "count", lambda: count)
    monkeypatch.setattr(cpu_matmul, "SHARED", 1 << 18)
    x, model = rng.standard_normal(shape).astype(dtype), pair(shape[-1], out, dtype, bias)
    for buckets in (False, True):
        if buckets:  # gradients are written there
            rt.optim.SGD(model.parameters(), lr=0.1)
        for ours, apart in zip(run(model, x), run(model, x, shown=(0, 1)), strict=True):
            np.testing.assert_array_equal(ours, apart)
    threads._close()


@pytest.mark.cpu
def test_it_is_one_op(rng):
    x, model = rt.from_numpy(rng.standard_normal((128, 300)).astype(np.float32)), pair(300, 64, np.float32)
    assert model[:2](x)._node.op.name == "rectified_linear"
    assert nn.Sequential(nn.Linear(300, 64), nn.ReLU6())(x)._node.op.name != "rectified_linear"


def test_what_is_no_number_stays_none(rng):
    x = rng.standard_normal((64, 90)).astype(np.float32)
    x[3, 4], x[5, 6] = np.nan, np.inf
    model = pair(90, 64, np.float32)[:2]
    y = np.array(model(rt.tensor(x)).tolist())
    assert np.isnan(y[3]).all() and np.isinf(y[5]).any() and (y[5] >= 0).all()


def test_nobody_is_passed_over(rng):
    """Hooks on either, a ReLU of one's own, a forward put there by hand, the profiler."""
    x, model = rt.tensor(rng.standard_normal((64, 90)).astype(np.float32)), pair(90, 64, np.float32)

    def doubled(module, args, out):
        return out * 2

    whole = model(x)
    for i in (0, 1):
        with model[i].register_forward_hook(doubled):
            assert not np.array_equal(model(x).tolist(), whole.tolist())

    class Shy(nn.ReLU):
        def forward(self, x):
            return x * 0.0

    rest = model[2](rt.zeros((64, 64), dtype=x.dtype)).tolist()
    assert nn.Sequential(model[0], Shy(), model[2])(x).tolist() == rest
    model[1].forward = lambda x: x * 0.0
    assert model(x).tolist() == rest
    del model[1].forward
    assert model(x).tolist() == whole.tolist()
    with rt.profiler.profile(model) as seen:
        model(x)
    assert {row.name for row in seen.rows() if row.kind == "module"} >= {"0", "1", "2"}


@pytest.mark.parametrize(("layer", "name"), [(a, b) for a in (nn.Linear, nn.ReLU) for b in ("forward", "__call__")])
def test_patched_classes_are_asked(rng, monkeypatch, layer, name):
    x, model = rt.tensor(rng.standard_normal((64, 90)).astype(np.float32)), pair(90, 64, np.float32)
    called, method = [], getattr(layer, name)
    monkeypatch.setattr(layer, name, lambda self, x: (called.append(self), method(self, x))[1])
    model(x)
    assert called == [part for part in model if type(part) is layer]


@pytest.mark.filterwarnings("ignore:overflow")
def test_anomaly_mode_sees_what_relu_would_hide(rng):
    x, model = rt.full((64, 90), 1e30, dtype=np.float32), pair(90, 64, np.float32)
    with rt.no_grad():
        model[0].weight[...] = -1e30
    with rt.detect_anomaly(), pytest.raises(FloatingPointError, match=r"inf .* of linear"):
        model(x)


def test_shapes_left_open_and_mistakes(rng):
    model = nn.Sequential(nn.Linear(None, 64), nn.ReLU())
    assert model(rt.zeros((3, 90))).shape == (3, 64) and model[0].in_features == 90
    with pytest.raises(ValueError, match=r"linear: the input's last axis is 91 .*the weight \(64, 90\) wants 90"):
        model(rt.zeros((3, 91)))
    assert model(rt.zeros((5, 90), device="meta")).shape == (5, 64)


@pytest.mark.cpu
def test_second_derivatives_and_what_changed_in_between(rng):
    x, model = rng.standard_normal((64, 90)), pair(90, 64, np.float64)
    seconds = []
    for shown in ((), (0, 1)):
        hooks = [model[i].register_forward_hook(lambda *args: None) for i in shown]
        t = rt.from_numpy(x).requires_grad_()
        (g,) = rt.grad((model(t) ** 2).sum(), [t], create_graph=True)
        found = rt.grad((g * g).sum(), [t, *model.parameters()], allow_unused=True)
        seconds.append([a.numpy() for a in found if a is not None])
        for hook in hooks:
            hook.remove()
    for ours, apart in zip(*seconds, strict=True):
        np.testing.assert_allclose(ours, apart, rtol=1e-12, atol=1e-12)
    y = model[:2](rt.from_numpy(x))
    loss = (y * 3.0).sum()
    with rt.no_grad():
        y += 1.0
    with pytest.raises(RuntimeError, match="rectified_linear needs was changed in place since"):
        loss.backward()
