"""Gradients that backward writes straight into an optimiser's buffer: the same numbers as those copied there."""

import numpy as np
import pytest

import ringtrain as rt
from ringtrain import nn
from ringtrain.leaf import Leaf

pytestmark = pytest.mark.cpu


def layers(rng):
    """(a layer, an input) for each op whose gradients have a place."""
    x = rng.standard_normal((13, 17))
    yield nn.Linear(17, 5, dtype=np.float64), x
    yield nn.Linear(17, 5, bias=False, dtype=np.float64), x.reshape(1, 13, 17)
    for kind, more in ((nn.RNN, {}), (nn.GRU, {"bidirectional": True}), (nn.LSTM, {"num_layers": 2, "proj_size": 3})):
        yield kind(17, 5, **more, dtype=np.float64), x.reshape(13, 1, 17)


def gradients(layer):
    return [p.grad.numpy().copy() for p in layer.parameters()]


def run(layer, x):
    out = layer(x)
    (((out[0] if isinstance(out, tuple) else out) + 1.0) ** 2).sum().backward()


def test_the_same_as_without_an_optimiser(rng):
    for layer, values in layers(rng):
        first, second = rt.from_numpy(values), rt.from_numpy(values[::-1] * 3)
        run(layer, first)
        plain = gradients(layer)
        run(layer, second)
        summed = gradients(layer)
        for p in layer.parameters():
            p.grad = None
        optimizer = rt.optim.SGD(layer.parameters(), lr=0.1)
        for x, wanted in ((first, plain), (second, summed)):
            run(layer, x)
            assert all(p._node.grad is p._node.buffer for p in layer.parameters())
            for got, want in zip(gradients(layer), wanted, strict=True):
                np.testing.assert_array_equal(got, want)
        optimizer.zero_grad()
        run(layer, first)
        for got, want in zip(gradients(layer), plain, strict=True):
            np.testing.assert_array_equal(got, want)


def test_nothing_is_copied(rng, monkeypatch):
    """But the second bias of a recurrent layer, whose gradient is the first one's."""
    copied = []
    accumulate = Leaf.accumulate
    monkeypatch.setattr(Leaf, "accumulate", lambda leaf, g: (copied.append(leaf), accumulate(leaf, g)))
    for layer, x in layers(rng):
        rt.optim.SGD(layer.parameters(), lr=0.1)
        run(layer, rt.from_numpy(x))
        leaves = {p._node: name for name, p in layer.named_parameters()}
        assert all(leaf.grad is leaf.buffer is not None for leaf in leaves)
        assert all(leaves[leaf].startswith(("bias_ih", "bias_hh")) for leaf in copied)
        assert len(copied) <= len(leaves) // 4
        copied.clear()


def test_a_weight_used_twice(rng):
    a, b = rng.standard_normal((3, 5)), rng.standard_normal((5, 5))
    weight = nn.Parameter(b)
    rt.optim.SGD([weight], lr=0.1)

    def loss(w):
        return (nn.linear(nn.linear(rt.from_numpy(a), w), w) ** 2).sum()

    loss(weight).backward()
    free = rt.from_numpy(b.copy()).requires_grad_()
    loss(free).backward()
    np.testing.assert_allclose(weight.grad.numpy(), free.grad.numpy(), rtol=1e-13)


def test_a_gradient_that_is_seen_and_replaced_on_its_way(rng):
    weight = nn.Parameter(rng.standard_normal((4, 5)))
    rt.optim.SGD([weight], lr=0.1)
    seen = []
    weight.register_hook(lambda g: (seen.append(g.numpy()), g * 2.0)[1])
    for count in (1, 2):
        nn.linear(rt.from_numpy(np.ones((3, 5))), weight).sum().backward()
        np.testing.assert_array_equal(weight.grad.numpy(), np.full((4, 5), 6.0 * count))
    for g in seen:
        np.testing.assert_array_equal(g, np.full((4, 5), 3.0))


@pytest.mark.parametrize("n", [5, 600])
def test_a_layer_that_reads_the_gradient_of_its_own_weight(n, rng):
    """What is in the buffer is an input here: it must not be written to before it has been read."""
    values = rng.standard_normal((n, n))
    weight = nn.Parameter(values)
    optimizer = rt.optim.SGD([weight], lr=0.1)
    (weight * weight).sum().backward()
    old = weight.grad
    want = rt.from_numpy(values.copy()).requires_grad_()
    (nn.linear(old.copy(), want) ** 2).sum().backward()
    optimizer.zero_grad()
    (nn.linear(old, weight) ** 2).sum().backward()
    np.testing.assert_array_equal(weight.grad.numpy(), want.grad.numpy())


@pytest.mark.parametrize("way", ["backward", "hook", "function"])
def test_a_gradient_of_before_that_comes_in_from_outside(way, rng):
    """Given to backward, by a hook or a function of the user's: it lies where the new one belongs."""
    values, x = rng.standard_normal((600, 600)), rt.from_numpy(rng.standard_normal((600, 600)))
    weight = nn.Parameter(values)
    optimizer = rt.optim.SGD([weight], lr=0.1)
    (weight * weight).sum().backward()
    old = weight.grad
    want = old.numpy().copy().T @ x.numpy()
    optimizer.zero_grad()
    out = nn.linear(x, weight)
    if way == "function":

        class Given(rt.Function):
            @staticmethod
            def forward(ctx, x):
                return x * 1.0

            @staticmethod
            def backward(ctx, g):
                return old

        Given.apply(out).sum().backward()
    elif way == "hook":
        out.register_hook(lambda g: old)
        out.sum().backward()
    else:
        out.backward(old)
    np.testing.assert_allclose(weight.grad.numpy(), want, rtol=1e-9, atol=1e-9)


def test_an_op_between_two_uses_that_reads_the_gradient(rng):
    values, x = rng.standard_normal((5, 5)), rt.from_numpy(rng.standard_normal((5, 5)))
    weight = nn.Parameter(values)
    optimizer = rt.optim.SGD([weight], lr=0.1)
    (weight * weight).sum().backward()
    old = weight.grad

    def loss(w, scale):
        return (nn.linear(nn.linear(x, w) * scale, w) ** 2).sum()

    want = rt.from_numpy(values.copy()).requires_grad_()
    loss(want, old.copy()).backward()
    optimizer.zero_grad()
    loss(weight, old).backward()
    np.testing.assert_array_equal(weight.grad.numpy(), want.grad.numpy())


def test_gradients_asked_for_leave_the_buffer_alone(rng):
    weight = nn.Parameter(rng.standard_normal((4, 5)))
    rt.optim.SGD([weight], lr=0.1)
    buffer = weight._node.buffer
    out = nn.linear(rt.from_numpy(rng.standard_normal((3, 5))), weight).sum()
    (g,) = rt.grad(out, [weight], retain_graph=True)
    assert g.numpy() is not buffer
    assert not buffer.any()
    out.backward(retain_graph=True)
    once = weight.grad.numpy().copy()
    out.backward()
    np.testing.assert_array_equal(weight.grad.numpy(), once * 2)
    np.testing.assert_array_equal(g.numpy(), once)


def test_large_products_go_there_too(rng):
    """The compiled tiles write to the place, also where a product is turned about and copied."""
    for n, m in ((96, 256), (20, 700)):
        layer = nn.Linear(m, n, dtype=np.float64)
        x = rng.standard_normal((1100, m))
        rt.optim.SGD(layer.parameters(), lr=0.1)
        run(layer, rt.from_numpy(x))
        y = x @ layer.weight.detach().numpy().T + layer.bias.detach().numpy()
        np.testing.assert_allclose(layer.weight.grad.numpy(), 2 * (y + 1).T @ x, rtol=1e-9, atol=1e-9)
        np.testing.assert_allclose(layer.bias.grad.numpy(), 2 * (y + 1).sum(0), rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("dtypes", [("f4", "f8"), ("f8", "f4"), ("f4", "f2"), ("f2", "f4"), ("f2", "f2")], ids=str)
def test_inputs_and_weights_of_different_dtypes(dtypes, rng):
    """A gradient that is computed in another dtype than its weight's has no place there."""
    x, head = (rng.integers(-3, 4, (100, n)) for n in (120, 70))
    layer = nn.Linear(120, 70, dtype=np.dtype(dtypes[1]))
    rt.optim.SGD(layer.parameters(), lr=0.1)
    out = layer(rt.from_numpy(x.astype(dtypes[0])))
    (out * rt.from_numpy(head.astype(out.dtype))).sum().backward()
    np.testing.assert_array_equal(layer.weight.grad.numpy(), head.T @ x)
    np.testing.assert_array_equal(layer.bias.grad.numpy(), head.sum(0))


def test_a_bias_that_is_no_tensor(rng):
    x, weight, bias = (rng.standard_normal(shape) for shape in ((3, 5), (2, 5), (2,)))
    w = rt.from_numpy(weight).requires_grad_()
    out = nn.linear(rt.from_numpy(x), w, bias)
    np.testing.assert_allclose(out.detach().numpy(), x @ weight.T + bias, rtol=1e-13)
    out.sum().backward()
    np.testing.assert_allclose(w.grad.numpy(), np.tile(x.sum(0), (2, 1)), rtol=1e-13)
