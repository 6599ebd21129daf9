"""Attention: the kernel against the composed form, that against NumPy, both against PyTorch where it is installed."""

import math
import tracemalloc

import ml_dtypes
import numpy as np
import pytest

import ringtrain as rt
from ringtrain import nn
from ringtrain.backend import cpu_attention
from ringtrain.backend.numpy_ import BACKEND


def made(*shape, seed=0, dtype="f8"):
    return np.random.default_rng(seed).normal(size=shape).astype(dtype)


def tensor(x):
    return rt.tensor(x, dtype=x.dtype, requires_grad=True)


def reference(q, k, v, mask=None, causal=False, scale=None):
    """In the plainest NumPy, one head at a time."""
    groups = q.shape[1] // k.shape[1]
    out = np.zeros((*q.shape[:-1], v.shape[-1]))
    shape = (*q.shape[:-1], k.shape[-2])
    whole = None if mask is None else np.broadcast_to(mask, shape)
    for b in range(q.shape[0]):
        for h in range(q.shape[1]):
            scores = q[b, h] @ k[b, h // groups].T * (scale or 1 / math.sqrt(q.shape[-1]))
            if whole is not None:
                scores = np.where(whole[b, h], scores, -np.inf) if whole.dtype == bool else scores + whole[b, h]
            if causal:
                scores = np.where(np.tri(*scores.shape, dtype=bool), scores, -np.inf)
            for row, values in enumerate(scores):
                if np.isfinite(values).any():
                    e = np.exp(values - values.max())
                    out[b, h, row] = e / e.sum() @ v[b, h // groups]
    return out


CASES = {
    "plain": {"shape": (2, 3, 13, 5), "kv": (3, 13, 5, 5)},
    "causal": {"shape": (2, 3, 13, 5), "kv": (3, 13, 5, 5), "causal": True},
    "causal, more keys": {"shape": (1, 2, 7, 4), "kv": (2, 11, 4, 6), "causal": True},
    "causal, fewer keys": {"shape": (1, 2, 11, 4), "kv": (2, 7, 4, 6), "causal": True},
    "other lengths, scale": {"shape": (2, 2, 17, 5), "kv": (2, 6, 5, 3), "scale": 0.3},
    "grouped heads": {"shape": (2, 6, 9, 4), "kv": (2, 9, 4, 4), "causal": True},
    "one key head": {"shape": (2, 4, 9, 4), "kv": (1, 9, 4, 4)},
    "bool mask": {"shape": (2, 4, 9, 4), "kv": (2, 8, 4, 4), "mask": made(9, 8, seed=9) > -0.5},
    "bool mask a batch": {"shape": (2, 4, 9, 4), "kv": (2, 8, 4, 4), "mask": made(2, 1, 1, 8, seed=9) > 0},
    "float mask a head": {"shape": (2, 4, 9, 4), "kv": (2, 8, 4, 4), "mask": made(4, 9, 8, seed=9)},
    "float mask whole": {"shape": (2, 4, 9, 4), "kv": (2, 8, 4, 4), "mask": made(2, 4, 9, 8, seed=9)},
    "bool mask of keys": {"shape": (3, 4, 9, 4), "kv": (2, 8, 4, 4), "mask": made(8, seed=9) > -0.5},
    "float mask of keys": {"shape": (3, 4, 9, 4), "kv": (2, 8, 4, 4), "mask": made(8, seed=9)},
    "nothing to look at": {"shape": (1, 2, 3, 4), "kv": (2, 5, 4, 4), "mask": np.arange(15).reshape(3, 5) > 4},
}
EACH = pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())


def arrays(case, dtype="f8"):
    b = case["shape"][0]
    kv, s, d, e = case["kv"]
    return (
        made(*case["shape"], dtype=dtype),
        made(b, kv, s, d, seed=1, dtype=dtype),
        made(b, kv, s, e, seed=2, dtype=dtype),
    )


def options(case):
    return {"attn_mask": case.get("mask"), "is_causal": case.get("causal", False), "scale": case.get("scale")}


@pytest.fixture(params=["composed", "kernel", "some queries at a time", "some samples at a time"])
def way(request, monkeypatch):
    if request.param == "composed":
        monkeypatch.setitem(BACKEND.kernels, "attention", None)
    if request.param == "some queries at a time":
        monkeypatch.setattr(cpu_attention, "AT_ONCE", 30)
        monkeypatch.setattr(cpu_attention, "_LEAST", 2)
    if request.param == "some samples at a time":
        monkeypatch.setattr(cpu_attention, "AT_ONCE", 600)


@EACH
def test_values(way, case):
    q, k, v = arrays(case)
    found = nn.scaled_dot_product_attention(*map(rt.from_numpy, (q, k, v)), **options(case)).numpy()
    expected = reference(q, k, v, case.get("mask"), case.get("causal"), case.get("scale"))
    np.testing.assert_allclose(found, expected, rtol=1e-12, atol=1e-13)


@EACH
def test_gradients(way, case):
    inputs = [tensor(x) for x in arrays(case)]
    mask = case.get("mask")
    if mask is not None and mask.dtype != bool:
        inputs.append(tensor(mask))
    rest = options(case)

    def f(q, k, v, *masks):
        return nn.scaled_dot_product_attention(q, k, v, **(rest | ({"attn_mask": masks[0]} if masks else {})))

    rt.gradcheck(f, *inputs)


@EACH
def test_in_float32_and_without_data(way, case):
    q, k, v = arrays(case, "f4")
    found = nn.scaled_dot_product_attention(*map(rt.from_numpy, (q, k, v)), **options(case))
    assert found.dtype == np.float32
    np.testing.assert_allclose(
        found.numpy(), reference(q, k, v, case.get("mask"), case.get("causal"), case.get("scale")), rtol=1e-4, atol=1e-5
    )
    shapes = [rt.zeros(x.shape, device="meta") for x in (q, k, v)]
    if case.get("mask") is None:
        assert nn.scaled_dot_product_attention(*shapes, **options(case)).shape == found.shape


@EACH
def test_equals_pytorch(way, case):
    torch = pytest.importorskip("torch")
    if case is CASES["nothing to look at"]:
        pytest.skip("PyTorch gives NaN")
    inputs = arrays(case)
    ours = [tensor(x) for x in inputs]
    theirs = [torch.tensor(x, requires_grad=True) for x in inputs]
    out = nn.scaled_dot_product_attention(*ours, **options(case))
    more = options(case)
    if more["attn_mask"] is not None:
        more["attn_mask"] = torch.tensor(np.atleast_2d(more["attn_mask"]))  # it takes no fewer axes
    wanted = torch.nn.functional.scaled_dot_product_attention(*theirs, enable_gqa=True, **more)
    np.testing.assert_allclose(out.detach().numpy(), wanted.detach().numpy(), rtol=1e-10, atol=1e-12)
    head = made(*out.shape, seed=5)
    out.backward(rt.from_numpy(head))
    wanted.backward(torch.tensor(head))
    for mine, other in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(mine.grad.numpy(), other.grad.numpy(), rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("dtype", ["float16", ml_dtypes.bfloat16])
def test_sixteen_bits(dtype):
    q, k, v = (tensor(x).astype(dtype) for x in arrays(CASES["causal"], "f4"))
    out = nn.scaled_dot_product_attention(q, k, v, is_causal=True)
    assert out.dtype == q.dtype
    exact = reference(*(x.detach().astype(np.float64).numpy() for x in (q, k, v)), causal=True)
    np.testing.assert_allclose(out.detach().astype(np.float64).numpy(), exact, atol=0.05)


@pytest.mark.cpu
def test_memory_does_not_grow_with_the_square_of_the_length():
    """2,048 queries and keys of 8 heads: all weights would take 128 MiB."""
    inputs = [rt.tensor(made(1, 8, 2048, 16, seed=i, dtype="f4"), requires_grad=True) for i in range(3)]
    tracemalloc.start()
    nn.scaled_dot_product_attention(*inputs, is_causal=True).sum().backward()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 64 << 20


@pytest.mark.cpu
def test_weights_are_not_kept_for_backward():
    """Of 8 heads of 256 queries and keys they are 2 MiB, the output is 128 KiB."""
    inputs = [rt.tensor(made(1, 8, 256, 16, seed=i, dtype="f4"), requires_grad=True) for i in range(3)]
    nn.scaled_dot_product_attention(*inputs)
    tracemalloc.start()
    out = nn.scaled_dot_product_attention(*inputs)
    kept = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    assert out.shape == (1, 8, 256, 16) and kept < 256 << 10


@pytest.mark.cpu
def test_heads_go_back_where_the_queries_had_them_without_a_copy():
    whole = [rt.from_numpy(made(2, 13, 6, 4, seed=i)) for i in range(3)]  # (B, T, H, D)
    out = nn.scaled_dot_product_attention(*(x.swapaxes(1, 2) for x in whole))
    joined = out.swapaxes(1, 2).reshape(2, 13, 24)
    assert np.shares_memory(out.numpy(), joined.numpy())


@pytest.mark.parametrize(
    ("shapes", "message"),
    [
        (((2, 4, 5, 8), (2, 3, 5, 8), (2, 3, 5, 8)), "4 query heads cannot share 3 key heads"),
        (((2, 4, 5, 8), (2, 4, 5, 7), (2, 4, 5, 8)), "do not fit"),
        (((2, 4, 5, 8), (2, 4, 5, 8), (2, 4, 6, 8)), "do not fit"),
        (((5, 8), (1, 5, 8), (5, 8)), "as many axes"),
    ],
)
def test_shapes_that_do_not_fit(shapes, message):
    with pytest.raises(ValueError, match=message):
        nn.scaled_dot_product_attention(*(rt.zeros(shape) for shape in shapes))


def test_masks_that_do_not_fit():
    q = rt.zeros((2, 4, 5, 8))
    with pytest.raises(ValueError, match=r"attn_mask \(5, 6\) does not broadcast"):
        nn.scaled_dot_product_attention(q, q, q, attn_mask=np.ones((5, 6), bool))
    with pytest.raises(TypeError, match="bool or float"):
        nn.scaled_dot_product_attention(q, q, q, attn_mask=np.ones((5, 5), int))


@pytest.mark.parametrize("dtype", ["float16", ml_dtypes.bfloat16])
def test_a_row_with_nothing_to_look_at_gives_zeros_in_sixteen_bits_too(dtype):
    case = CASES["nothing to look at"]
    q, k, v = (rt.from_numpy(x).astype(dtype) for x in arrays(case))
    out = nn.scaled_dot_product_attention(q, k, v, **options(case)).astype(np.float64).numpy()
    assert (out[:, :, 0] == 0).all() and (out[:, :, 1:] != 0).any()
