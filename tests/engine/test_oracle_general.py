"""Running operations, order, rearrangements and scatters in PyTorch, where it is installed: values and gradients."""

import math

import numpy as np
import pytest

import ringtrain as rt

torch = pytest.importorskip("torch")
from .test_oracle import compare  # noqa: E402

INDEX = np.array([[3, 0, 1], [3, 1, 1]])
T_INDEX = torch.from_numpy(INDEX)
ORDER = np.array([2, 0, 2, 1])

COUNTS, SHARES = np.array([1, 2, 0, 1, 3, 1, 1]), np.array([0.5, 1.0, 2.0, 0.25, 1.5, 1.0, 0.1])


def holed(x):
    """x with some nans."""
    hole = np.arange(24).reshape(3, 8) % 5 == 2
    return rt.where(hole, math.nan, x) if isinstance(x, rt.Tensor) else torch.where(torch.from_numpy(hole), math.nan, x)


# name, shapes, ours, theirs
ROWS = [
    ("cumprod", [(3, 7)], lambda x: rt.cumprod(x, axis=1), lambda x: x.cumprod(1)),
    ("diff", [(3, 7)], lambda x: rt.diff(x, 2, 0), lambda x: torch.diff(x, 2, 0)),
    ("sort", [(3, 7)], lambda x: rt.sort(x, 1, True), lambda x: x.sort(1, descending=True)[0]),
    ("topk", [(3, 7)], lambda x: rt.topk(x, 3, 1)[0], lambda x: x.topk(3, 1)[0]),
    ("topk smallest", [(3, 7)], lambda x: rt.topk(x, 2, 0, False)[0], lambda x: x.topk(2, 0, largest=False)[0]),
    ("median", [(3, 7)], lambda x: rt.median(x, 1), lambda x: x.median(1)[0]),
    ("quantile", [(3, 7)], lambda x: rt.quantile(x, 0.3, 1), lambda x: x.quantile(0.3, 1)),
    ("roll", [(3, 7)], lambda x: rt.roll(x, (1, -2), (0, 1)), lambda x: x.roll((1, -2), (0, 1))),
    ("tile", [(3, 2)], lambda x: rt.tile(x, (2, 1, 2)), lambda x: x.tile((2, 1, 2))),
    ("repeat", [(3, 2)], lambda x: rt.repeat(x, 2, 1), lambda x: x.repeat_interleave(2, 1)),
    ("rot90", [(3, 2)], lambda x: rt.rot90(x, 3), lambda x: x.rot90(3)),
    ("chunk", [(3, 8)], lambda x: rt.chunk(x, 3, 1)[1], lambda x: x.chunk(3, 1)[1]),
    ("tril", [(2, 3, 4)], lambda x: rt.tril(x, -1), lambda x: x.tril(-1)),
    ("triu", [(2, 3, 4)], lambda x: rt.triu(x, 1), lambda x: x.triu(1)),
    ("diagonal", [(2, 3, 4)], lambda x: rt.diagonal(x, 1, -2, -1), lambda x: x.diagonal(1, -2, -1)),
    ("diag_embed", [(2, 3)], lambda x: rt.diag_embed(x, -1, 0, 2), lambda x: x.diag_embed(-1, 0, 2)),
    ("windows", [(2, 9)], lambda x: rt.sliding_window_view(x, 4, 1, 2), lambda x: x.unfold(1, 4, 2)),
    ("nansum", [(3, 4)], lambda x: rt.nansum(x, 1), lambda x: x.nansum(1)),
    ("scatter_add", [(4, 3), (2, 3)], *[
        lambda x, s, f=f, i=i: f(x, 0, i, s) for f, i in ((rt.scatter_add, INDEX), (torch.scatter_add, T_INDEX))]),
    ("index_add", [(3, 2), (4, 2)], lambda x, s: rt.index_add(x, 0, ORDER, s, 0.5), lambda x, s: x.index_add(
        0, torch.from_numpy(ORDER), s, alpha=0.5)),
    ("masked_fill", [(3, 4)], lambda x: rt.masked_fill(x, x.detach() > 0, 2.0), lambda x: x.masked_fill(x > 0, 2.0)),
    ("index_copy", [(3, 2), (2, 2)], lambda x, s: rt.index_copy(x, 0, ORDER[:2], s), lambda x, s: x.index_copy(
        0, torch.from_numpy(ORDER[:2]), s)),
    ("index_fill", [(3, 2)], lambda x: rt.index_fill(x, 0, ORDER, 2.0), lambda x: x.index_fill(
        0, torch.from_numpy(ORDER), 2.0)),
    ("masked_scatter", [(3, 4), (13,)], lambda x, s: rt.masked_scatter(x, x.detach() > 0, s), lambda x, s: (
        x.masked_scatter(x > 0, s))),
    ("cov", [(3, 7)], rt.cov, torch.cov),
    ("cov weighted", [(3, 7)], lambda x: rt.cov(x, ddof=1, fweights=COUNTS, aweights=SHARES), lambda x: torch.cov(
        x, fweights=torch.from_numpy(COUNTS), aweights=torch.from_numpy(SHARES))),
    ("cov counted", [(3, 7)], lambda x: rt.cov(x, ddof=0, fweights=COUNTS), lambda x: torch.cov(
        x, correction=0, fweights=torch.from_numpy(COUNTS))),
    ("cov of shares", [(2, 7), (7,)], *[lambda x, w, f=f: f(x, aweights=w * w) for f in (rt.cov, torch.cov)]),
    ("diff joined", [(3, 7), (3, 2), (3, 1)], lambda x, a, b: rt.diff(x, 2, 1, a, b), lambda x, a, b: torch.diff(
        x, 2, 1, a, b)),
    ("moveaxis", [(2, 3, 4, 5)], lambda x: rt.moveaxis(x, (3, 0, -3), (0, -1, 1)), lambda x: x.movedim(
        (3, 0, -3), (0, -1, 1))),
    ("flat index", [(3, 7)], lambda x: rt.take_along_axis(x, INDEX, None), lambda x: x.take_along_dim(T_INDEX)),
    ("expand", [(3, 1)], lambda x: x.expand(2, -1, 4), lambda x: x.expand(2, -1, 4)),
    ("expand new", [(2, 1)], lambda x: x.expand((0, 2, -1)), lambda x: x.expand((0, 2, -1))),
    ("clip tensors", [(3, 7), (7,), (3, 1)], rt.clip, torch.clamp),
    ("clip low", [(3, 7), (3, 7)], rt.clip, torch.clamp),
    ("clip high", [(3, 7), ()], lambda x, h: rt.clip(x, None, h), lambda x, h: torch.clamp(x, max=h)),
    ("cartesian of one", [(3,)], rt.cartesian_prod, torch.cartesian_prod),
    ("eigh upper", [(4, 4)], lambda x: rt.linalg.eigh(x, "U")[0], lambda x: torch.linalg.eigh(x, "U")[0]),
    ("eigvalsh upper", [(4, 4)], lambda x: rt.linalg.eigvalsh(x, UPLO="U"), lambda x: torch.linalg.eigvalsh(x, "U")),
    ("positive", [(3,)], lambda x: +x, lambda x: +x),
    *(
        (f"nanquantile {method}", [(3, 8)],
         lambda x, m=method: rt.nanquantile(holed(x), [0.0, 0.33, 0.8, 1.0], 1, method=m),
         lambda x, m=method: torch.nanquantile(
             holed(x), torch.tensor([0.0, 0.33, 0.8, 1.0], dtype=torch.float64), 1, interpolation=m))
        for method in ("linear", "lower", "higher", "nearest", "midpoint")
    ),
    ("corrcoef", [(3, 7)], rt.corrcoef, torch.corrcoef),
    ("kthvalue", [(3, 7)], lambda x: rt.kthvalue(x, 3, 1)[0], lambda x: x.kthvalue(3, 1)[0]),
    ("nanquantile", [(3, 7)], lambda x: rt.nanquantile(x, 0.3, 1), lambda x: x.nanquantile(0.3, 1)),
    ("logcumsumexp", [(3, 7)], lambda x: rt.logcumsumexp(x, 1), lambda x: x.logcumsumexp(1)),
    ("float_power", [(3, 7)], lambda x: rt.float_power(x * x, 1.5), lambda x: torch.float_power(x * x, 1.5)),
    ("logaddexp2", [(3, 1), (7,)], rt.logaddexp2, torch.logaddexp2),
    ("trapezoid", [(3, 7), (7,)], rt.trapezoid, torch.trapezoid),
    ("gather", [(4, 3)], lambda x: rt.take_along_axis(x, INDEX[:, :3], 0), lambda x: x.gather(0, T_INDEX)),
]  # fmt: skip


@pytest.mark.parametrize(("name", "shapes", "ours", "theirs"), ROWS, ids=[row[0] for row in ROWS])
def test_smooth(name, shapes, ours, theirs, rng):
    compare(ours, theirs, [rng.standard_normal(s) for s in shapes])


@pytest.mark.parametrize("axis", [0, 1])
@pytest.mark.parametrize("name", ["cummax", "cummin"])
def test_running_extremes_with_ties(name, axis, rng):
    x = rng.integers(0, 4, (13, 7)) * 1.0
    compare(lambda t: getattr(rt, name)(t, axis)[0], lambda t: getattr(torch, name)(t, axis)[0], [x])
    got = getattr(rt, name)(rt.from_numpy(x), axis)[1].numpy()
    np.testing.assert_array_equal(got, getattr(torch, name)(torch.from_numpy(x), axis)[1].numpy())
    x[2, 3] = np.nan
    values = getattr(rt, name)(rt.from_numpy(x), axis)[0]
    theirs = getattr(torch, name)(torch.from_numpy(x), axis)
    np.testing.assert_array_equal(values.numpy(), theirs[0].numpy())


@pytest.mark.parametrize("zeros", [[], [0], [3], [2, 5], [0, 1, 6]], ids=str)
def test_cumprod_with_zeros(zeros, rng):
    x = rng.standard_normal((2, 7))
    x[:, zeros] = 0
    compare(lambda t: rt.cumprod(t, axis=1), lambda t: t.cumprod(1), [x])
    assert rt.gradcheck(lambda t: rt.cumprod(t, axis=1), rt.from_numpy(x).requires_grad_())


@pytest.mark.parametrize("own", [True, False])
@pytest.mark.parametrize("how", ["sum", "prod", "mean", "amax", "amin"])
@pytest.mark.parametrize("ties", [True, False])
def test_scatter_reduce(how, own, ties, rng):
    draw = (lambda s: rng.integers(0, 3, s) * 1.0) if ties else rng.standard_normal
    compare(
        lambda x, s: rt.scatter_reduce(x, 0, INDEX, s, how, own),
        lambda x, s: x.scatter_reduce(0, T_INDEX, s, how, include_self=own),
        # ties hold zeros; PyTorch lets a value of x that does not count share the gradient where it is the extreme
        [draw((4, 3)) + (0.0 if own else 9.0), draw((2, 3))],
    )


def test_scatter_of_an_index_shorter_than_the_source(rng):
    index = np.array([[2, 0]])
    compare(
        lambda x, s: rt.scatter(x, 1, index, s),
        lambda x, s: x.scatter(1, torch.from_numpy(index), s[:1, :2]),
        [rng.standard_normal((2, 3)), rng.standard_normal((2, 3))],
    )


def test_where_nan_goes():
    """nan counts as largest, and makes quantiles nan."""
    x = np.array([[3.0, np.nan, 1.0], [2.0, 5.0, 4.0]])
    t = torch.from_numpy(x)
    for down in (False, True):
        np.testing.assert_array_equal(rt.sort(rt.from_numpy(x), 1, down).numpy(), t.sort(1, descending=down)[0].numpy())
    np.testing.assert_array_equal(rt.median(rt.from_numpy(x), 1).numpy(), [np.nan, 4.0])


def test_what_slices_and_masks_refuse():
    x = rt.from_numpy(np.zeros((3, 2)))
    with pytest.raises(ValueError, match="index_copy: a slice is named twice"):
        rt.index_copy(x, 0, [1, -2], rt.from_numpy(np.zeros((2, 2))))
    with pytest.raises(ValueError, match=r"the source is \(2, 2\); got \(2, 3\)"):
        rt.index_copy(x, 0, [1, 2], rt.from_numpy(np.zeros((2, 3))))
    with pytest.raises(IndexError, match="outside the 2 elements of axis 1"):
        rt.index_fill(x, 1, [2], 0.0)
    with pytest.raises(ValueError, match=r"the mask has 6 places, the source \(5,\) fewer"):
        rt.masked_scatter(x, np.ones((3, 2), bool), rt.from_numpy(np.zeros(5)))
    with pytest.raises(TypeError, match="the mask is of booleans"):
        rt.masked_scatter(x, np.ones((3, 2)), x)


@pytest.mark.parametrize("k", [0, 2, -1])
@pytest.mark.parametrize("m", [None, 2, 5])
def test_indices_of_triangles(k, m):
    for name in ("tril_indices", "triu_indices"):
        ours, theirs = getattr(rt, name)(3, k, m), getattr(torch, name)(3, m or 3, k)
        np.testing.assert_array_equal(np.stack([i.numpy() for i in ours]), theirs.numpy())
    assert (rt.float_power(2, rt.tensor([3])).dtype, rt.float_power(rt.tensor([2.0]), 3).item()) == (np.float64, 8)


def test_whole_numbers_and_half_precision_of_linear_algebra():
    whole = rt.from_numpy(np.array([[2, 1], [1, 3]]))
    powers = rt.linalg.vander(rt.from_numpy(np.array([5, 6], np.uint8)), 5)
    assert powers.dtype == np.int64 and powers.tolist() == np.vander([5, 6], 5).tolist()  # 6^4 is no uint8
    for f in (rt.linalg.matrix_exp, rt.linalg.pinv, rt.cov, rt.corrcoef):
        assert f(whole).dtype == np.float64
    half = rt.from_numpy(np.array([[2.0, 1.0], [1.0, 3.0]], np.float16))
    assert rt.linalg.matrix_exp(half).dtype == rt.linalg.pinv(half).dtype == np.float16
