"""The same ops in PyTorch, where it is installed: values and gradients, in float64, to 1e-10."""

import numpy as np
import pytest

import ringtrain as rt

torch = pytest.importorskip("torch")
F = torch.nn.functional

LABELS = np.array([2, 0, -1, 1, 4])
DENSE = np.array([[[0, 1], [2, 0]], [[1, 1], [0, 2]]])
WEIGHT = np.array([0.5, 1.0, 2.0, 0.25, 1.5])

# name, shapes of the inputs, ours, theirs
SMOOTH = [
    *[(n, [(3, 17)], getattr(rt, n), getattr(torch, n)) for n in ("exp", "expm1", "sin", "tan", "sigmoid", "erf")],
    *[(n, [(3, 17)], getattr(rt, n), getattr(torch, n)) for n in ("tanh", "square")],
    ("logaddexp", [(3, 1), (17,)], rt.logaddexp, torch.logaddexp),
    ("arctan2", [(3, 1), (17,)], rt.arctan2, torch.atan2),
    ("power", [(13,)], lambda x: (x * x + 0.1) ** x, lambda x: (x * x + 0.1) ** x),
    ("remainder", [(13,), (13,)], lambda a, b: a % (b * b + 0.2), lambda a, b: a % (b * b + 0.2)),
    ("gelu", [(3, 17)], rt.nn.gelu, F.gelu),
    ("gelu tanh", [(3, 17)], lambda x: rt.nn.gelu(x, "tanh"), lambda x: F.gelu(x, approximate="tanh")),
    ("softplus", [(3, 17)], rt.softplus, F.softplus),
    ("softmax", [(3, 17)], lambda x: rt.softmax(x, 0), lambda x: x.softmax(0)),
    ("log_softmax", [(3, 17)], rt.log_softmax, lambda x: x.log_softmax(-1)),
    ("logsumexp", [(3, 17)], lambda x: rt.logsumexp(x, 1), lambda x: x.logsumexp(1)),
    ("var", [(3, 17)], lambda x: rt.var(x, 1, ddof=1), lambda x: x.var(1)),
    ("std", [(3, 17)], lambda x: rt.std(x, 0), lambda x: x.std(0, correction=0)),
    ("norm", [(3, 17)], lambda x: rt.norm(x, 1), lambda x: x.norm(dim=1)),
    ("prod", [(3, 5)], lambda x: rt.prod(x, 1), lambda x: x.prod(1)),
    ("cumsum", [(3, 5)], lambda x: rt.cumsum(x, axis=1), lambda x: x.cumsum(1)),
    ("einsum", [(2, 3, 4), (5, 4)], *[lambda a, b, e=e: e("bij,kj->bik", a, b) for e in (rt.einsum, torch.einsum)]),
    ("matmul", [(2, 1, 3, 4), (5, 4, 2)], rt.matmul, torch.matmul),
    ("linear", [(2, 5, 3), (4, 3), (4,)], rt.nn.linear, F.linear),
    ("batch_norm", [(4, 3, 5), (3,), (3,)], lambda *a: rt.nn.batch_norm(*a)[0], lambda x, w, b: F.batch_norm(
        x, None, None, w, b, training=True)),
    ("mse_loss", [(13,), (13,)], rt.nn.mse_loss, F.mse_loss),
    ("l1_loss", [(13,), (13,)], rt.nn.l1_loss, F.l1_loss),
    ("huber_loss", [(13,), (13,)], lambda *a: rt.nn.huber_loss(*a, 0.5), lambda *a: F.huber_loss(*a, delta=0.5)),
    ("with_logits", [(13,), (13,)], rt.nn.binary_cross_entropy_with_logits, F.binary_cross_entropy_with_logits),
]  # fmt: skip
KINKS = [
    ("relu", rt.nn.relu, F.relu, [-1, 0, 2]),
    ("abs", rt.absolute, torch.abs, [-1, 0, 2]),
    ("clip", lambda x: x.clip(-1, 1), lambda x: x.clamp(-1, 1), [-2, -1, 0, 1, 2]),
    ("norm", rt.norm, torch.norm, [0, 0]),
    ("std", rt.std, torch.std, [2, 2, 2]),
    ("amax", lambda x: rt.max(x, 0), lambda x: x.amax(0), [1, 5, 5, 2]),
    ("amin", lambda x: rt.min(x, 0), lambda x: x.amin(0), [1, 1, 1, 2]),
    ("maximum", lambda x: rt.maximum(x, 1.0), lambda x: torch.maximum(x, torch.ones_like(x)), [0, 1, 2]),
    ("minimum", lambda x: rt.minimum(x, 1.0), lambda x: torch.minimum(x, torch.ones_like(x)), [0, 1, 2]),
    ("prod 1", rt.prod, torch.prod, [2, 0, 5]),
    ("prod 2", rt.prod, torch.prod, [2, 0, 0]),
    ("x^0", lambda x: x**0, lambda x: x**0, [-1, 0, 3]),
    ("x^1", lambda x: x**1, lambda x: x**1, [-1, 0, 3]),
    ("x^y", lambda x: x ** np.array([0.0, 0.0, 1.0]), lambda x: x ** torch.tensor([0.0, 0.0, 1.0]), [0, 3, 0]),
    ("0^x", lambda x: 0.0**x, lambda x: 0.0**x, [0, 1, 2]),
]


def compare(ours, theirs, arrays, tolerance=1e-10):
    """Values, and gradients under one random head."""
    a = [rt.from_numpy(x.copy()).requires_grad_() for x in arrays]
    b = [torch.from_numpy(x.copy()).requires_grad_() for x in arrays]
    y, z = ours(*a), theirs(*b)
    head = np.random.default_rng(3).standard_normal(y.shape)
    y.backward(head)
    z.backward(torch.from_numpy(np.asarray(head)))
    assert y.shape == tuple(z.shape)
    np.testing.assert_allclose(y.detach().numpy(), z.detach().numpy(), rtol=tolerance, atol=tolerance)
    for s, t in zip(a, b, strict=True):
        np.testing.assert_allclose(s.grad.numpy(), t.grad.numpy(), rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize(("name", "shapes", "ours", "theirs"), SMOOTH, ids=[row[0] for row in SMOOTH])
def test_smooth(name, shapes, ours, theirs, rng):
    compare(ours, theirs, [rng.standard_normal(s) for s in shapes])


@pytest.mark.parametrize(("name", "ours", "theirs", "values"), KINKS, ids=[row[0] for row in KINKS])
def test_kinks(name, ours, theirs, values):
    compare(ours, theirs, [np.array(values, np.float64)])


@pytest.mark.parametrize("padding", [0, 1, (2, 1)])
@pytest.mark.parametrize("stride", [1, (2, 3)])
@pytest.mark.parametrize(("groups", "dilation"), [(1, 1), (1, (2, 1)), (2, 1)])
def test_conv2d(padding, stride, groups, dilation, rng):
    arrays = [rng.standard_normal(s) for s in [(2, 4, 13, 9), (6, 4 // groups, 3, 2), (6,)]]
    compare(
        lambda x, w, b: rt.nn.conv2d(x, w, b, stride, padding, dilation, groups),
        lambda x, w, b: F.conv2d(x, w, b, stride, padding, dilation, groups),
        arrays,
    )


@pytest.mark.parametrize(("kernel", "stride", "padding"), [(2, None, 0), ((3, 2), (2, 1), 1), (3, 2, (1, 0))])
def test_pools(kernel, stride, padding, rng):
    for x in (rng.standard_normal((2, 3, 13, 9)), rng.integers(0, 3, (2, 3, 13, 9)) * 1.0):  # the latter has ties
        for ours, theirs in [(rt.nn.max_pool2d, F.max_pool2d), (rt.nn.avg_pool2d, F.avg_pool2d)]:
            compare(
                lambda t, f=ours: f(t, kernel, stride, padding), lambda t, f=theirs: f(t, kernel, stride, padding), [x]
            )


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
@pytest.mark.parametrize("smoothing", [0.0, 0.3])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize(("shape", "labels", "ignore"), [((5, 5), LABELS, -1), ((2, 5, 2, 2), DENSE, 2)], ids=str)
def test_cross_entropy(reduction, smoothing, weighted, shape, labels, ignore, rng):
    options = {"ignore_index": ignore, "label_smoothing": smoothing, "reduction": reduction}
    compare(
        lambda x: rt.nn.cross_entropy(x, labels, rt.from_numpy(WEIGHT) if weighted else None, **options),
        lambda x: F.cross_entropy(
            x, torch.from_numpy(labels), torch.from_numpy(WEIGHT) if weighted else None, **options
        ),
        [rng.standard_normal(shape) * 3],
    )
