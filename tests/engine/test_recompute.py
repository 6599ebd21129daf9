"""Recompute: the same numbers with less memory, the same draws, hooks once, nested, differentiated twice."""

import tracemalloc

import numpy as np
import pytest

import ringtrain as rt
from ringtrain import nn, random


def made(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape)


def leaf(*shape, seed=0):
    return rt.tensor(made(*shape, seed=seed), "f8", requires_grad=True)


@pytest.fixture(autouse=True)
def fresh():
    random.seed(3)
    yield
    random.seed(0)


def model(p=0.5):
    random.seed(3)
    parts = [(nn.Linear(6, 6, dtype=np.float64), nn.Tanh(), nn.Dropout(p)) for _ in range(4)]
    return nn.Sequential(*(layer for part in parts for layer in part))


def outcome(run, steps=2):
    """Losses and all gradients of some steps."""
    net, x = model(), leaf(5, 6)
    found = []
    for _ in range(steps):
        net.zero_grad()
        x.grad = None
        loss = (run(net, x) * made(5, 6, seed=1)).sum()
        loss.backward()
        found += [loss.item(), x.grad.numpy().copy(), *(p.grad.numpy().copy() for p in net.parameters())]
        random.state.step += 1
    return found


def inner_and_outer(net, x):
    return rt.recompute(lambda x: net[6:](rt.recompute(net[:6], x)), x)


@pytest.mark.parametrize(
    "run",
    [
        lambda net, x: rt.recompute(net, x),
        lambda net, x: rt.recompute_sequential(net, 3, x),
        inner_and_outer,
        lambda net, x: net[3:](rt.recompute(net[:3], x)),
        lambda net, x: rt.recompute(lambda: net(x)),
    ],
    ids=["whole", "segments", "nested", "first part", "x reached by itself"],
)
def test_the_same_numbers_and_masks(run):
    for a, b in zip(outcome(run), outcome(lambda net, x: net(x)), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-13)


def test_a_layer_that_is_used_twice_draws_twice():
    drop = nn.Dropout(0.5)
    x = rt.tensor(np.ones((4, 8)), "f8", requires_grad=True)
    a = rt.recompute(drop, x)
    b = rt.recompute(drop, x)
    (a * 3 + b * 5).sum().backward()
    np.testing.assert_array_equal(x.grad.numpy(), 3 * a.detach().numpy() + 5 * b.detach().numpy())
    assert not np.array_equal(a.detach().numpy(), b.detach().numpy())
    x.grad = None
    both = rt.recompute(lambda x: drop(x) * 3 + drop(x) * 5, x)  # two draws, in their order
    both.sum().backward()
    np.testing.assert_array_equal(x.grad.numpy(), both.detach().numpy())


def test_hooks_fire_once_when_the_gradient_is_final():
    """The weight is used in two recomputed parts and outside."""
    w, x = leaf(3, 3), leaf(2, 3, seed=1)
    seen = []
    w.on_grad_ready(lambda t: seen.append(t.grad.numpy().copy()))
    y = rt.recompute(lambda x: rt.tanh(x @ w), x)
    y = rt.recompute(lambda x: rt.tanh(x @ w), y) @ w
    y.sum().backward()
    assert len(seen) == 1
    expected = rt.grad((rt.tanh(rt.tanh(x @ w) @ w) @ w).sum(), w)
    np.testing.assert_allclose(seen[0], expected.numpy(), rtol=1e-13)


def test_second_derivatives_and_several_outputs():
    def f(x, y):
        a, b = rt.recompute(lambda x, y: (rt.tanh(x * y), (x * x).sum()), x, y)
        return a * b

    rt.gradcheck(f, leaf(3), leaf(3, seed=1))
    x = leaf(3)
    _, b = rt.recompute(lambda x: [x * 2, x * 3], x)
    b.sum().backward()  # nothing comes back for a
    np.testing.assert_array_equal(x.grad.numpy(), [3, 3, 3])
    assert type(rt.recompute(lambda x: [x], x)) is list


def test_a_tensor_of_the_graph_is_an_input():
    x = leaf(3)
    h = rt.exp(x)
    y = rt.recompute(lambda x, h: x * h, x, h)
    (y + h).sum().backward()
    e, v = np.exp(x.detach().numpy()), x.detach().numpy()
    np.testing.assert_allclose(x.grad.numpy(), e + v * e + e, rtol=1e-13)
    h = rt.exp(x)
    with pytest.raises(RuntimeError, match="the graph of exp has been freed"):
        (rt.recompute(lambda x: x * h, x) + h).sum().backward()


def test_running_statistics_move_once():
    norm = nn.BatchNorm1d(3, dtype=np.float64)
    rt.recompute(norm, leaf(5, 3)).sum().backward()
    assert norm.num_batches_tracked.item() == 1


def test_without_gradients_nothing_is_recorded():
    x = leaf(3)
    with rt.no_grad():
        assert not rt.recompute(lambda x: x * 2, x).requires_grad
    assert not rt.recompute(lambda x: x * 2, rt.ones(3)).requires_grad
    same = rt.recompute(lambda x: x, x)
    same.sum().backward()
    np.testing.assert_array_equal(x.grad.numpy(), [1, 1, 1])


def test_memory():
    """16 layers of 1 MiB results each: all are kept, or 4 at segments and 4 inside one."""

    def peak(run):
        x = rt.tensor(np.ones((1 << 17,)), "f8", requires_grad=True)
        tracemalloc.start()
        run(x).sum().backward()
        used = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return used / (1 << 20)

    layers = nn.Sequential(*[rt.tanh] * 16)
    whole = peak(layers)
    cut = peak(lambda x: rt.recompute_sequential(layers, 4, x))
    assert whole > 16
    assert cut < 13


def test_what_cannot_be_is_an_error():
    x = leaf(3)
    y = x * 1

    def writes(t):
        t[0] = 5.0
        return t * 2

    with pytest.raises(RuntimeError, match="fn wrote into its inputs"):
        rt.recompute(writes, y)
    z = x * 1
    out = rt.recompute(lambda t: t * 2, z)
    with rt.no_grad():
        z[0] = 7.0
    with pytest.raises(RuntimeError, match="the gradient of recompute needs was changed in place"):
        out.sum().backward()
    with pytest.raises(ValueError, match="2 layers cannot be cut into 3"):
        rt.recompute_sequential([rt.tanh, rt.tanh], 3, x)


def test_draws_by_hand_are_the_same_when_they_are_made_again():
    """And do not move on what later draws of the step get."""
    rt.seed(3)
    x = rt.tensor([1.0, 2.0, 3.0], requires_grad=True)
    drawn = []

    def noisy(t):
        drawn.append(rt.rand(3))
        return t * drawn[-1]

    out = rt.recompute(noisy, x).sum()
    later = rt.rand(3).numpy()
    out.backward()
    first, again = (t.numpy() for t in drawn)
    assert (first == again).all() and (x.grad.numpy() == first).all()
    after = rt.rand(3).numpy()
    assert not (after == first).any() and not (after == later).any()
