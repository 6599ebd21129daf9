"""Dtypes: NumPy 2's promotion, gradients in their input's dtype, 16-bit floats accumulated in float32."""

import ml_dtypes
import numpy as np
import pytest

import ringtrain as rt

BF16 = np.dtype(ml_dtypes.bfloat16)
FLOATS = [np.dtype(np.float64), np.dtype(np.float32), np.dtype(np.float16), BF16]
HALVES = FLOATS[2:]
OPERATORS = [
    lambda a, b: a + b,
    lambda a, b: a - b,
    lambda a, b: a * b,
    lambda a, b: a / b,
    lambda a, b: a**b,
    lambda a, b: a % b,
    lambda a, b: a // b,
    rt.maximum,
    rt.minimum,
    lambda a, b: rt.where(np.array([True, False]), a, b),
]


@pytest.mark.parametrize("dtype", FLOATS, ids=str)
def test_python_scalars_are_weak(dtype):
    x = rt.ones(2, dtype)
    for f in OPERATORS:
        for scalar in (2, 2.5):
            assert f(x, scalar).dtype == dtype
            assert f(scalar, x).dtype == dtype
    assert (x > 0.5).dtype == np.bool_
    for f in (rt.sigmoid, rt.softplus, rt.nn.relu, rt.reciprocal, rt.erf, rt.nn.gelu, rt.softmax, rt.logsumexp):
        assert f(x).dtype == dtype
    assert rt.clip(x, 0.5, 2).dtype == dtype
    assert x.mean().dtype == x.var().dtype == x.norm().dtype == dtype


def test_arrays_and_numpy_scalars_are_not():
    x = rt.ones(2, np.float32)
    for other in (np.ones(2), np.float64(1), rt.ones((), np.float64)):
        assert (x * other).dtype == np.float64
        assert (other * x).dtype == np.float64
    assert (x * np.ones(2, np.int64)).dtype == np.float64
    assert (x * np.ones(2, np.int16)).dtype == np.float32
    assert (rt.ones(2, np.float16) + x).dtype == np.float32
    assert (rt.ones(2, BF16) + x).dtype == np.float32
    assert (rt.tensor([1, 2]) / 2).dtype == np.float64
    assert (rt.tensor([1, 2]) + True).dtype == np.int64


def test_gradients_come_back_in_their_inputs_dtype():
    x = rt.ones(2, np.float32).requires_grad_()
    y = rt.from_numpy(np.array([3.0, 5.0])).requires_grad_()
    h = rt.ones(2, np.float16).requires_grad_()
    out = x * y * h
    assert out.dtype == np.float64
    out.sum().backward()
    assert [t.grad.dtype for t in (x, y, h)] == [np.float32, np.float64, np.float16]
    assert x.grad.tolist() == [3, 5]
    for t in rt.grad((x * y * h).sum(), [x, y, h], create_graph=True):
        assert t.requires_grad
    (gx,) = rt.grad((x * y).sum(), [x], create_graph=True)
    assert gx.dtype == np.float32
    assert rt.grad(gx.sum(), y).dtype == np.float64


@pytest.mark.parametrize("dtype", HALVES, ids=str)
def test_sums_of_16_bits_accumulate_in_float32(dtype):
    """4097 ones: alone the sum would stop at 256 in bfloat16 and at 2048 in float16."""
    ones = rt.ones(4096, dtype)
    assert ones.sum().item() == 4096
    assert ones.mean().item() == 1
    assert ones.cumsum(axis=0)[-1].item() == 4096
    assert ones.var().item() == 0
    assert rt.softmax(ones).tolist()[0] == 1 / 4096
    assert abs(rt.logsumexp(ones).item() - (1 + np.log(4096))) < 0.04
    assert rt.matmul(ones, ones).item() == 4096
    assert rt.einsum("i,i->", ones, ones).item() == 4096
    assert rt.nn.linear(ones.reshape(1, -1), ones.reshape(1, -1)).item() == 4096


@pytest.mark.parametrize("dtype", HALVES, ids=str)
def test_means_do_not_overflow_on_the_way(dtype):
    big = rt.full(4096, 2.0**14, dtype)
    assert big.mean().item() == 2.0**14
    assert big.var().item() == 0
    assert rt.full(4, 2.0**14, dtype).norm().item() == 2.0**15


@pytest.mark.parametrize("dtype", HALVES, ids=str)
def test_gradients_of_16_bits_accumulate_in_float32(dtype):
    table = rt.ones((3, 1), dtype).requires_grad_()
    table[np.zeros(4096, int)].sum().backward()
    assert table.grad.tolist() == [[4096], [0], [0]]
    assert table.grad.dtype == dtype
    bias = rt.ones(1, dtype).requires_grad_()
    (rt.zeros((4096, 1), dtype) + bias).sum().backward()
    assert bias.grad.tolist() == [4096]
    a, b = rt.ones((1, 1), dtype).requires_grad_(), rt.ones((1, 4096), dtype).requires_grad_()
    rt.matmul(a, b).sum().backward()
    assert a.grad.tolist() == [[4096]]
    x = rt.zeros((1, 4096), dtype).requires_grad_()
    rt.log_softmax(x)[0].backward(np.ones(4096, dtype))
    np.testing.assert_allclose(x.grad.numpy().astype(float), 0, atol=2.0**-7)  # 1 - 4096 / 4096
    c = rt.ones((1, 1), dtype).requires_grad_()
    rt.einsum("ij,jk->", c, b).backward()
    assert c.grad.tolist() == [[4096]]


@pytest.mark.parametrize("dtype", HALVES, ids=str)
def test_products_of_16_bits_are_rounded_once(dtype, rng):
    a, b = (rng.standard_normal(s).astype(dtype) for s in [(13, 17), (17, 5)])
    want = (a.astype(np.float32) @ b.astype(np.float32)).astype(dtype)
    got = rt.matmul(rt.from_numpy(a), rt.from_numpy(b))
    assert got.dtype == dtype
    np.testing.assert_array_equal(got.numpy(), want)
    exact = a.astype(np.float64) @ b.astype(np.float64)
    eps = float(ml_dtypes.finfo(dtype).eps)
    # half an ulp of the result, and the float32 sum of 17 products
    assert (abs(want.astype(np.float64) - exact) <= eps / 2 * abs(exact) + 17 * 2.0**-24 * (abs(a) @ abs(b) + 1)).all()


@pytest.mark.parametrize("dtype", FLOATS, ids=str)
def test_astype_and_its_gradient(dtype):
    x = rt.from_numpy(np.array([1.5, 2.5], np.float32)).requires_grad_()
    y = x.astype(dtype)
    assert y.dtype == dtype
    (y * y).sum().backward()
    assert x.grad.dtype == np.float32
    assert x.grad.tolist() == [3, 5]
    back = rt.ones(2, dtype).astype(np.float32)
    assert back.dtype == np.float32
    assert x.astype(np.float32) is x
    assert x.to(np.float64).dtype == np.float64


def test_integers():
    x = rt.tensor([1, 2, 4])
    assert x.mean().dtype == np.float64
    assert x.mean().item() == 7 / 3
    assert x.astype(np.int32).mean().dtype == np.float32
    assert x.astype(np.int32).sum().dtype == np.int64
    assert rt.exp(x).dtype == np.float64
    np.testing.assert_allclose(rt.erf(x).numpy()[0], 0.8427007929497149, rtol=1e-15)
    assert rt.erf(0.0).item() == 0.0
    np.testing.assert_allclose(rt.sigmoid(x.astype(np.uint8)).numpy()[0], 1 / (1 + np.exp(-1)), rtol=1e-3)
    assert rt.nn.relu(rt.tensor([-1, 2])).tolist() == [0, 2]
    assert (x % 2).tolist() == [1, 0, 0]
    assert (x & 1).tolist() == [1, 0, 0]
    assert (~(x > 1)).tolist() == [True, False, False]


def test_gradient_of_the_remainder_is_consistent_with_its_value():
    """1.0 % 0.1 is just below 0.1: NumPy counts 9 whole parts, though 1.0 / 0.1 rounds to 10."""
    a, b = (rt.from_numpy(np.array([v])).requires_grad_() for v in (1.0, 0.1))
    r = a % b
    r.sum().backward()
    assert b.grad.item() == -np.floor_divide(1.0, 0.1) == -9
    np.testing.assert_allclose(r.item(), 1.0 + b.grad.item() * 0.1, rtol=1e-12)


def test_convolution_sums_16_bits_in_float32():
    x, w = rt.ones((1, 64, 8, 8), dtype=np.float16), rt.ones((1, 64, 8, 8), dtype=np.float16)
    out = rt.nn.conv2d(x, w)
    assert out.dtype == np.float16 and out.item() == 4096


def test_batch_norm_of_16_bits_does_not_overflow():
    x = rt.from_numpy(np.array([[300.0], [-300.0]], np.float16))
    norm = rt.nn.BatchNorm(1)
    out = norm(x).detach()
    assert out.dtype == np.float16
    np.testing.assert_allclose(out.numpy(), [[1], [-1]], rtol=1e-3)
    assert np.isfinite(norm.running_var.numpy()).all()


def test_logistic_loss_has_its_gradient_at_zero():
    logits = rt.tensor([0.0, 0.0], requires_grad=True)
    rt.nn.binary_cross_entropy_with_logits(logits, np.array([0.0, 1.0], np.float32), reduction="sum").backward()
    np.testing.assert_array_equal(logits.grad.numpy(), [0.5, -0.5])


def test_an_option_that_an_op_lacks_is_named():
    with pytest.raises(TypeError, match=r"softmax has no option \['dim'\]; it has \['axis'\]"):
        rt.softmax(rt.ones((2, 2)), dim=1)
