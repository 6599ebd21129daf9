"""Every op of the table: values against NumPy, gradients against finite differences, dtypes, the shape rule."""

import copy
import pickle

import ml_dtypes
import numpy as np
import pytest

import ringtrain as rt
from ringtrain.backend.meta import MetaArray


def tensors(arrays, requires_grad=False):
    return [rt.from_numpy(a).requires_grad_(requires_grad) for a in arrays]


def scattered(a):
    """The same values in memory with gaps, backwards along the last axis."""
    if not a.ndim:
        return a
    room = np.full([2 * n + 1 for n in a.shape], np.nan, a.dtype)
    view = room[tuple(slice(1, 2 * n + 1, 2) for n in a.shape)][..., ::-1]
    view[...] = a
    return view


def test_every_public_op_has_a_row(rows, not_in_table):
    covered = {r.name.partition("/")[0] for r in rows} | not_in_table
    public = {
        n for module in (rt, rt.nn, rt.linalg) for n, v in vars(module).items() if callable(v) and not n.startswith("_")
    }
    public -= {n for n in public if n[0].isupper()}  # classes
    public -= set(vars(rt.distributed))  # tested under mpirun
    assert not public - covered, "give these ops a row in rows_*.py"


@pytest.mark.cpu
def test_every_public_op_says_what_it_does():
    for module in (rt, rt.nn, rt.linalg):
        for name, f in vars(module).items():
            if callable(f) and not name.startswith("_"):
                doc = f.__doc__
                assert doc, name
                assert isinstance(f, type) or doc != type(f).__doc__, name


@pytest.mark.cpu
def test_every_public_op_is_pickled_and_copied_as_itself():
    """So that modules with functions among their parts can be sent to another process, and stacked by copying."""
    for module in (rt, rt.nn, rt.linalg):
        for name, f in vars(module).items():
            if callable(f) and not name.startswith("_") and not hasattr(f, "__self__"):  # no methods of the world
                assert pickle.loads(pickle.dumps(f)) is f, name
                assert copy.deepcopy(f) is f, name


def test_values(row):
    for arrays in row.cases():
        got = row.f(*tensors(arrays))
        want = np.asarray(row.ref(*arrays))
        assert got.shape == want.shape, [a.shape for a in arrays]
        assert got.dtype == want.dtype or row.name == "astype"
        # a few roundings of operations whose results are of the size of their inputs
        np.testing.assert_allclose(got.numpy(), want, rtol=1e-6 if row.name == "astype" else 1e-12, atol=1e-13)


def test_values_of_scattered_memory(row):
    for arrays in row.cases():
        got = row.f(*tensors(map(scattered, arrays)))
        np.testing.assert_allclose(got.numpy(), row.f(*tensors(arrays)).numpy(), rtol=1e-13, atol=1e-14)


def test_gradients(grad_row):
    if grad_row.name == "astype":
        return  # its float32 is too coarse for finite differences; test_dtypes has it
    for arrays in grad_row.cases():
        assert rt.gradcheck(grad_row.f, *tensors(arrays, requires_grad=True))


def test_gradients_of_one_input_at_a_time(grad_row):
    """Each input alone wants a gradient: the others' vjps are left out, and so is what they would save."""
    for arrays in grad_row.cases():
        full = tensors(arrays, requires_grad=True)
        grad_row.f(*full).sum().backward()
        for k in range(len(arrays)):
            inputs = tensors(arrays)
            inputs[k].requires_grad_()
            out = grad_row.f(*inputs)
            if not out.requires_grad:
                assert full[k].grad is None
                continue
            out.sum().backward()
            np.testing.assert_array_equal(inputs[k].grad.numpy(), full[k].grad.numpy())
            assert all(t.grad is None for i, t in enumerate(inputs) if i != k)


def test_first_gradients_agree_with_those_under_create_graph(grad_row):
    """The same vjp on arrays and on tensors; for a fused op its kernel and its composed form."""
    for arrays in grad_row.cases():
        a, b = tensors(map(scattered, arrays), True), tensors(arrays, True)
        grad_row.f(*a).sum().backward()
        grad_row.f(*b).sum().backward(create_graph=True)
        for x, y in zip(a, b, strict=True):
            if x.grad is None:
                assert y.grad is None
                continue
            assert y.grad.shape == y.shape
            np.testing.assert_allclose(x.grad.numpy(), y.grad.detach().numpy(), rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize("dtype", [np.float64, np.float32, np.float16, ml_dtypes.bfloat16], ids=lambda d: d.__name__)
def test_dtypes_and_the_shape_rule(row, dtype):
    """On meta tensors an op gives the shape and dtype that it gives on values; gradients have their input's dtype."""
    for arrays in row.cases(dtype):
        inputs = tensors(arrays, row.grad)
        real = row.f(*inputs)
        meta = row.f(*(rt.Tensor(MetaArray(a.shape, dtype)) for a in arrays))
        assert meta.device == "meta"
        assert (meta.shape, meta.dtype) == (real.shape, real.dtype)
        if not row.grad:
            continue
        if row.name != "astype":
            assert real.dtype == dtype
        real.backward(np.ones(real.shape, real.dtype))
        for t in inputs:
            if t.grad is not None:
                assert (t.grad.shape, t.grad.dtype) == (t.shape, dtype)


@pytest.mark.parametrize("dtype", [np.int32, np.int64, np.uint8, np.bool_], ids=lambda d: d.__name__)
def test_shape_rule_of_integers(row, dtype):
    if row.name == "sign" and dtype is np.bool_:
        return  # NumPy refuses it, CuPy does not
    for arrays in row.cases():
        arrays = [(abs(a) + 1).astype(dtype) for a in arrays]
        try:
            with np.errstate(all="ignore"):
                real = row.f(*tensors(arrays))
        except (TypeError, ValueError):
            return  # not for these
        meta = row.f(*(rt.Tensor(MetaArray(a.shape, dtype)) for a in arrays))
        assert (meta.shape, meta.dtype) == (real.shape, real.dtype)


def test_float32_is_close_to_float64(grad_row):
    for arrays in grad_row.cases():
        wide = tensors(arrays, True)
        narrow = tensors([a.astype(np.float32) for a in arrays], True)
        a, b = grad_row.f(*wide), grad_row.f(*narrow)
        a.sum().backward()
        b.sum().backward()
        np.testing.assert_allclose(b.detach().numpy(), a.detach().numpy(), rtol=1e-4, atol=1e-5)
        for x, y in zip(wide, narrow, strict=True):
            if x.grad is not None:
                np.testing.assert_allclose(y.grad.numpy(), x.grad.numpy(), rtol=1e-3, atol=1e-4)
