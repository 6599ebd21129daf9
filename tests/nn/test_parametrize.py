"""Parameters computed from others: PyTorch's numbers with PyTorch's state, assignment, removal, copies."""

import copy

import numpy as np
import pytest

import ringtrain as rt
from ringtrain import nn
from ringtrain.nn import utils

F64 = {"dtype": np.float64}
LAYERS = {"linear": ("Linear", (5, 4), (3, 5)), "conv": ("Conv2d", (2, 4, 3), (3, 2, 6, 5))}


def both(torch, kind, wrap, *args, **kwargs):
    """The same layer in both libraries, parametrized, with one state."""
    name, sizes, _ = LAYERS[kind]
    mine, theirs = getattr(nn, name)(*sizes, **F64), getattr(torch.nn, name)(*sizes).double()
    mine.load_state_dict({n: p.detach().numpy() for n, p in theirs.named_parameters()})
    getattr(utils, wrap)(mine, *args, **kwargs)
    getattr(torch.nn.utils.parametrizations, wrap)(theirs, *args, **kwargs)
    return mine, theirs


def compare(torch, mine, theirs, shape, seed=0):
    x = np.random.default_rng(seed).standard_normal(shape)
    out, wanted = mine(rt.from_numpy(x)), theirs(torch.from_numpy(x))
    np.testing.assert_allclose(out.detach().numpy(), wanted.detach().numpy(), rtol=1e-10, atol=1e-12)
    head = np.random.default_rng(9).standard_normal(out.shape)
    mine.zero_grad(), theirs.zero_grad()
    out.backward(head), wanted.backward(torch.from_numpy(head))
    grads = {n: p.grad.numpy() for n, p in theirs.named_parameters()}
    assert {n for n, _ in mine.named_parameters()} == set(grads)
    for n, p in mine.named_parameters():
        np.testing.assert_allclose(p.grad.numpy(), grads[n], rtol=1e-10, atol=1e-12, err_msg=n)


@pytest.mark.parametrize("dim", [0, 1, "last"])
@pytest.mark.parametrize("kind", LAYERS)
def test_weight_norm_is_pytorchs(kind, dim):
    torch = pytest.importorskip("torch")
    last = {"linear": 1, "conv": 3}[kind]
    mine, theirs = both(torch, kind, "weight_norm", "weight", last if dim == "last" else dim)
    compare(torch, mine, theirs, LAYERS[kind][2])


def test_weight_norm_of_the_whole():
    layer = utils.weight_norm(nn.Linear(5, 4, **F64), dim=None)
    assert layer.parametrizations["weight"].original0.shape == (1, 1)
    v = layer.parametrizations["weight"].original1.detach().numpy()
    layer.parametrizations["weight"].original0._data[...] = 3.0
    np.testing.assert_allclose(layer.weight.detach().numpy(), 3 * v / np.linalg.norm(v), rtol=1e-12)


@pytest.mark.parametrize("steps", [1, 3])
@pytest.mark.parametrize("kind", LAYERS)
def test_spectral_norm_is_pytorchs(kind, steps):
    torch = pytest.importorskip("torch")
    mine, theirs = both(torch, kind, "spectral_norm", n_power_iterations=steps)
    state = {n.replace("._", "."): t.detach().numpy() for n, t in theirs.state_dict().items()}
    mine.load_state_dict(state)
    for seed in range(3):  # each use in training moves u and v
        compare(torch, mine, theirs, LAYERS[kind][2], seed)
    mine.eval(), theirs.eval()
    compare(torch, mine, theirs, LAYERS[kind][2])
    compare(torch, mine, theirs, LAYERS[kind][2])


def test_spectral_norm_gives_a_largest_singular_value_of_one():
    layer = utils.spectral_norm(nn.Linear(7, 13, **F64), n_power_iterations=200)
    assert np.linalg.norm(layer.weight.detach().numpy(), 2) == pytest.approx(1.0, rel=1e-6)
    layer.eval()
    u = layer.parametrizations["weight"][0].u.numpy().copy()
    layer(rt.zeros((2, 7), dtype=np.float64))
    np.testing.assert_array_equal(layer.parametrizations["weight"][0].u.numpy(), u)


def test_spectral_norm_is_near_from_the_start_and_may_be_used_twice():
    rt.seed(0)
    layer = utils.spectral_norm(nn.Linear(7, 7, **F64)).eval()
    assert np.linalg.norm(layer.weight.detach().numpy(), 2) == pytest.approx(1.0, rel=0.1)
    layer.train()
    x = rt.from_numpy(np.random.default_rng(0).standard_normal((3, 7)))
    once = layer(x)
    layer(once).sum().backward()  # the second use moved u and v; the first one's gradient has its own
    assert np.isfinite(layer.parametrizations["weight"].original.grad.numpy()).all()


def test_training_goes_through_the_originals():
    layer = utils.weight_norm(nn.Linear(5, 1, **F64))
    optimizer = rt.optim.SGD(layer.parameters(), lr=0.1)
    x = rt.from_numpy(np.random.default_rng(0).standard_normal((20, 5)))
    target = x @ np.arange(5.0)[:, None]
    losses = []
    for _ in range(200):
        loss = nn.mse_loss(layer(x), target)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        losses.append(loss.item())
    assert losses[-1] < 1e-3 * losses[0]


class Symmetric(nn.Module):
    def forward(self, x):
        return rt.triu(x) + rt.triu(x, 1).T


class Scaled(nn.Module):
    def forward(self, x):
        return x * 2.0

    def right_inverse(self, value):
        return value * 0.5


def test_parametrizations_of_ones_own():
    layer = nn.Linear(3, 3, **F64)
    before = layer.weight.detach().numpy().copy()
    assert utils.register_parametrization(layer, "weight", Scaled()) is layer
    np.testing.assert_allclose(layer.weight.detach().numpy(), before)
    utils.register_parametrization(layer, "weight", Symmetric())
    np.testing.assert_allclose(layer.weight.detach().numpy(), np.triu(before) + np.triu(before, 1).T)
    assert [n for n, _ in layer.named_parameters()] == ["bias", "parametrizations.weight.original"]
    layer.weight = rt.from_numpy(np.eye(3))
    np.testing.assert_array_equal(layer.parametrizations["weight"].original.detach().numpy(), np.eye(3) / 2)
    assert isinstance(layer, nn.Linear) and type(layer).__name__ == "ParametrizedLinear"

    other = copy.deepcopy(layer)
    other.weight = rt.from_numpy(2 * np.eye(3))
    np.testing.assert_array_equal(layer.weight.detach().numpy(), np.eye(3))
    utils.register_parametrization(other, "bias", Scaled())
    utils.remove_parametrizations(other, "weight")
    assert not utils.is_parametrized(other, "weight") and utils.is_parametrized(other, "bias")
    assert isinstance(other.weight, nn.Parameter)
    np.testing.assert_array_equal(other.weight.detach().numpy(), 2 * np.eye(3))
    utils.remove_parametrizations(other, "bias")
    assert type(other) is nn.Linear and not utils.is_parametrized(other)
    assert list(other.state_dict()) == ["weight", "bias"]
    np.testing.assert_array_equal(layer.weight.detach().numpy(), np.eye(3))  # the copied one is as it was


def test_what_it_refuses():
    with pytest.raises(ValueError, match="Linear has no parameter 'wait'"):
        utils.register_parametrization(nn.Linear(2, 2), "wait", Scaled())
    with pytest.raises(ValueError, match=r"Linear\.weight has no shape yet"):
        utils.weight_norm(nn.Linear(None, 2))
    with pytest.raises(ValueError, match=r"Flatten gives \(4,\) for a parameter of shape \(2, 2\)"):
        utils.register_parametrization(nn.Linear(2, 2), "weight", nn.Flatten(0))
    with pytest.raises(ValueError, match="is no parametrized parameter"):
        utils.remove_parametrizations(nn.Linear(2, 2), "weight")
    with pytest.raises(ValueError, match="must be the first parametrization"):
        utils.weight_norm(utils.spectral_norm(nn.Linear(2, 2)))


def test_vectors_of_parameters():
    model = nn.Sequential(nn.Linear(3, 2, **F64), nn.PReLU(dtype=np.float64))
    vector = utils.parameters_to_vector(model.parameters())
    assert vector.shape == (9,)
    utils.vector_to_parameters(rt.from_numpy(np.arange(9.0)), model.parameters())
    assert [p.detach().numpy().tolist() for p in model.parameters()] == [[[0, 1, 2], [3, 4, 5]], [6, 7], [8]]
    with pytest.raises(ValueError, match=r"have 9 elements, the vector is \(8,\)"):
        utils.vector_to_parameters(rt.zeros(8), model.parameters())
    vector.sum().backward()
    assert all((p.grad.numpy() == 1).all() for p in model.parameters())


@pytest.mark.parametrize("batch_first", [False, True])
def test_sequences_of_one_length(batch_first):
    torch = pytest.importorskip("torch")
    rows = [np.random.default_rng(n).standard_normal((n, 3)) for n in (4, 1, 0, 6)]
    got = utils.pad_sequence([rt.from_numpy(r) for r in rows], batch_first, -1.0)
    want = torch.nn.utils.rnn.pad_sequence([torch.from_numpy(r) for r in rows], batch_first, -1.0)
    np.testing.assert_array_equal(got.numpy(), want.numpy())
    for part, row in zip(utils.unpad_sequence(got, [4, 1, 0, 6], batch_first), rows, strict=True):
        np.testing.assert_array_equal(part.numpy(), row)
