"""Functions written by users: one output and several, saved tensors, second derivatives, mistakes."""

import gc
import weakref

import numpy as np
import pytest

import ringtrain as rt


class Cube(rt.Function):
    @staticmethod
    def forward(ctx, x, scale):
        ctx.save_for_backward(x)
        ctx.scale = scale
        return x * x * x * scale

    @staticmethod
    def backward(ctx, g):
        (x,) = ctx.saved_tensors
        return g * x * x * (3.0 * ctx.scale), None


class Parts(rt.Function):
    """x -> (2x, positions, 5x): the one in the middle has no gradient."""

    @staticmethod
    def forward(ctx, x):
        return x * 2.0, rt.argmax(x), x * 5.0

    @staticmethod
    def backward(ctx, a, b, c):
        assert b is None
        parts = [g * k for g, k in ((a, 2.0), (c, 5.0)) if g is not None]
        return sum(parts)


def leaf(*values):
    return rt.from_numpy(np.array(values)).requires_grad_()


def test_first_and_second_derivatives():
    x = leaf(0.5, -1.5, 2.0)
    assert rt.gradcheck(lambda t: Cube.apply(t, 0.7), x)
    assert rt.gradcheck(lambda t: Cube.apply(rt.exp(t), 0.7).sum(), x)


def test_several_outputs_are_one_node():
    x = leaf(1.0, 3.0, 2.0)
    a, where, c = Parts.apply(x)
    assert where.item() == 1
    assert not where.requires_grad
    (a.sum() + (c * c).sum() + a.sum()).backward(retain_graph=True)
    np.testing.assert_array_equal(x.grad.numpy(), 4 + 50 * x.detach().numpy())
    x.grad = None
    c.sum().backward(retain_graph=True)
    np.testing.assert_array_equal(x.grad.numpy(), [5, 5, 5])
    ga, gc_ = rt.grad((a * c).sum(), [a, c])
    np.testing.assert_array_equal(ga.numpy(), c.detach().numpy())
    np.testing.assert_array_equal(gc_.numpy(), a.detach().numpy())
    assert rt.gradcheck(lambda t: Parts.apply(t)[2] * Parts.apply(t)[0], x)


def test_hooks_on_one_output_of_several():
    x = leaf(1.0, 2.0)
    a, _, c = Parts.apply(x)
    a.register_hook(lambda g: g * 100)
    (a + c).sum().backward()
    np.testing.assert_array_equal(x.grad.numpy(), [205, 205])


def test_needs_input_grad():
    class Both(rt.Function):
        @staticmethod
        def forward(ctx, a, b):
            assert not rt.is_grad_enabled()
            return a + b

        @staticmethod
        def backward(ctx, g):
            seen.append(ctx.needs_input_grad)
            return g, None

    seen = []
    x = leaf(1.0)
    Both.apply(x, rt.from_numpy(np.ones(1))).sum().backward()
    assert seen == [(True, False)]
    assert not Both.apply(x.detach(), 1.0).requires_grad


def test_a_forward_that_returns_its_argument():
    class Same(rt.Function):
        @staticmethod
        def forward(ctx, x):
            return x

        @staticmethod
        def backward(ctx, g):
            return g * 3.0

    x = leaf(1.0, 2.0)
    y = Same.apply(x)
    assert y is not x
    y.sum().backward()
    np.testing.assert_array_equal(x.grad.numpy(), [3, 3])
    z = y * y
    with rt.no_grad():
        x[0] = 5.0
    with pytest.raises(RuntimeError, match="changed in place"):
        z.sum().backward()


def test_saved_tensors_changed_in_place():
    x = leaf(1.0, 2.0)
    h = x * 1.0
    y = Cube.apply(h, 1.0)
    with rt.no_grad():
        h[0] = 9.0
    with pytest.raises(RuntimeError, match=r"Cube\.forward kept.*changed in place"):
        y.sum().backward()


def test_backward_frees_the_context():
    x = leaf(1.0, 2.0)
    h = x * 1.0
    y = Cube.apply(h, 1.0)
    kept = weakref.ref(h)
    del h
    gc.collect()
    assert kept() is not None
    y.sum().backward()
    assert kept() is None
    with pytest.raises(RuntimeError, match=r"Cube.*retain_graph=True"):
        y.sum().backward()


def test_mistakes_are_named():
    class Few(Cube):
        @staticmethod
        def backward(ctx, g):
            return g

    class Raw(Cube):
        @staticmethod
        def forward(ctx, x, scale):
            return x.detach().numpy() * scale

    class Wrong(Cube):
        @staticmethod
        def backward(ctx, g):
            return g[:1], None

    x = leaf(1.0, 2.0)
    with pytest.raises(RuntimeError, match=r"Few\.backward gave 1 gradients for the 2 arguments"):
        Few.apply(x, 1.0).sum().backward()
    with pytest.raises(TypeError, match=r"Raw\.forward must return a tensor.*float64\[2\]"):
        Raw.apply(x, 1.0)
    with pytest.raises(RuntimeError, match=r"Wrong gave input 0 a gradient of shape \(1,\), not \(2,\)"):
        Wrong.apply(x, 1.0).sum().backward()
    with pytest.raises(NotImplementedError, match="forward"):
        type("Empty", (rt.Function,), {}).apply(x)
