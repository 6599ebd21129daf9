"""The backward pass: what it adds up, in which order, what it frees, and what it refuses."""

import gc
import tracemalloc

import numpy as np
import pytest

import ringtrain as rt


def leaf(*values, dtype=np.float64):
    return rt.from_numpy(np.array(values, dtype)).requires_grad_()


def test_gradients_add_up_over_uses_and_over_passes():
    x = leaf(2.0, -3.0)
    for _ in range(2):
        (x * x + x).sum().backward()
    np.testing.assert_array_equal(x.grad.numpy(), 2 * (2 * x.detach().numpy() + 1))
    x.grad = None
    assert x.grad is None


def test_a_leaf_of_no_axes_adds_up_too():
    x = rt.tensor(3.0, requires_grad=True)
    for _ in range(3):
        (x * 2.0).backward()
    assert x.grad.item() == 6.0
    x.grad[...] = 1.0
    assert x.grad.item() == 1.0


def test_the_first_gradient_is_copied():
    x, head = leaf(1.0, 2.0), np.array([5.0, 7.0])
    (x + 0.0).backward(head, retain_graph=True)
    head[:] = 0
    (x * 1.0).sum().backward()
    np.testing.assert_array_equal(x.grad.numpy(), [6, 8])


@pytest.mark.cpu
def test_gradient_goes_into_the_buffer_given_for_it():
    x, flat = leaf(1.0, 2.0), np.full(5, 9.0)
    x._node.buffer = flat[1:3]
    for factor, total in [(3.0, 3.0), (4.0, 7.0)]:
        (x * factor).sum().backward()
        np.testing.assert_array_equal(flat, [9, total, total, 9, 9])
    assert np.shares_memory(x.grad.data, flat)
    (x * x).sum().backward(create_graph=True)
    np.testing.assert_array_equal(flat, [9, 9, 11, 9, 9])
    (x * 1.0).sum().backward()
    np.testing.assert_array_equal(flat, [9, 10, 12, 9, 9])


def test_sums_under_way_do_not_write_into_gradients_that_others_hold():
    """x takes part four times; the first gradient that arrives is the very array that another leaf gets."""
    x, other = leaf(1.0, 2.0), leaf(5.0, 6.0)
    y = x * 1.0
    total = ((y + other) + y) + (y + y)
    total.sum().backward()
    np.testing.assert_array_equal(other.grad.numpy(), [1, 1])
    np.testing.assert_array_equal(x.grad.numpy(), [4, 4])


def test_backward_twice_wants_retain_graph():
    x = leaf(1.0, 2.0)
    y = (x * x).sum()
    y.backward(retain_graph=True)
    y.backward()
    np.testing.assert_array_equal(x.grad.numpy(), 4 * x.detach().numpy())
    with pytest.raises(RuntimeError, match="retain_graph=True"):
        y.backward()


def test_heads_of_the_wrong_shape_are_refused():
    x = leaf(1.0, 2.0, 3.0)
    with pytest.raises(ValueError, match=r"\(2,\).*\(3,\)"):
        (x * 2).backward(np.ones(2))
    with pytest.raises(ValueError, match=r"\(\).*\(3,\)"):
        (x * 2).backward(1.0)
    with pytest.raises(RuntimeError, match=r"one element.*float64\[3\]"):
        (x * 2).backward()
    with pytest.raises(RuntimeError, match="computed from none"):
        rt.from_numpy(np.ones(1)).backward()
    with pytest.raises(ValueError, match="1 gradients were given for 2 tensors"):
        rt.backward([x * 2, x * 3], [np.ones(3)])


def test_heads_are_cast_to_the_tensors_dtype():
    x = leaf(1.0, 2.0, dtype=np.float32)
    (x * 2).backward(np.array([1, 2]))
    assert x.grad.dtype == np.float32
    np.testing.assert_array_equal(x.grad.numpy(), [2, 4])


def test_several_roots_one_above_another():
    x = leaf(2.0)
    y = x * x
    z = y * 3.0
    heads = [np.array([1.0]), np.array([10.0]), np.array([100.0])]
    rt.backward([y, z, y], heads)
    assert heads == [1, 10, 100]  # what is added to them is added elsewhere
    np.testing.assert_array_equal(x.grad.numpy(), [(101 + 30) * 4.0])


def test_a_leaf_is_a_root_too():
    x = leaf(1.0, 2.0)
    x.backward(np.array([3.0, 4.0]))
    np.testing.assert_array_equal(x.grad.numpy(), [3, 4])


def test_a_million_nodes():
    x = rt.tensor(1.0, requires_grad=True)
    y = x
    for _ in range(1_000_000):
        y = y + 1.0
    y.backward()
    assert x.grad.item() == 1.0
    del y  # freed without recursion as well


def test_a_chain_that_saves_nothing_holds_few_arrays():
    """Edges lead to nodes, not to tensors, so that the arrays between are let go."""
    h = x = rt.from_numpy(np.ones(1 << 20, np.float32)).requires_grad_()
    gc.collect()
    tracemalloc.start()
    for _ in range(50):
        h = h + 1
    h.sum().backward()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 3.5 * x.nbytes
    assert x.grad.numpy().min() == x.grad.numpy().max() == 1


def test_backward_frees_what_the_graph_saved():
    x = rt.from_numpy(np.ones(1 << 18)).requires_grad_()
    tracemalloc.start()
    y = rt.exp(rt.exp(x * 0.1)).sum()
    held = tracemalloc.get_traced_memory()[0]
    y.backward()
    x.grad = None
    left = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    assert held > 1.9 * x.nbytes
    assert left < 0.1 * x.nbytes


# --- grad -------------------------------------------------------------------------------------------------
def test_grad_touches_no_leaf_and_fires_no_hook():
    x, y = leaf(2.0, 3.0), leaf(5.0, 7.0)
    x.on_grad_ready(lambda p: pytest.fail("grad is no backward"))
    gx, gy = rt.grad((x * y).sum(), [x, y])
    np.testing.assert_array_equal(gx.numpy(), [5, 7])
    np.testing.assert_array_equal(gy.numpy(), [2, 3])
    assert x.grad is None
    assert y.grad is None
    assert not gx.requires_grad


def test_grad_to_tensors_inside_the_graph():
    x = leaf(2.0, 3.0)
    h = x * x
    out = (h * h).sum()
    gh, gx = rt.grad(out, [h, x], retain_graph=True)
    np.testing.assert_array_equal(gh.numpy(), 2 * h.detach().numpy())
    np.testing.assert_array_equal(gx.numpy(), 4 * x.detach().numpy() ** 3)
    np.testing.assert_array_equal(rt.grad(out, h).numpy(), gh.numpy())


def test_grad_runs_no_vjp_below_its_targets():
    calls = []

    class Watched(rt.Function):
        @staticmethod
        def forward(ctx, x):
            return x * 2.0

        @staticmethod
        def backward(ctx, g):
            calls.append(1)
            return g * 2.0

    x = leaf(1.0, 2.0)
    h = Watched.apply(x)
    y = h * h
    rt.grad(y.sum(), h, retain_graph=True)
    assert not calls
    rt.grad(y.sum(), [h, x])
    assert len(calls) == 1


def test_grad_of_what_was_not_used():
    x, unused = leaf(1.0), leaf(2.0)
    with pytest.raises(RuntimeError, match=r"input 1.*allow_unused=True"):
        rt.grad((x * x).sum(), [x, unused], retain_graph=True)
    assert rt.grad((x * x).sum(), [x, unused], allow_unused=True)[1] is None
    with pytest.raises(RuntimeError, match=r"input 0 of grad \(float64\[1\]\) does not require"):
        rt.grad((x * x).sum(), x.detach())
    (x * x).sum().backward()
    assert unused.grad is None


def test_grad_with_heads_and_several_outputs():
    x = leaf(1.0, 2.0)
    g = rt.grad([x * 2, x * x], x, [np.array([1.0, 10.0]), np.array([100.0, 1000.0])])
    np.testing.assert_array_equal(g.numpy(), [2 + 200, 20 + 4000])


def test_third_derivative():
    x = leaf(0.7, -1.3)
    g = (x**4).sum()
    for _ in range(3):
        g = rt.grad(g.sum(), x, create_graph=True)
    np.testing.assert_allclose(g.detach().numpy(), 24 * x.detach().numpy(), rtol=1e-14)


def test_create_graph_makes_grad_differentiable():
    x = leaf(0.5, 2.0)
    (x**3).sum().backward(create_graph=True)
    first = x.grad
    assert first.requires_grad
    x.grad = None
    (first * first).sum().backward()
    np.testing.assert_allclose(x.grad.numpy(), 2 * 9 * 2 * x.detach().numpy() ** 3, rtol=1e-14)


def test_gradients_under_create_graph_add_up():
    x = leaf(0.5, 2.0)
    (x**3).sum().backward()
    (x**2).sum().backward(create_graph=True)
    assert x.grad.requires_grad
    np.testing.assert_allclose(x.grad.detach().numpy(), [0.75 + 1, 12 + 4], rtol=1e-15)
    (x * 1.0).sum().backward()
    assert not x.grad.requires_grad
    np.testing.assert_allclose(x.grad.numpy(), [0.75 + 2, 12 + 5], rtol=1e-15)


# --- modes ------------------------------------------------------------------------------------------------
def test_no_grad_and_enable_grad():
    x = leaf(1.0)

    @rt.no_grad()
    def outside():
        """Makes nothing."""
        assert not rt.is_grad_enabled()
        with rt.enable_grad():
            inner = x * 2
        return x * 2, inner

    out, inner = outside()
    assert outside.__name__ == "outside"
    assert outside.__doc__ == "Makes nothing."
    assert not out.requires_grad
    assert inner.requires_grad
    with pytest.raises(KeyError), rt.no_grad():
        raise KeyError
    assert rt.is_grad_enabled()

    @rt.enable_grad()
    def recursive(n):
        return x if n == 0 else recursive(n - 1) * 2

    with rt.no_grad():
        assert recursive(3).requires_grad
        assert not rt.is_grad_enabled()


def test_only_floats_have_gradients():
    with pytest.raises(TypeError, match=r"int64.*astype"):
        rt.tensor([1, 2], requires_grad=True)
    x = leaf(1.0, 2.0)
    assert not (x > 0).requires_grad
    assert not x.astype(np.int64).requires_grad
    assert not rt.argmax(x).requires_grad


def test_requires_grad_is_for_leaves():
    x = leaf(1.0)
    y = x * 2
    with pytest.raises(RuntimeError, match="detach"):
        y.requires_grad_(False)
    assert y.requires_grad_() is y
    assert not y.is_leaf
    assert x.requires_grad_(False).is_leaf
    assert not x.requires_grad


# --- hooks ------------------------------------------------------------------------------------------------
def test_hooks_fire_once_in_backward_order_when_the_gradient_is_final():
    """The first parameter is used by the first layer and by the last: it is final only at the very end."""
    shared, middle, late, unused = leaf(2.0), leaf(3.0), leaf(5.0), leaf(7.0)
    seen = []
    for name, p in [("shared", shared), ("middle", middle), ("late", late), ("unused", unused)]:
        p.on_grad_ready(lambda t, name=name: seen.append((name, t.grad.item())))
    h = shared * 1.5
    h = h * middle
    h = h * late
    (h * shared).sum().backward()
    # d/ds 1.5 s^2 m l = 3 s m l
    assert seen == [("late", 1.5 * 4 * 3), ("middle", 1.5 * 4 * 5), ("shared", 3 * 2 * 3 * 5)]
    assert unused.grad is None


def test_hooks_fire_while_the_pass_still_runs():
    first, last = leaf(2.0), leaf(3.0)
    last.on_grad_ready(lambda p: seen.append(first.grad))
    seen = []
    ((first * 2.0) * last).sum().backward()
    assert seen == [None]


def test_hooks_see_the_accumulated_gradient_and_can_be_removed():
    x, seen = leaf(1.0), []
    remove = x.on_grad_ready(lambda p: seen.append((p is x, p.grad.item())))
    (x * 2).sum().backward()
    (x * 3).sum().backward()
    remove()
    remove()
    (x * 4).sum().backward()
    assert seen == [(True, 2.0), (True, 5.0)]
    with pytest.raises(RuntimeError, match="on_grad_ready is for leaves"):
        (x * 2).on_grad_ready(print)


def test_register_hook_sees_and_replaces():
    x, seen = leaf(1.0, 2.0), []
    h = x * 3
    h.register_hook(lambda g: seen.append(g.numpy().copy()))
    remove = h.register_hook(lambda g: g * 10)
    x.register_hook(lambda g: g + 1)
    (h * h + h).sum().backward(retain_graph=True)
    np.testing.assert_array_equal(seen, [[7, 13]])
    np.testing.assert_array_equal(x.grad.numpy(), [7 * 30 + 1, 13 * 30 + 1])
    remove()
    x.grad = None
    (h * 1.0).sum().backward()
    np.testing.assert_array_equal(x.grad.numpy(), [4, 4])
    h2 = x * 1.0
    h2.register_hook(lambda g: g.sum())
    with pytest.raises(ValueError, match=r"hook.*\(2,\).*\(\)"):
        h2.sum().backward()
    with pytest.raises(RuntimeError, match="require a gradient"):
        x.detach().register_hook(print)


def test_no_graph_on_meta():
    with pytest.raises(RuntimeError, match=r"meta.*no values"):
        rt.tensor([1.0], device="meta", requires_grad=True).sum().backward()
