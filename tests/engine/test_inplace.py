"""Writes in place: what was saved for backward is guarded, views see them, and setitem is an op."""

import threading

import numpy as np
import pytest

import ringtrain as rt

CHANGED = "changed in place since it was used"


def leaf(*shape, seed=1):
    return rt.from_numpy(np.random.default_rng(seed).standard_normal(shape)).requires_grad_()


def written(t):
    with rt.no_grad():
        t[...] = 100.0


def updated(t):
    with rt.no_grad():
        t -= 0.1 * t


def exchanged(t):
    t.data = t.data * 2


WRITES = [written, updated, exchanged]
OPS = [
    lambda x, w: x * w,
    lambda x, w: rt.matmul(x, w),
    lambda x, w: rt.maximum(x, w) + x,
    lambda x, w: rt.einsum("ij,jk->ik", x, w),
    lambda x, w: rt.nn.linear(x, w),
    lambda x, w: rt.concatenate([rt.exp(x), w * w]),
    lambda x, w: rt.nn.conv2d(x.reshape(1, 1, 3, 3), w.reshape(1, 1, 3, 3)),
]
NAMES = ["multiply", "matmul", "maximum", "einsum", "linear", "square", "conv2d"]


@pytest.mark.parametrize("write", WRITES)
@pytest.mark.parametrize("f", OPS, ids=NAMES)
def test_a_saved_operand_that_was_written_raises(f, write):
    x, w = leaf(3, 3), leaf(3, 3, seed=2)
    y = f(x, w).sum()
    write(w)
    with pytest.raises(RuntimeError, match=CHANGED):
        y.backward()


@pytest.mark.parametrize("f", OPS, ids=NAMES)
def test_writes_before_the_use_are_nobodys_harm(f):
    x, w = leaf(3, 3), leaf(3, 3, seed=2)
    for t in (w, w, x):
        updated(t)
    for needs in ((True, True), (True, False), (False, True)):
        a, b = x.requires_grad_(needs[0]), w.requires_grad_(needs[1])
        f(a, b).sum().backward()


@pytest.mark.parametrize("f", [rt.exp, rt.sqrt, rt.sigmoid, rt.softmax, rt.max], ids=lambda f: getattr(f, "name", f))
def test_a_saved_output_that_was_written_raises(f):
    x = rt.from_numpy(np.array([0.5, 2.0])).requires_grad_()
    y = f(x)
    z = (y * 2.0).sum()
    written(y)
    with pytest.raises(RuntimeError, match=f"gradient of .*{CHANGED}"):
        z.backward()


def test_what_was_not_saved_may_be_written():
    x, w = leaf(3), leaf(3, seed=2).detach()
    y = (x + w).sum()  # the sum saves neither
    written(w)
    y.backward()
    z = (x.detach() * w.requires_grad_()).sum()  # w's own gradient wants x only
    written(w)
    z.backward()
    np.testing.assert_array_equal(w.grad.numpy(), x.detach().numpy())


@pytest.mark.parametrize(
    "view",
    [
        lambda w: w[1:],
        lambda w: w[0],
        lambda w: w[np.int64(1)],
        lambda w: w[1, 2],
        lambda w: w.reshape(-1),
        lambda w: w.T,
        lambda w: rt.flip(w),
        lambda w: rt.squeeze(rt.expand_dims(w, 0), 0),
        lambda w: w.split(3)[2],
        lambda w: w.detach(),
    ],
    ids=["slice", "row", "numpy integer", "element", "reshape", "T", "flip", "squeeze", "split", "detach"],
)
def test_views_share_their_count_of_writes(view):
    x, w = leaf(3, 3), leaf(3, 3, seed=2)
    y = (x * w).sum()
    v = view(w.detach())
    assert np.shares_memory(v.data, w.data)
    before = w.detach().numpy().copy()
    written(v)
    assert (w.detach().numpy() != before).any()
    with pytest.raises(RuntimeError, match=CHANGED):
        y.backward()
    # and the other way round: the view was saved, its base is written
    v = view(w.detach())
    y = (v * v.detach().copy().requires_grad_()).sum()
    written(w)
    with pytest.raises(RuntimeError, match=CHANGED):
        y.backward()


def test_broadcast_views_share_it_and_cannot_be_written():
    x, row = leaf(3, 3), leaf(3, seed=2).detach()
    wide = rt.broadcast_to(row, (3, 3))
    y = (x * wide).sum()
    with pytest.raises(ValueError, match=r"read-only view.*x\.copy"):
        wide[0] = 1.0
    written(row)
    with pytest.raises(RuntimeError, match=CHANGED):
        y.backward()


def test_copies_do_not_share():
    x, w = leaf(9), leaf(3, 3, seed=2).detach()
    copies = [w.T.reshape(-1), w.copy().reshape(-1), w[[0, 1, 2]].reshape(-1), w.astype(np.float32).reshape(-1)]
    results = [(x * c).sum() for c in copies]
    written(w)
    for y, c in zip(results, copies, strict=True):
        x.grad = None
        y.backward()
        np.testing.assert_array_equal(x.grad.numpy(), c.numpy())


def test_second_derivatives_are_guarded_too():
    """What the first backward handed on to the second is still the operand that was saved."""
    for f in (lambda x, w: (x * w) * w, lambda x, w: rt.nn.conv2d(x[None, None], w[None, None]) ** 2):
        x, w = leaf(3, 3), leaf(3, 3, seed=2)
        g = rt.grad(f(x, w).sum(), x, create_graph=True)
        written(w)
        with pytest.raises(RuntimeError, match=CHANGED):
            g.sum().backward()


def test_second_derivatives_of_fused_ops_are_guarded():
    """Their inputs stand in for themselves when the composed form runs again."""
    x, w, v = leaf(1, 1, 3, 3), leaf(1, 1, 2, 2, seed=2), leaf(1, 1, 2, 2, seed=3)
    g = rt.grad((rt.nn.conv2d(x, w) * v).sum(), x, create_graph=True)  # v convolved with w
    written(w)
    with pytest.raises(RuntimeError, match=CHANGED):
        rt.grad(g.sum(), v)


# --- setitem ----------------------------------------------------------------------------------------------
INDICES = [
    (1, (4,)),
    ((slice(None), 2), (3,)),
    ((slice(0, 2), slice(None, None, -2)), (2, 2)),
    ((Ellipsis, 1), ()),
    (([0, 2], [1, 3]), (2,)),
    (np.arange(12).reshape(3, 4) % 2 == 0, (6,)),
    ((0, 1), ()),
    (slice(0, 0), (0, 4)),
    (0, (1, 1, 4)),
    (slice(None), (1,)),
]


@pytest.mark.parametrize(("index", "shape"), INDICES, ids=lambda v: str(v)[:20])
def test_setitem_is_an_op(index, shape):
    def f(x, value):
        y = x * 2.0
        y[index] = value * value
        return y * y

    def reference(x, value):
        y = x * 2.0
        y[index] = value * value
        return y * y

    x, value = leaf(3, 4), leaf(*shape, seed=3)
    np.testing.assert_allclose(
        f(x, value).detach().numpy(), reference(x.detach().numpy(), value.detach().numpy()), rtol=1e-15
    )
    assert rt.gradcheck(f, x, value)
    constant = value.detach()
    assert rt.gradcheck(lambda t: f(t, constant), x)
    assert rt.gradcheck(lambda t: f(x.detach(), t), value)


def test_setitem_on_what_needs_no_gradient_yet():
    value = leaf(2)
    y = rt.zeros((2, 2), np.float64)
    y[0] = value
    assert y.requires_grad
    (y * rt.from_numpy(np.array([[3.0, 4.0], [5.0, 6.0]]))).sum().backward()
    np.testing.assert_array_equal(value.grad.numpy(), [3, 4])


def test_setitem_twice_and_a_use_between():
    x = leaf(3)
    y = x * 2.0
    y[0] = 0.0
    early = y * 3.0
    y[1] = x[2]
    (y.sum() + early.sum()).backward()
    np.testing.assert_array_equal(x.grad.numpy(), [0, 6, 9])


def test_a_leaf_cannot_be_written():
    x = leaf(3)
    for write in (lambda: x.__setitem__(0, 1.0), lambda: x.__iadd__(1.0), lambda: x.__imul__(2.0)):
        with pytest.raises(RuntimeError, match=r"leaf.*no_grad"):
            write()
    with rt.no_grad():
        x += 1.0
        x[0] = 0.0
    assert x.requires_grad
    assert x.is_leaf


def test_writes_with_a_view_alive_raise():
    x = leaf(3, 3)
    y = x * 2.0
    view = y[0]
    with pytest.raises(RuntimeError, match=r"shares its memory.*x\.copy\(\)"):
        y[1] = 0.0
    with pytest.raises(RuntimeError, match="shares this one's memory"):
        y += 1.0
    with pytest.raises(RuntimeError, match="shares its memory"):
        view[0] = 0.0
    del view
    y[1] = 0.0
    y.sum().backward()
    np.testing.assert_array_equal(x.grad.numpy(), [[2] * 3, [0] * 3, [2] * 3])


@pytest.mark.cpu
def test_augmented_assignment():
    x = leaf(3)
    y = before = x * 2.0
    saved = y * y
    y += x
    assert y is before
    (y + saved).sum().backward()  # the product kept the old values, which nobody wrote into
    np.testing.assert_allclose(x.grad.numpy(), 3 + 8 * x.detach().numpy(), rtol=1e-15)
    total = rt.zeros((), np.float64)
    total += (x * x).sum()
    total.backward()

    a = rt.from_numpy(np.arange(3.0))
    memory = a.data
    a += 1
    a *= np.array([1.0, 2.0, 3.0])
    a /= 2
    a -= rt.from_numpy(np.ones(3))
    assert a.data is memory
    np.testing.assert_array_equal(memory, [-0.5, 1, 3.5])
    with pytest.raises(ValueError, match=r"iadd: float64\[2, 3\] does not fit into float64\[3\]"):
        a += np.ones((2, 3))
    with pytest.raises(ValueError, match=r"float64\[3\] does not fit into int64\[3\]"):
        rt.tensor([1, 2, 3]).__itruediv__(2)


def test_setitem_errors_name_shapes():
    x = rt.zeros((3, 4))
    with pytest.raises(ValueError, match=r"setitem.*float32\[3, 4\].*float64\[2\]"):
        x[0] = np.ones(2)
    with pytest.raises(IndexError, match=r"setitem.*out of bounds"):
        x[7] = 0


def test_relu_notices_a_write_into_its_output():
    x = rt.tensor([-1.0, 2.0, 3.0], requires_grad=True)
    y = rt.nn.relu(x * 1.0)
    z = y.sum()
    y[0] = -5.0
    with pytest.raises(RuntimeError, match="relu needs was changed in place"):
        z.backward()


@pytest.mark.parametrize("write", ["index", "labels"])
def test_what_backward_reads_again_is_kept(write):
    x = rt.tensor([[1.0, 2.0, 3.0]], requires_grad=True)
    numbers = np.array([0])
    y = x[0][numbers].sum() if write == "index" else rt.nn.cross_entropy(x, numbers)
    (expected,) = rt.grad(y, [x], retain_graph=True)
    numbers += 2
    (found,) = rt.grad(y, [x])
    np.testing.assert_array_equal(found.numpy(), expected.numpy())


def test_function_notices_that_what_it_kept_was_added_to():
    class Square(rt.Function):
        @staticmethod
        def forward(ctx, x):
            ctx.save_for_backward(x)
            return x.detach() * x.detach()

        @staticmethod
        def backward(ctx, g):
            return g * ctx.saved_tensors[0] * 2.0

    w = rt.tensor([3.0], requires_grad=True)
    x = w * 1.0
    y = Square.apply(x)
    x += 100.0
    with pytest.raises(RuntimeError, match="save_for_backward was changed"):
        y.sum().backward()


def test_a_gradient_that_is_read_knows_when_backward_adds_to_it():
    p, w = (rt.tensor([2.0], requires_grad=True) for _ in range(2))
    (p * 3.0).sum().backward()
    y = (p.grad * w).sum()
    (p * 5.0).sum().backward()
    with pytest.raises(RuntimeError, match="changed in place"):
        y.backward()


def test_gradients_of_create_graph_do_not_share_memory():
    a, b = (rt.tensor([2.0], requires_grad=True) for _ in range(2))
    head = rt.tensor([1.0])
    (a + b).backward(head, create_graph=True)
    with rt.no_grad():
        a.grad[...] = 0.0
    assert b.grad.item() == 1 and head.item() == 1


@pytest.mark.parametrize("operator", ["**=", "//=", "%="])
def test_every_operator_in_place_writes_in_place(operator):
    x = rt.tensor([2.0, 3.0, 5.0, 7.0])
    view = x[0:2]
    scope = {"view": view}
    exec(f"view {operator} 2.0", scope)
    assert scope["view"] is view
    np.testing.assert_array_equal(x.numpy()[:2], eval(f"np.array([2.0, 3.0]) {operator[:-1]} 2.0", {"np": np}))


def test_modes_are_a_threads_own():
    seen = []
    with rt.no_grad():
        thread = threading.Thread(target=lambda: seen.append(rt.is_grad_enabled()))
        thread.start()
        thread.join()
    assert seen == [True] and rt.is_grad_enabled()
