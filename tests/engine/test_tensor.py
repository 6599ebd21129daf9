"""Tensor: making one, its memory, its Python face, and arrays on the left of an operator."""

import copy
import pickle
import subprocess
import sys

import ml_dtypes
import numpy as np
import pytest

import ringtrain as rt


def test_tensor_copies_and_picks_dtypes():
    source = np.arange(3, dtype=np.float32)
    t = rt.tensor(source)
    source[:] = 9
    assert t.tolist() == [0, 1, 2]
    assert rt.tensor([1.5, 2]).dtype == np.float32
    assert rt.tensor(np.ones(2)).dtype == np.float32
    assert rt.tensor(np.ones(2), dtype=np.float64).dtype == np.float64
    assert rt.tensor([1, 2]).dtype == np.int64
    assert rt.tensor([True]).dtype == np.bool_
    assert rt.tensor(3.0).shape == ()
    assert rt.tensor(np.float64(3)).dtype == np.float32
    assert rt.tensor([rt.tensor(1.0), 2.0]).tolist() == [1, 2]
    assert rt.sum([1, 2]).item() == 3
    assert rt.tensor(range(3)).tolist() == [0, 1, 2]
    assert rt.tensor([1.0], dtype=ml_dtypes.bfloat16).dtype.name == "bfloat16"
    again = rt.tensor(t.requires_grad_())
    assert not again.requires_grad
    assert not np.shares_memory(again.data, t.data)


@pytest.mark.parametrize("kind", ["array", "memory map", "memoryview", "bytearray"])
def test_tensor_never_shares(kind, tmp_path):
    values = np.arange(4, dtype=np.uint8)
    (tmp_path / "a").write_bytes(values.tobytes())
    source = {
        "array": values,
        "memory map": np.memmap(tmp_path / "a", np.uint8, "r+"),
        "memoryview": memoryview(bytearray(values)),
        "bytearray": np.frombuffer(bytearray(values), np.uint8),
    }[kind]
    t = rt.tensor(source)
    t[0] = 77
    assert source[0] == 0
    assert t.tolist() == [77, 1, 2, 3]


@pytest.mark.cpu
def test_from_numpy_shares():
    a = np.arange(3.0)
    t = rt.from_numpy(a)
    assert t.dtype == np.float64
    t[0] = 5
    assert a[0] == 5
    assert t.numpy() is a
    assert np.asarray(t) is a
    assert not np.shares_memory(np.array(t), a)
    assert np.asarray(t, np.float32).dtype == np.float32


def test_creation():
    assert rt.zeros((2, 3)).dtype == np.float32
    assert rt.ones(3, np.int64).tolist() == [1, 1, 1]
    assert rt.full((), 7.0).item() == 7
    like = rt.ones((2, 1), np.float64)
    assert (rt.zeros_like(like).dtype, rt.ones_like(like).shape) == (np.float64, (2, 1))
    assert rt.zeros((2,), device="meta").device == "meta"
    assert rt.arange(3).tolist() == [0, 1, 2]
    assert rt.arange(1, 7, 2).tolist() == [1, 3, 5]
    assert rt.arange(5, 0, -2).tolist() == [5, 3, 1]
    assert rt.allclose(rt.ones(2), np.ones(2) + 1e-7)
    assert not rt.allclose(rt.ones(2), rt.zeros(2))
    assert rt.one_hot(rt.tensor([[0, 2]]), 3).tolist() == [[[1, 0, 0], [0, 0, 1]]]
    assert rt.one_hot(2, 3).tolist() == [0, 0, 1]


@pytest.mark.cpu
def test_python_face():
    t = rt.tensor([[1.0, 2.0], [3.0, 4.0]])
    assert (t.shape, t.ndim, t.size, t.nbytes, len(t), t.device) == ((2, 2), 2, 4, 16, 2, "cpu")
    assert [row.tolist() for row in t] == [[1, 2], [3, 4]]
    assert float(t[0, 1]) == 2
    assert int(rt.tensor(3)) == 3
    assert [10, 20, 30][rt.tensor(1)] == 20
    assert bool(rt.tensor([0.0])) is False
    assert t.reshape(4).tolist() == t.reshape((4,)).tolist() == t.reshape(np.int64(4)).tolist() == t.view(4).tolist()
    assert t.reshape(2, 1, 2).transpose(2, 0, 1).shape == t.reshape([2, 1, 2]).transpose([2, 0, 1]).shape == (2, 2, 1)
    assert t.T.tolist() == t.transpose().tolist()
    assert abs(-t).tolist() == t.tolist()
    assert sum([t, t]).tolist() == (2 * t).tolist()
    assert t in {t}


@pytest.mark.cpu
def test_repr():
    t = rt.tensor([1.0, 2.0])
    assert repr(t) == "tensor([1., 2.])"
    assert repr(rt.ones(1, np.float64).requires_grad_()) == "tensor([1.], dtype=float64, requires_grad=True)"
    assert "grad_fn=exp" in repr(rt.exp(t.requires_grad_()))
    assert repr(rt.ones((2, 3), device="meta")) == "tensor(float32[2, 3], device='meta')"
    assert "bfloat16" in repr(rt.ones(2, ml_dtypes.bfloat16))


@pytest.mark.cpu
def test_comparisons_with_anything():
    t = rt.tensor([1, 2])
    assert (t == 1).tolist() == [True, False]
    assert (t != np.array([1, 3])).tolist() == [False, True]
    for other in (None, "one", object()):
        assert (t == other).tolist() == [False, False]
        assert (t != other).tolist() == [True, True]
    assert (rt.zeros(2, device="meta") == None).shape == (2,)  # noqa: E711
    assert (np.array([1, 3]) == t).tolist() == [True, False]
    assert (np.array([0, 3]) < t).tolist() == [True, False]


@pytest.mark.parametrize("left", [np.array([6.0, 8.0]), np.float64(6.0), 6, 6.0, rt.tensor([6.0, 8.0])], ids=repr)
def test_arrays_and_scalars_on_the_left(left):
    t = rt.from_numpy(np.array([2.0, 4.0])).requires_grad_()
    plain = t.detach().numpy()
    raw = left.numpy() if isinstance(left, rt.Tensor) else left
    for f in (
        lambda a, b: a + b,
        lambda a, b: a - b,
        lambda a, b: a * b,
        lambda a, b: a / b,
        lambda a, b: a**b,
        lambda a, b: a % b,
        lambda a, b: a // b,
        lambda a, b: a > b,
    ):
        got = f(left, t)
        assert type(got) is rt.Tensor
        np.testing.assert_allclose(got.detach().numpy(), f(raw, plain), rtol=1e-15)
    if isinstance(left, np.ndarray):
        assert (left @ t).item() == 44
        assert (np.ones((3, 2)) @ t).tolist() == [6, 6, 6]
        with pytest.raises(TypeError, match="Tensor"):
            left += t  # an array cannot take a graph in
    with pytest.raises(TypeError):
        np.exp(t)


def test_index_kinds(rng):
    a = rng.standard_normal((4, 5))
    t = rt.from_numpy(a)
    for index in (rt.tensor([1, 3]), rt.tensor(2), (slice(None), rt.tensor([0, 4])), t > 0, [True, False, True, True]):
        plain = tuple(i.numpy() if isinstance(i, rt.Tensor) else i for i in index) if type(index) is tuple else index
        plain = plain.numpy() if isinstance(plain, rt.Tensor) else plain
        np.testing.assert_array_equal(t[index].numpy(), a[plain])
    assert t[None, ..., 0].shape == (1, 4)
    assert t[()].shape == (4, 5)


def test_copies():
    p = rt.nn.Parameter(np.ones(2, np.float32))
    p.sum().backward()
    for other in (copy.deepcopy(p), pickle.loads(pickle.dumps(p))):
        assert type(other) is type(p)
        assert other.requires_grad
        assert other.tolist() == [1, 1]
        assert not np.shares_memory(other.data, p.data)
    half = rt.ones(2, ml_dtypes.bfloat16)
    assert pickle.loads(pickle.dumps(half)).dtype == half.dtype
    assert copy.deepcopy(rt.ones(2, device="meta")).shape == (2,)
    for bad in (copy.deepcopy, pickle.dumps):
        with pytest.raises(RuntimeError, match=r"only leaves.*detach"):
            bad(p * 2)


def test_methods_are_the_functions(rng):
    """Every NumPy-named method gives what the function of its name gives."""
    x = rt.from_numpy(rng.uniform(0.3, 0.9, (3, 4)))
    arguments = {
        **dict.fromkeys(("maximum", "minimum", "fmax", "fmin", "logical_and", "logical_or"), (0.5,)),
        **dict.fromkeys(("addcmul", "addcdiv"), (x, x)),
        **dict.fromkeys(("cumprod", "cummax", "cummin", "unstack"), (0,)),
        **dict.fromkeys(("topk", "roll", "tile", "repeat", "chunk"), (2,)),
        "quantile": (0.3,),
        "lerp": (x, 0.3),
        "take_along_axis": (np.array([[1], [0], [2]]), 1),
        **dict.fromkeys(("scatter", "scatter_add"), (1, np.array([[1], [0], [2]]), 5.0)),
        "scatter_reduce": (1, np.array([[1], [0], [2]]), x, "amax"),
        "index_add": (0, [2, 0], x[:2]),
        "index_copy": (0, [2, 0], x[:2]),
        "index_fill": (0, [2, 0], 7.0),
        "masked_scatter": (x > 0.5, x),
        **dict.fromkeys(("add", "subtract", "multiply", "divide", "power"), (0.5,)),
        **dict.fromkeys(("floor_divide", "remainder", "fmod"), (0.5,)),
        **dict.fromkeys(("equal", "not_equal", "less", "less_equal", "greater", "greater_equal", "isclose"), (0.5,)),
        **dict.fromkeys(("logical_xor", "copysign", "hypot", "xlogy", "arctan2", "float_power", "heaviside"), (x,)),
        **dict.fromkeys(("outer", "kron", "logaddexp", "logaddexp2", "isin", "allclose"), (x,)),
        **dict.fromkeys(("array_split", "hsplit", "kthvalue", "multinomial", "ldexp"), (2,)),
        **dict.fromkeys(("vsplit", "sliding_window_view"), (3,)),
        "unflatten": (1, (2, 2)),
        "nanquantile": (0.3,),
        "dot": (x.T,),
        "prelu": (rt.tensor([0.5], "f8"),),
        "searchsorted": (0.5,),
        "masked_fill": (x > 0.5, 1.0),
        "masked_select": (x > 0.5,),
        "moveaxis": (0, 1),
        "expand_dims": (0,),
        "cumsum": (0,),
        "clip": (0.4, 0.8),
        "astype": (np.float32,),
        "swapaxes": (0, 1),
        "broadcast_to": ((2, 3, 4),),
        "take": ([2, 0],),
        "matmul": (x.T,),
        "split": (3,),
    }
    whole = rt.from_numpy(np.array([[1, 2], [3, 4]]))
    others = dict.fromkeys(("bitwise_and", "bitwise_or", "bitwise_xor", "left_shift", "right_shift"), (whole, (whole,)))
    others |= {"bincount": (whole[0], ()), "invert": (whole, ()), "dsplit": (x[None], (2,)), "arccosh": (x + 1.0, ())}
    others |= {"searchsorted": (x[0], (0.5,))}
    from ringtrain.ops.names import OWN

    for name in OWN:
        f = getattr(rt, name, None) or getattr(rt.nn, name)
        t, more = others.get(name, (x, arguments.get(name, ())))
        rt.seed(0)
        a = getattr(t, name)(*more)
        rt.seed(0)
        b = f(t, *more)
        several = isinstance(a, (list, tuple))
        for p, q in zip(a if several else [a], b if several else [b], strict=True):
            np.testing.assert_array_equal(np.asarray(p), np.asarray(q), err_msg=name)


PYTORCHS = {  # arguments of methods that PyTorch has under the same name, with the same meaning
    **dict.fromkeys(("acos", "acosh", "asin", "asinh", "atan", "atanh", "abs", "neg", "clone", "t", "inverse"), ()),
    **dict.fromkeys(("pinverse", "det", "matrix_exp", "logdet", "contiguous"), ()),
    **dict.fromkeys(("double", "float", "half", "long", "int", "short", "char", "byte", "bool"), ()),
    **dict.fromkeys(("numel", "nelement", "dim", "is_floating_point", "is_contiguous", "cpu", "logit"), ()),
    **dict.fromkeys(("add", "sub", "mul", "div", "true_divide", "pow", "eq", "ne", "lt", "le", "gt", "ge"), (0.5,)),
    **dict.fromkeys(("atan2", "mm", "bmm", "matmul", "type_as", "expand_as", "reshape_as"), ("x",)),
    **dict.fromkeys(("add_", "sub_", "mul_", "div_", "fill_"), (0.5,)),
    **dict.fromkeys(("clamp_min", "clamp_max"), (0.5,)),
    **dict.fromkeys(("amax", "amin", "unbind", "unsqueeze"), (1,)),
    **dict.fromkeys(("copy_",), ("x",)),
    "zero_": (),
    "mv": ("row",),
    "clamp": (0.4, 0.6),
    "expand": ((2, 3, 3),),
    "movedim": (0, 1),
    "swapdims": (0, 1),
    "permute": (1, 0),
    "narrow": (1, 1, 2),
    "select": (1, -1),
    "gather": (1, "index"),
    "take_along_dim": ("index", 1),
    "index_select": (1, "order"),
    "index_copy": (1, "order", "two"),
    "index_fill": (1, "order", 2.0),
    "repeat_interleave": (2, 1),
    "tensor_split": (2, 1),
    "unfold": (1, 2, 1),
    "unflatten": (1, (3, 1)),
    "where": ("mask", "x"),
    "masked_fill": ("mask", 2.0),
    "masked_scatter": ("mask", "x"),
    "new_zeros": ((2, 3),),
    "new_ones": ((2,),),
    "new_full": ((2, 3), 1.5),
    "softmax": (1,),
    "log_softmax": (0,),
    "cumsum": (1,),
    "tril": (-1,),
    "roll": (1, 0),
    "flip": (1,),
    "lerp": ("x", 0.25),
    "matrix_power": (3,),
}


@pytest.mark.parametrize("name", PYTORCHS)
def test_methods_that_pytorch_has(name, rng):
    torch = pytest.importorskip("torch")
    values = {"x": rng.uniform(0.2, 0.9, (3, 3)), "row": rng.uniform(0.2, 0.9, 3), "two": rng.uniform(size=(3, 2))}
    values |= {"index": rng.integers(0, 3, (3, 2)), "order": np.array([2, 0]), "mask": rng.random((3, 3)) > 0.5}
    own = rng.uniform(1.1, 1.9, (3, 3)) if name == "acosh" else rng.uniform(0.2, 0.9, (3, 3))
    shape = (1, 3, 3) if name == "bmm" else (3, 3)
    results = []
    for make in (rt.from_numpy, torch.from_numpy):
        given = [make(values[a].reshape(shape) if name == "bmm" else values[a].copy()) if isinstance(a, str) else a
                 for a in PYTORCHS[name]]  # fmt: skip
        results.append(getattr(make(own.reshape(shape).copy()), name)(*given))
    ours, theirs = ([r] if not isinstance(r, (list, tuple)) else list(r) for r in results)
    assert len(ours) == len(theirs)
    for a, b in zip(ours, theirs, strict=True):
        if isinstance(a, rt.Tensor):
            assert str(a.dtype) == str(b.dtype).removeprefix("torch.")
            np.testing.assert_allclose(a.numpy(), b.numpy(), rtol=1e-10, atol=1e-13)
        else:
            assert a == b


def test_methods_that_change_memory_or_place():
    x = rt.from_numpy(np.arange(6.0).reshape(2, 3)).requires_grad_()
    turned = x.T
    assert x.contiguous() is x and not turned.is_contiguous() and turned.contiguous().is_contiguous()
    (turned.contiguous() * np.arange(6.0).reshape(3, 2)).sum().backward()
    np.testing.assert_array_equal(x.grad.numpy(), np.arange(6.0).reshape(3, 2).T)
    assert x.mT.shape == (3, 2) and rt.zeros((4, 2, 3)).mT.shape == (4, 3, 2)
    y = rt.zeros(3)
    assert y.fill_(2.0) is y and y.tolist() == [2, 2, 2] and y.add_(1).mul_(2).tolist() == [6, 6, 6]
    with pytest.raises(RuntimeError, match="leaf that requires a gradient cannot be written in place"):
        x.zero_()
    with pytest.raises(ValueError, match=r"narrow: 3 elements from 1 on of axis 1 of \(2, 3\)"):
        x.narrow(1, 1, 3)


def test_import_is_light():
    """What costs seconds to import is imported where it is used."""
    heavy = ("numba", "mpi4py", "rich", "scipy", "matplotlib")
    code = f"import sys, ringtrain; print(*(m for m in {heavy} if m in sys.modules))"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.split() == []
