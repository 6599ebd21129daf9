"""Initialisers of whole weights, and the functions that fill in place."""

import math

import numpy as np
import pytest

import ringtrain as rt
from ringtrain import nn
from ringtrain.nn import init


def draw(make, shape, name="w"):
    return make(shape, name, np.float64)


@pytest.mark.parametrize("shape", [(13, 17), (17, 13), (5, 5), (4, 3, 2, 2), (7, 1)])
def test_orthogonal(shape):
    w = draw(init.Orthogonal(2.0), shape).reshape(shape[0], -1)
    gram = w @ w.T if w.shape[0] <= w.shape[1] else w.T @ w
    np.testing.assert_allclose(gram, 4 * np.eye(len(gram)), atol=1e-13)
    assert not np.array_equal(w, draw(init.Orthogonal(2.0), shape, "v").reshape(w.shape))


def test_orthogonal_has_no_favourite_sign():
    corners = [draw(init.Orthogonal(), (2, 2), f"w{i}")[0, 0] for i in range(200)]
    assert abs(np.sign(corners).sum()) < 6 * np.sqrt(200)


def test_identities():
    np.testing.assert_array_equal(draw(init.Eye(), (2, 3)), np.eye(2, 3))
    x = rt.from_numpy(np.random.default_rng(0).standard_normal((2, 4, 5, 6)))
    w = draw(init.Dirac(), (4, 4, 3, 3))
    np.testing.assert_array_equal(nn.conv2d(x, rt.from_numpy(w), padding=1).numpy(), x.numpy())
    w = draw(init.Dirac(2), (4, 2, 3, 3))
    np.testing.assert_array_equal(nn.conv2d(x, rt.from_numpy(w), padding=1, groups=2).numpy(), x.numpy())


def test_sparse():
    w = draw(init.Sparse(0.3, 0.5), (10, 200))
    assert ((w == 0).sum(0) == 3).all()
    assert len({tuple(c) for c in (w == 0).T}) > 50
    assert abs(w[w != 0].std() / 0.5 - 1) < 6 / math.sqrt(2 * 1400)


def test_trunc_normal():
    w = draw(init.TruncNormal(1.0, 2.0, -1.0, 2.0), (20000,))
    assert w.min() >= -1 and w.max() <= 2
    # the moments of a normal between (-1 - 1) / 2 and (2 - 1) / 2
    a, b = -1.0, 0.5
    phi = lambda t: math.exp(-t * t / 2) / math.sqrt(2 * math.pi)
    mass = (math.erf(b / math.sqrt(2)) - math.erf(a / math.sqrt(2))) / 2
    shift = (phi(a) - phi(b)) / mass
    variance = 1 + (a * phi(a) - b * phi(b)) / mass - shift**2
    assert abs(w.mean() - (1 + 2 * shift)) < 6 * 2 * math.sqrt(variance / 20000)
    assert abs(w.var() / (4 * variance) - 1) < 6 * math.sqrt(2 / 20000)


def test_bilinear_is_mxnets():
    """Its own loop: the kernel of upsampling by 2."""
    w = draw(init.Bilinear(), (2, 1, 4, 4))
    f = math.ceil(4 / 2.0)
    c = (2 * f - 1 - f % 2) / (2.0 * f)
    want = [(1 - abs(i % 4 / f - c)) * (1 - abs(i // 4 % 4 / f - c)) for i in range(32)]
    np.testing.assert_allclose(w.reshape(-1), want, rtol=1e-15)


def test_lstm_bias_and_prelu():
    assert draw(init.LSTMBias(2.0), (8,)).tolist() == [0, 0, 2, 2, 0, 0, 0, 0]
    w = draw(init.MSRAPrelu("in", 0.5), (100, 300))
    assert abs(w.var() / (2 / 1.25 / 300) - 1) < 6 * math.sqrt(2 / 30000)


@pytest.mark.parametrize(
    "name", ["linear", "conv2d", "conv_transpose3d", "sigmoid", "tanh", "relu", "selu", "leaky_relu"]
)
def test_gains_are_pytorchs(name):
    torch = pytest.importorskip("torch")
    assert init.calculate_gain(name) == pytest.approx(torch.nn.init.calculate_gain(name), rel=1e-15)


BOUNDED = [
    (lambda t: init.uniform_(t, -2, 3), -2, 3, 25 / 12),
    (lambda t: init.xavier_uniform_(t, 2.0), -2 * math.sqrt(6 / 150), 2 * math.sqrt(6 / 150), 4 * 2 / 150),
    (lambda t: init.kaiming_uniform_(t, nonlinearity="relu"), -math.sqrt(6 / 100), math.sqrt(6 / 100), 2 / 100),
    (lambda t: init.kaiming_normal_(t, mode="fan_out"), -math.inf, math.inf, 2 / 50),
    (lambda t: init.xavier_normal_(t), -math.inf, math.inf, 2 / 150),
    (lambda t: init.normal_(t, 1.0, 3.0), -math.inf, math.inf, 9),
    (lambda t: init.trunc_normal_(t, std=0.1), -2, 2, 0.01),
]


@pytest.mark.parametrize(("fill", "low", "high", "variance"), BOUNDED)
def test_filling_in_place(fill, low, high, variance):
    layer = nn.Linear(100, 50, dtype=np.float64)
    memory = layer.weight._data
    assert fill(layer.weight) is layer.weight and layer.weight._data is memory and layer.weight.requires_grad
    assert memory.min() >= low and memory.max() <= high
    assert abs(memory.var() / variance - 1) < 6 * math.sqrt(2 / 5000)


def test_filling_draws_anew_and_the_same_after_the_seed():
    before = vars(rt.random.state).copy()
    try:
        rt.seed(3)
        a, b = rt.zeros((3, 4)), rt.zeros((3, 4))
        init.normal_(a), init.normal_(b)
        assert not np.array_equal(a.numpy(), b.numpy())
        rt.seed(3)
        np.testing.assert_array_equal(init.normal_(rt.zeros((3, 4))).numpy(), a.numpy())
    finally:
        vars(rt.random.state).update(before)
    assert init.zeros_(a).tolist() == [[0] * 4] * 3 and init.ones_(a).sum().item() == 12
    assert init.constant_(a, 2).sum().item() == 24 and init.eye_(a).sum().item() == 3
    assert (init.sparse_(a, 0.5).numpy() == 0).sum() == 8
    np.testing.assert_allclose(init.orthogonal_(a).numpy() @ a.numpy().T, np.eye(3), atol=1e-6)
    assert init.dirac_(rt.zeros((2, 2, 3))).sum().item() == 2


def test_a_fill_is_seen_by_the_graph():
    layer = nn.Linear(2, 2)
    loss = (layer(rt.ones((1, 2))) ** 2).sum()
    layer.apply(lambda m: init.ones_(m.weight))
    out = layer(layer(rt.ones((1, 2))))
    init.zeros_(layer.weight)
    with pytest.raises(RuntimeError, match="changed in place"):
        out.sum().backward()
    assert loss.requires_grad


MISTAKES = [
    (lambda: init.Eye()((3,), "w", np.float32), "Eye is for matrices"),
    (lambda: init.Dirac(3)((4, 2, 3), "w", np.float32), "3 groups"),
    (lambda: init.Orthogonal()((3,), "w", np.float32), "two axes"),
    (lambda: init.Sparse(1.5), "0 .. 1; got 1.5"),
    (lambda: init.LSTMBias()((6,), "w", np.float32), r"4 \* hidden"),
    (lambda: init.TruncNormal(std=0), "std > 0"),
    (lambda: init.uniform_(rt.ones(3), 3.0, -2.0), "Uniform: low <= high; got 3.0 and -2.0"),
    (lambda: init.normal_(rt.ones(3), 0.0, -1.0), "Normal: sigma >= 0; got -1.0"),
    (lambda: init.calculate_gain("swish"), "nonlinearity 'swish' is unknown; use 'leaky_relu', 'linear'"),
]


@pytest.mark.parametrize(("mistake", "message"), MISTAKES)
def test_mistakes(mistake, message):
    with pytest.raises(ValueError, match=message):
        mistake()
