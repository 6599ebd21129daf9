"""Layers: values by formula, gradients by finite differences, and what they say to inputs that do not fit."""

import numpy as np
import pytest

import ringtrain as rt
from ringtrain import nn


def normal(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape)


def leaf(array):
    return rt.from_numpy(np.asarray(array, np.float64)).requires_grad_()


class Through:
    """A module as a function of its input and its parameters, for gradcheck."""

    def __init__(self, module):
        self.module = module
        self.places = [
            (m, name, p) for m in module.modules() for name, p in vars(m).items() if isinstance(p, nn.Parameter)
        ]

    def __call__(self, x, *values):
        for (owner, name, _), value in zip(self.places, values, strict=True):
            setattr(owner, name, value)
        return self.module(x)


def check(module, x, order=2):
    through = Through(module)
    parameters = [p for _, _, p in through.places]
    starts = [leaf(p.detach().numpy() + 0.1 * normal(*p.shape, seed=i)) for i, p in enumerate(parameters)]
    assert rt.gradcheck(through, leaf(x), *starts, order=order)


MODULES = {
    "linear": (lambda: nn.Linear(5, 3, dtype=np.float64), (7, 5)),
    "linear without bias, three axes": (lambda: nn.Linear(5, 3, bias=False, dtype=np.float64), (2, 3, 5)),
    "conv": (lambda: nn.Conv2d(2, 3, 3, dtype=np.float64), (2, 2, 5, 7)),
    "conv with everything": (
        lambda: nn.Conv2d(4, 6, (3, 2), stride=(2, 1), padding=(1, 2), dilation=(1, 2), groups=2, dtype=np.float64),
        (2, 4, 7, 5),
    ),
    "conv without bias": (lambda: nn.Conv2d(1, 2, 1, bias=False, dtype=np.float64), (1, 1, 3, 3)),
    "max pool": (lambda: nn.MaxPool2d(2), (2, 3, 4, 6)),
    "max pool, padded": (lambda: nn.MaxPool2d(3, stride=2, padding=1), (1, 2, 7, 5)),
    "avg pool": (lambda: nn.AvgPool2d(2, stride=1), (2, 1, 3, 4)),
    "flatten": (lambda: nn.Flatten(), (2, 3, 4)),
    "batch norm": (lambda: nn.BatchNorm1d(3, dtype=np.float64), (13, 3)),
    "batch norm of images": (lambda: nn.BatchNorm2d(3, dtype=np.float64), (2, 3, 2, 5)),
    "batch norm, evaluated": (lambda: nn.BatchNorm2d(3, dtype=np.float64).eval(), (2, 3, 2, 5)),
    "softmax": (lambda: nn.Softmax(), (3, 5)),
    "tanh": (lambda: nn.Tanh(), (13,)),
    "sigmoid": (lambda: nn.Sigmoid(), (13,)),
    "gelu": (lambda: nn.GELU(), (13,)),
    "gelu, tanh form": (lambda: nn.GELU("tanh"), (13,)),
    "relu": (lambda: nn.ReLU(), (13,)),
    "identity": (lambda: nn.Identity(), (13,)),
    "a stack": (
        lambda: nn.Sequential(
            *[nn.Conv2d(1, 2, 3, dtype=np.float64), nn.BatchNorm2d(2, dtype=np.float64), nn.Tanh(), nn.AvgPool2d(2)],
            *[nn.Flatten(), nn.Linear(None, 3, dtype=np.float64)],
        ),
        (3, 1, 6, 6),
    ),
}


@pytest.mark.parametrize("name", MODULES)
def test_gradients_of_inputs_and_parameters(name):
    make, shape = MODULES[name]
    module = make()
    x = normal(*shape)
    module(rt.from_numpy(x))  # draws what is drawn at the first call
    check(module, x, order=1 if "max pool" in name or name == "relu" else 2)


def test_linear_value():
    layer = nn.Linear(17, 13)
    w, b = (t.detach().numpy().astype(np.float64) for t in (layer.weight, layer.bias))
    assert w.shape == (13, 17) and b.shape == (13,)
    x = normal(5, 4, 17).astype(np.float32)
    out = layer(rt.from_numpy(x))
    assert out.shape == (5, 4, 13) and out.dtype == np.float32
    exact = x.astype(np.float64) @ w.T + b
    # a sum of 17 products and a bias in any order: error at most 18 u times the sum of magnitudes
    bound = 18 * 2.0**-24 / (1 - 18 * 2.0**-24) * (np.abs(x.astype(np.float64)) @ np.abs(w).T + np.abs(b))
    assert (np.abs(out.detach().numpy() - exact) <= bound).all()
    assert nn.Linear(3, 2)(rt.zeros((0, 3))).shape == (0, 2)


def test_linear_takes_strided_input():
    layer = nn.Linear(3, 2, dtype=np.float64)
    x = normal(6, 8)
    strided = rt.from_numpy(x[::2, 1:7:2])
    packed = rt.from_numpy(np.ascontiguousarray(x[::2, 1:7:2]))
    np.testing.assert_allclose(layer(strided).detach().numpy(), layer(packed).detach().numpy(), rtol=1e-14)


def test_conv_is_cross_correlation():
    layer = nn.Conv2d(2, 3, (2, 3), stride=(2, 1), padding=(1, 0), dtype=np.float64)
    x = normal(2, 2, 5, 6)
    w, b = layer.weight.detach().numpy(), layer.bias.detach().numpy()
    padded = np.pad(x, ((0, 0), (0, 0), (1, 1), (0, 0)))
    exact = np.empty((2, 3, 3, 4))
    for i in range(3):
        for j in range(4):
            exact[:, :, i, j] = np.einsum("nchw,ochw->no", padded[:, :, 2 * i : 2 * i + 2, j : j + 3], w) + b
    np.testing.assert_allclose(layer(rt.from_numpy(x)).detach().numpy(), exact, rtol=1e-13, atol=1e-13)


class TestBatchNorm:
    def test_training_normalises_by_the_batch_and_moves_the_running_statistics(self):
        layer = nn.BatchNorm2d(3, eps=1e-3, momentum=0.3, dtype=np.float64)
        layer.load_state_dict({"weight": np.array([1.0, 2, 3]), "bias": np.array([0.5, 0, -0.5])}, strict=False)
        mean, var = np.zeros(3), np.ones(3)
        for step in range(4):
            x = normal(5, 3, 2, 7, seed=step) * 3.0 + 2.0
            out = layer(rt.from_numpy(x)).detach().numpy()
            m, v = x.mean((0, 2, 3)), x.var((0, 2, 3))
            exact = (x - m[:, None, None]) / np.sqrt(v[:, None, None] + 1e-3)
            exact = exact * np.array([1.0, 2.0, 3.0])[:, None, None] + np.array([0.5, 0.0, -0.5])[:, None, None]
            np.testing.assert_allclose(out, exact, rtol=1e-12, atol=1e-12)
            mean, var = 0.7 * mean + 0.3 * m, 0.7 * var + 0.3 * v * 70 / 69
            np.testing.assert_allclose(layer.running_mean.numpy(), mean, rtol=1e-12)
            np.testing.assert_allclose(layer.running_var.numpy(), var, rtol=1e-12)
        layer.eval()
        before = layer.running_mean.numpy().copy()
        x = normal(2, 3, 1, 1)
        exact = (x - mean[:, None, None]) / np.sqrt(var[:, None, None] + 1e-3)
        exact = exact * np.array([1.0, 2.0, 3.0])[:, None, None] + np.array([0.5, 0.0, -0.5])[:, None, None]
        np.testing.assert_allclose(layer(rt.from_numpy(x)).detach().numpy(), exact, rtol=1e-12, atol=1e-12)
        np.testing.assert_array_equal(layer.running_mean.numpy(), before)

    def test_state(self):
        layer = nn.BatchNorm1d(2)
        assert [n for n, _ in layer.named_parameters()] == ["weight", "bias"]
        assert [n for n, _ in layer.named_buffers()] == ["running_mean", "running_var", "num_batches_tracked"]
        plain = nn.BatchNorm1d(2, affine=False)
        assert list(plain.parameters()) == [] and len(plain.state_dict()) == 3
        x = normal(9, 2).astype(np.float32)
        exact = (x - x.mean(0)) / np.sqrt(x.var(0) + 1e-5)
        np.testing.assert_allclose(plain(rt.from_numpy(x)).numpy(), exact, rtol=1e-4, atol=1e-5)

    def test_wrong_inputs(self):
        with pytest.raises(ValueError, match=r"BatchNorm wants an input \(N, 3, ...\); got float32\[2, 4\]"):
            nn.BatchNorm1d(3)(rt.ones((2, 4)))
        with pytest.raises(ValueError, match=r"BatchNorm2d wants 4 axes; got float32\[2, 3\]"):
            nn.BatchNorm2d(3)(rt.ones((2, 3)))
        with pytest.raises(ValueError, match=r"more than one value a channel; got float32\[1, 3\]"):
            nn.BatchNorm1d(3)(rt.ones((1, 3)))
        assert nn.BatchNorm1d(3).eval()(rt.ones((1, 3))).shape == (1, 3)


class TestLazyLinear:
    def test_the_first_input_decides(self):
        model = nn.Sequential(nn.Flatten(), nn.Linear(None, 10))
        with pytest.raises(RuntimeError, match=r"1.weight has no shape yet .*device='meta'"):
            list(model.parameters())
        with pytest.raises(RuntimeError, match=r"1.weight has no shape yet"):
            rt.optim.SGD(model.parameters(), lr=0.1)
        assert model(rt.ones((2, 3, 4))).shape == (2, 10)
        assert model[1].weight.shape == (10, 12) and model[1].bias.shape == (10,) and model[1].in_features == 12
        with pytest.raises(ValueError, match="wants 12"):
            model(rt.ones((2, 13)))

    def test_a_run_without_data_builds_it(self):
        model = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(None, 10))
        out = model(rt.zeros((2, 1, 8, 8), device="meta"))
        assert out.shape == (2, 10) and out.device == "meta"
        assert model[3].weight.shape == (10, 144) and model[3].weight.device == rt.ones(1).device
        rt.optim.SGD(model.parameters(), lr=0.1)
        assert model(rt.ones((2, 1, 8, 8))).device == rt.ones(1).device

    def test_it_draws_what_a_layer_of_known_size_draws(self):
        rt.seed(3)
        known = nn.Linear(7, 5)
        rt.seed(3)
        lazy = nn.Linear(None, 5)
        lazy(rt.ones((1, 7)))
        for a, b in zip(known.parameters(), lazy.parameters(), strict=True):
            np.testing.assert_array_equal(a.detach().numpy(), b.detach().numpy())


@pytest.mark.parametrize("batch", [1, 3])
def test_whole_models_run_without_data(batch):
    model = nn.Sequential(
        *[nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(), nn.MaxPool2d(2), nn.Dropout(0.3)],
        *[nn.Conv2d(8, 4, 3, stride=2), nn.GELU(), nn.AvgPool2d(2), nn.Flatten(), nn.Linear(None, 6), nn.Tanh()],
        *[nn.Sigmoid(), nn.Softmax(), nn.Identity()],
    )
    shape = (batch, 3, 17, 13)
    for _ in range(2):
        abstract = model(rt.zeros(shape, device="meta"))
    real = model.eval()(rt.zeros(shape))
    assert abstract.device == "meta" and abstract.shape == real.shape == (batch, 6) and abstract.dtype == real.dtype
    assert (model[1].running_mean.numpy() == 0).all()
    loss = nn.cross_entropy(abstract, rt.zeros((batch,), dtype=np.int64, device="meta"))
    assert loss.shape == () and loss.device == "meta"


def test_inputs_that_do_not_fit_are_told_what_would():
    with pytest.raises(ValueError, match=r"the input's last axis is 4 \(shape \(2, 4\)\), the weight \(5, 3\) wants 3"):
        nn.Linear(3, 5)(rt.ones((2, 4)))
    with pytest.raises(ValueError, match=r"last axis is missing"):
        nn.Linear(3, 5)(rt.ones(()))
    with pytest.raises(ValueError, match=r"the input has 3 channels .* wants 1"):
        nn.Conv2d(1, 4, 3)(rt.ones((2, 3, 8, 8)))
    with pytest.raises(ValueError, match=r"wants an input \(N, C, H, W\)"):
        nn.Conv2d(1, 4, 3)(rt.ones((1, 8)))
    with pytest.raises(ValueError, match=r"a kernel of 3 .* does not fit 2 elements"):
        nn.Conv2d(1, 4, 3)(rt.ones((2, 1, 2, 2)))
    with pytest.raises(ValueError, match=r"max_pool2d wants an input \(N, C, H, W\)"):
        nn.MaxPool2d(2)(rt.ones((1, 8)))


def test_layers_that_make_no_sense():
    with pytest.raises(ValueError, match="features must be >= 1; got 0 -> 3"):
        nn.Linear(0, 3)
    with pytest.raises(ValueError, match="groups=2 must divide 3 inputs and 4 outputs"):
        nn.Conv2d(3, 4, 3, groups=2)
    with pytest.raises(ValueError, match="kernel_size must be an integer or two; got 'x'"):
        nn.Conv2d(3, 4, "x")
    with pytest.raises(ValueError, match=r"p is a probability; got 1.5"):
        nn.Dropout(1.5)
    with pytest.raises(ValueError, match=r"BatchNorm2d: eps must be > 0; got -1e-05"):
        nn.BatchNorm2d(3, eps=-1e-5)


def test_losses_as_modules():
    logits = leaf(normal(4, 3))
    target = np.array([0, 2, 1, 2])
    weight = rt.from_numpy(np.array([1.0, 2.0, 3.0]))
    module = nn.CrossEntropyLoss(weight=weight, label_smoothing=0.1, reduction="sum")
    expected = nn.cross_entropy(logits, target, weight, label_smoothing=0.1, reduction="sum")
    assert module(logits, target).item() == expected.item()
    assert [n for n, _ in module.named_buffers()] == ["weight"]
    assert nn.MSELoss("sum")(logits, logits.detach() + 1.0).item() == pytest.approx(12.0)
