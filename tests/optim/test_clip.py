"""Clipping: the norm is that of all gradients as one vector, and parameters without one are left out."""

import math

import ml_dtypes
import numpy as np
import pytest

import ringtrain as rt
from ringtrain import nn, optim

from .conftest import normal, parameters, set_gradients


def gradients(params):
    return [None if p.grad is None else np.array(p.grad.numpy(), np.float64) for p in params]


def clipped(target, params, *arguments):
    before = gradients(params)
    total = optim.clip_grad_norm_(target, *arguments)
    return before, total, gradients(params)


@pytest.mark.parametrize("order", [2.0, 1.0, 3.0, math.inf, "inf"])
@pytest.mark.parametrize("max_norm", [0.0, 0.5, 1e3])
@pytest.mark.parametrize("of", ["optimizer", "parameters"])
def test_norm(order, max_norm, of):
    params = parameters()
    sgd = optim.SGD(params, lr=0.1)
    set_gradients(params, 0)
    params[2].grad = None
    before, total, after = clipped(sgd if of == "optimizer" else params, params, max_norm, order)
    exact = np.linalg.norm(np.concatenate([g.ravel() for g in before if g is not None]), float(order))
    assert total == pytest.approx(exact, rel=1e-13)
    for got, g in zip(after, before, strict=True):
        assert (got is None) == (g is None)
        if g is not None:
            np.testing.assert_allclose(got, g * min(1.0, max_norm / (exact + 1e-6)), rtol=1e-12)
    if max_norm == 1e3:
        assert all((a == b).all() for a, b in zip(after, before, strict=True) if a is not None)


def test_pytorch_agrees():
    torch = pytest.importorskip("torch")
    for order in (2.0, 1.0, math.inf):
        params = parameters()
        set_gradients(params, 0)
        others = [torch.zeros(p.shape, dtype=torch.float64, requires_grad=True) for p in params]
        for p, other in zip(params, others, strict=True):
            other.grad = torch.from_numpy(np.array(p.grad.numpy()))
        others = [other for other in others if other.numel()]
        total = torch.nn.utils.clip_grad_norm_(others, 0.7, order)
        assert optim.clip_grad_norm_(params, 0.7, order) == pytest.approx(float(total), rel=1e-13)
        for p, other in zip([p for p in params if p.size], others, strict=True):
            np.testing.assert_allclose(p.grad.numpy(), other.grad.numpy(), rtol=1e-12)


def test_each_group_by_itself():
    params = parameters()
    sgd = optim.SGD([{"params": params[:3]}, {"params": params[3:]}], lr=0.1)
    set_gradients(params, 0)
    for group in sgd.param_groups:
        optim.clip_grad_norm_(group["params"], 1.0)
    for part in (params[:3], params[3:]):
        norm = np.sqrt(sum((g**2).sum() for g in gradients(part)))
        assert norm == pytest.approx(1.0, rel=1e-5)


@pytest.mark.parametrize("dtype", [np.float16, ml_dtypes.bfloat16, np.float32])
def test_squares_do_not_overflow(dtype):
    p = nn.Parameter(rt.from_numpy(np.zeros(1000, dtype)))
    p.grad = np.full(1000, 3e4).astype(dtype)
    value = float(p.grad.numpy()[0])
    assert optim.clip_grad_norm_(p, 1.0) == pytest.approx(value * math.sqrt(1000), rel=1e-6)
    np.testing.assert_allclose(
        p.grad.numpy().astype(np.float64), 1 / math.sqrt(1000), rtol=2 * float(ml_dtypes.finfo(dtype).eps)
    )


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_what_is_not_finite(bad):
    params = parameters()
    set_gradients(params, 0)
    params[4].grad = np.full((1, 2, 3), bad)
    before = gradients(params)
    with pytest.raises(RuntimeError, match=r"the norm of the gradients is (nan|inf): that of gradient number 4"):
        optim.clip_grad_norm_(params, 1.0, error_if_nonfinite=True)
    for got, exact in zip(gradients(params), before, strict=True):
        np.testing.assert_array_equal(got, exact)
    assert not math.isfinite(optim.clip_grad_norm_(params, 1.0))


def test_by_value():
    params = parameters()
    set_gradients(params, 0)
    before = gradients(params)
    optim.clip_grad_value_(params, 0.3)
    for got, g in zip(gradients(params), before, strict=True):
        np.testing.assert_array_equal(got, np.clip(g, -0.3, 0.3))


def test_gradients_made_with_create_graph():
    p = nn.Parameter(rt.from_numpy(np.array([3.0, 4.0])))
    (p * p).sum().backward(create_graph=True)
    assert optim.clip_grad_norm_([p], 5.0) == 10.0
    np.testing.assert_allclose(p.grad.numpy(), [3.0, 4.0], rtol=1e-6)


def test_clipped_gradients_are_what_the_optimiser_takes():
    layer = nn.Linear(3, 2, dtype=np.float64)
    sgd = optim.SGD(layer.parameters(), lr=1.0)
    layer(rt.from_numpy(normal((5, 3), 1))).sum().backward()
    start = np.array(layer.weight.detach().numpy())
    total = optim.clip_grad_norm_(sgd, 0.1)
    grad = np.array(layer.weight.grad.numpy())
    sgd.step()
    assert total > 0.1
    np.testing.assert_allclose(layer.weight.detach().numpy(), start - grad, rtol=1e-14)


@pytest.mark.parametrize(
    "call, error, message",
    [
        (lambda p: optim.clip_grad_norm_(p, -1.0), ValueError, "max_norm must be >= 0; got -1.0"),
        (lambda p: optim.clip_grad_norm_(p, math.nan), ValueError, "max_norm must be >= 0; got nan"),
        (lambda p: optim.clip_grad_norm_(p, 1.0, 0.0), ValueError, "norm_type must be > 0"),
        (lambda p: optim.clip_grad_value_(p, -1.0), ValueError, "clip_value must be >= 0"),
        (lambda p: optim.clip_grad_value_(["w"], 1.0), TypeError, "number 0 is a str"),
    ],
)
def test_bad_arguments(call, error, message):
    with pytest.raises(error, match=message):
        call(parameters())
