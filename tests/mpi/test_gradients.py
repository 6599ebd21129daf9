"""The gradients of collectives on tensors, by differences of what all ranks compute together."""

import numpy as np
import pytest

import ringtrain as rt

from .conftest import normal

pytestmark = [pytest.mark.mpi, pytest.mark.usefixtures("together")]


def everyones(shape_of):
    """Each rank's input, known on all."""
    return [normal(shape_of(r), 5, r) for r in range(rt.size())]


COLLECTIVES = {  # name: (shape of rank r's input, the operation, what it does to all inputs at once)
    "allreduce average": (lambda r: (3, 5), lambda x: rt.allreduce(x), lambda xs: [sum(xs) / len(xs)] * len(xs)),
    "allreduce sum": (lambda r: (), lambda x: rt.allreduce(x, rt.Sum), lambda xs: [sum(xs)] * len(xs)),
    "allreduce scaled": (
        lambda r: (13,),
        lambda x: rt.allreduce(x, rt.Sum, prescale=0.5, postscale=3.0),
        lambda xs: [1.5 * sum(xs)] * len(xs),
    ),
    "allgather": (lambda r: (r + 2, 3), lambda x: rt.allgather(x), lambda xs: [np.concatenate(xs)] * len(xs)),
    "allgather with an empty rank": (
        lambda r: (r, 2),
        lambda x: rt.allgather(x),
        lambda xs: [np.concatenate(xs)] * len(xs),
    ),
    "broadcast": (
        lambda r: (4, 2),
        lambda x: rt.broadcast(x, rt.size() - 1),
        lambda xs: [xs[-1]] * len(xs),
    ),
    "reducescatter average": (
        lambda r: (7, 2),
        lambda x: rt.reducescatter(x),
        lambda xs: np.array_split(sum(xs) / len(xs), len(xs)),
    ),
    "reducescatter sum": (
        lambda r: (2, 3),
        lambda x: rt.reducescatter(x, rt.Sum),
        lambda xs: np.array_split(sum(xs), len(xs)),
    ),
}


@pytest.mark.parametrize("name", COLLECTIVES)
def test_gradients_of_collectives(name):
    """The loss is the sum over ranks of <output squared, weights>; central differences of the global function."""
    shape_of, collective, of_all = COLLECTIVES[name]
    xs = everyones(shape_of)
    weights = [normal(out.shape, 6, r) for r, out in enumerate(of_all(xs))]

    def total(inputs):
        return sum((w * out**2).sum() for w, out in zip(weights, of_all(inputs), strict=True))

    x = rt.from_numpy(xs[rt.rank()].copy()).requires_grad_()
    out = collective(x)
    np.testing.assert_allclose(out.detach().numpy(), of_all(xs)[rt.rank()], rtol=1e-12, atol=1e-12)
    (out * out * rt.from_numpy(weights[rt.rank()])).sum().backward()
    gradients = rt.allgather_object(x.grad.numpy())
    assert [g.shape for g in gradients] == [a.shape for a in xs]
    directions = [normal(a.shape, 7, r) for r, a in enumerate(xs)]
    eps = 1e-5
    ahead, behind = (total([a + s * eps * d for a, d in zip(xs, directions, strict=True)]) for s in (1, -1))
    analytic = sum((g * d).sum() for g, d in zip(gradients, directions, strict=True))
    assert analytic == pytest.approx((ahead - behind) / (2 * eps), rel=1e-6, abs=1e-6)
    # one rank's input alone: a gradient of the right sum but on the wrong rank would pass the above
    r = rt.size() - 1
    ahead, behind = (total([*xs[:r], xs[r] + s * eps * directions[r]]) for s in (1, -1))
    assert (gradients[r] * directions[r]).sum() == pytest.approx((ahead - behind) / (2 * eps), rel=1e-6, abs=1e-6)


def test_collectives_without_a_gradient():
    with pytest.raises(RuntimeError, match="gradient of reducescatter exists for Sum and Average, not for"):
        rt.reducescatter(rt.ones((4, 2)).requires_grad_(), rt.Max)
    out = rt.allreduce(rt.ones(3).requires_grad_(), rt.Max)
    with pytest.raises(RuntimeError, match="gradient of allreduce exists for Sum and Average, not for"):
        out.sum().backward()
    x = rt.ones(3)
    assert type(rt.allreduce(np.ones(3))) is np.ndarray and not rt.allreduce(x).requires_grad
    y = rt.ones(3).requires_grad_()
    z = (y * x).sum()
    assert rt.allreduce_(x, rt.Sum) is x and x.numpy()[0] == rt.size()
    with pytest.raises(RuntimeError, match="changed in place"):
        z.backward()
    pair = rt.grouped_allreduce([rt.ones(2), np.full(3, float(rt.rank()))], rt.Sum)
    assert isinstance(pair[0], rt.Tensor) and pair[1][0] == sum(range(rt.size()))
    assert rt.allreduce_async(rt.ones(2), rt.Sum).wait().numpy()[0] == rt.size()
