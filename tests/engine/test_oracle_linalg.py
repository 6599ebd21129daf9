"""Linear algebra in PyTorch, where it is installed: values and gradients, and what is particular about them."""

import numpy as np
import pytest

import ringtrain as rt

torch = pytest.importorskip("torch")
from .test_oracle import compare  # noqa: E402

L = torch.linalg


def positive(x):
    return x @ x.swapaxes(-1, -2) + 1.0


def theirs_of(x, p):
    """PyTorch's cond, whose own backward fails for other norms than 2."""
    return L.cond(x, p) if p in (None, -2) else L.matrix_norm(x, p) * L.matrix_norm(L.inv(x), p)


# name, shapes, ours, theirs: of vectors and matrices of signs of their own, what these do not change
ROWS = [
    *[(n, [(2, 3, 3)], getattr(rt.linalg, n), getattr(L, n)) for n in ("inv", "det", "svdvals")],
    ("solve", [(2, 3, 3), (3, 2)], rt.linalg.solve, L.solve),
    ("pinv wide", [(3, 5)], rt.linalg.pinv, L.pinv),
    ("pinv tall", [(2, 5, 3)], rt.linalg.pinv, L.pinv),
    ("slogdet", [(2, 3, 3)], lambda x: rt.linalg.slogdet(x)[1], lambda x: L.slogdet(x)[1]),
    ("cholesky", [(2, 3, 5)], *[lambda x, f=f: f(positive(x)) for f in (rt.linalg.cholesky, L.cholesky)]),
    ("eigvalsh", [(2, 3, 5)], *[lambda x, f=f: f(positive(x)) for f in (rt.linalg.eigvalsh, L.eigvalsh)]),
    ("eigh", [(3, 5)], *[lambda x, f=f: f(positive(x))[1] ** 2 for f in (rt.linalg.eigh, L.eigh)]),
    *[(f"svd {s} {i}", [s], lambda x, i=i: rt.linalg.svd(x)[i] ** 2, lambda x, i=i: L.svd(x, False)[i] ** 2)
      for s in [(5, 3), (3, 5), (4, 4)] for i in (0, 2)],
    *[(f"qr {s} {i}", [s], lambda x, i=i: rt.linalg.qr(x)[i] ** 2, lambda x, i=i: L.qr(x)[i] ** 2)
      for s in [(5, 3), (2, 4, 4)] for i in (0, 1)],
    *[(f"power {n}", [(3, 3)], lambda x, n=n: rt.linalg.matrix_power(x, n), lambda x, n=n: L.matrix_power(x, n))
      for n in (3, -2)],
    *[(f"norm {o}", [(4, 3)], lambda x, o=o: rt.linalg.norm(x, o), lambda x, o=o: L.norm(x, o))
      for o in ("fro", "nuc", 1, -1, 2, -2, np.inf, -np.inf)],
    *[(f"vector norm {o}", [(4, 3)], lambda x, o=o: rt.linalg.norm(x, o, 1), lambda x, o=o: L.norm(x, o, 1))
      for o in (1, 2, 3, 0.5, -1, np.inf, -np.inf)],
    ("lstsq", [(2, 5, 3), (2, 5, 2)], lambda a, b: rt.linalg.lstsq(a, b)[0], lambda a, b: L.lstsq(a, b)[0]),
    *[(f"svd full {s} {i}", [s], lambda x, i=i: (rt.linalg.svd(x, True)[i] ** 2)[..., :3, :3],
       lambda x, i=i: (L.svd(x)[i] ** 2)[..., :3, :3]) for s in [(5, 3), (3, 5)] for i in (0, 2)],
    ("solve_triangular", [(3, 3), (3, 2)], *[
        lambda a, b, f=f: f(a, b, upper=True) for f in (rt.linalg.solve_triangular, L.solve_triangular)]),
    ("solve_triangular right", [(3, 3), (2, 3)], *[lambda a, b, f=f: f(
        a, b, upper=False, left=False, unitriangular=True) for f in (rt.linalg.solve_triangular, L.solve_triangular)]),
    ("cholesky_solve", [(3, 5), (3, 2)], lambda x, b: rt.linalg.cholesky_solve(b, rt.linalg.cholesky(positive(x))),
     lambda x, b: torch.cholesky_solve(b, L.cholesky(positive(x)))),
    ("logdet", [(2, 3, 5)], lambda x: rt.linalg.logdet(positive(x)), lambda x: torch.logdet(positive(x))),
    ("matrix_exp", [(2, 3, 3)], lambda x: rt.linalg.matrix_exp(x * 3.0), lambda x: L.matrix_exp(x * 3.0)),
    ("multi_dot", [(3, 7), (7, 2), (2, 5)], lambda *xs: rt.linalg.multi_dot(xs), lambda *xs: L.multi_dot(xs)),
    ("cross", [(2, 1, 3), (1, 4, 3)], rt.linalg.cross, L.cross),
    ("vecdot", [(2, 3), (2, 3)], rt.linalg.vecdot, L.vecdot),
    *[(f"cond {p}", [(3, 3)], lambda x, p=p: rt.linalg.cond(x, p), lambda x, p=p: theirs_of(x, p))
      for p in (None, -2, 1, "fro")],
    *[(f"cdist {p}", [(2, 5, 3), (4, 3)], lambda a, b, p=p: rt.cdist(a, b, p), lambda a, b, p=p: torch.cdist(a, b, p))
      for p in (1.0, 2.0, 3.0, np.inf)],
    ("pdist", [(5, 3)], rt.pdist, torch.nn.functional.pdist),
    ("kron", [(2, 3), (3, 2)], rt.kron, torch.kron),
    ("tensordot", [(2, 3, 4), (3, 4, 5)], rt.tensordot, torch.tensordot),
    ("trace", [(3, 3)], rt.trace, torch.trace),
    *[(f"einsum {e}", s, lambda *x, e=e: rt.einsum(e, *x), lambda *x, e=e: torch.einsum(e, *x)) for e, s in [
        ("...ij,...jk->...ik", [(2, 1, 3, 4), (5, 4, 2)]), ("...i,...i->...", [(1, 3), (5, 3)]), ("ii->i", [(3, 3)]),
        ("bii,bi->b", [(2, 3, 3), (2, 3)])]],
]  # fmt: skip


@pytest.mark.parametrize(("name", "shapes", "ours", "theirs"), ROWS, ids=[row[0] for row in ROWS])
def test_smooth(name, shapes, ours, theirs, rng):
    compare(ours, theirs, [rng.standard_normal(s) for s in shapes], 1e-9)


@pytest.mark.parametrize("order", [1, 2, 3, 1.5, np.inf, -np.inf])
def test_norms_of_zeros(order):
    x = np.array([[0.0, 0.0], [0.0, 3.0], [3.0, -3.0]])
    compare(lambda t: rt.linalg.norm(t, order, 1), lambda t: L.norm(t, order, 1), [x])


def test_the_gradient_of_a_determinant_that_is_zero():
    singular = np.array([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0], [5.0, 7.0, 9.0]])
    x = rt.from_numpy(singular).requires_grad_()
    rt.linalg.det(x).backward()
    minors = np.array([[np.linalg.det(np.delete(np.delete(singular, i, 0), j, 1)) for j in range(3)] for i in range(3)])
    signs = np.array([[1, -1, 1], [-1, 1, -1], [1, -1, 1]])
    np.testing.assert_allclose(x.grad.numpy(), minors * signs, atol=1e-12)
    zero = rt.from_numpy(np.zeros((3, 3))).requires_grad_()
    rt.linalg.det(zero).backward()
    assert zero.grad.numpy().tolist() == [[0] * 3] * 3


def test_wide_qr_is_differentiable(rng):
    """PyTorch has no gradient here; the table checks it by differences, this one that q r gives x back."""
    x = rt.from_numpy(rng.standard_normal((3, 5))).requires_grad_()
    q, r = rt.linalg.qr(x)
    head = rng.standard_normal((3, 5))
    (q @ r).backward(head)
    np.testing.assert_allclose(x.grad.numpy(), head, atol=1e-12)


def test_columns_beyond_the_first_have_no_gradient(rng):
    x = rt.from_numpy(rng.standard_normal((5, 3))).requires_grad_()
    u, s, vh = rt.linalg.svd(x, full_matrices=True)
    np.testing.assert_allclose((u[:, :3] * s @ vh).detach().numpy(), x.detach().numpy(), atol=1e-12)
    np.testing.assert_allclose((u.T @ u).detach().numpy(), np.eye(5), atol=1e-12)
    with pytest.raises(RuntimeError, match="columns of u or rows of vh beyond the first 3 are not unique"):
        u.sum().backward()


def test_ranks_below_the_full_one(rng):
    """pinv and lstsq cut where PyTorch and NumPy's lstsq do, in float32 too."""
    a = rng.standard_normal((6, 2)) @ rng.standard_normal((2, 4))
    for dtype, most in [(np.float64, 1e-12), (np.float32, 1e-4)]:
        b = rng.standard_normal((6, 3)).astype(dtype)
        x, residuals, rank, values = rt.linalg.lstsq(rt.from_numpy(a.astype(dtype)), rt.from_numpy(b))
        want = np.linalg.lstsq(a, b, None)
        np.testing.assert_allclose(x.numpy(), want[0], atol=most * 10)
        assert residuals.shape == (0,)
        assert int(rank.item()) == int(rt.linalg.matrix_rank(rt.from_numpy(a.astype(dtype))).item()) == 2
        np.testing.assert_allclose(values.numpy(), want[3], atol=most * 10)
        theirs = L.pinv(torch.from_numpy(a.astype(dtype)))
        np.testing.assert_allclose(rt.linalg.pinv(rt.from_numpy(a.astype(dtype))).numpy(), theirs.numpy(), atol=most)


def test_a_cut_of_ones_own(rng):
    q, r = np.linalg.qr(rng.standard_normal((4, 4)))[0], np.linalg.qr(rng.standard_normal((4, 4)))[0]
    a = q * [1.0, 0.5, 0.01, 1e-4] @ r
    for rcond, rank in [(1e-3, 3), (0.1, 2), (None, 4)]:
        t = rt.from_numpy(a)
        assert rt.linalg.matrix_rank(t, rcond).item() == rank
        np.testing.assert_allclose(rt.linalg.pinv(t, rcond=rcond).numpy(), np.linalg.pinv(a, rcond or 1e-15), rtol=1e-9)
        x, _, found, _ = rt.linalg.lstsq(t, rt.from_numpy(np.eye(4)), rcond)
        assert found.item() == rank
        np.testing.assert_allclose(x.numpy(), np.linalg.pinv(a, rcond or 1e-15), rtol=1e-9)


def test_distances_of_nothing():
    x = np.array([[0.0, 1.0], [0.0, 1.0], [2.0, 1.0]])
    compare(lambda t: rt.cdist(t, t), lambda t: torch.cdist(t, t, compute_mode="donot_use_mm_for_euclid_dist"), [x])


@pytest.mark.parametrize(("shapes", "message"), [
    ([(3, 2), (4, 2)], "lstsq: a .3, 2. and b .4, 2. do not fit"),
    ([(3, 2), (4,)], "lstsq: a .3, 2. and b .4,. do not fit"),
])  # fmt: skip
def test_sides_that_do_not_fit(shapes, message, rng):
    with pytest.raises(ValueError, match=message):
        rt.linalg.lstsq(*[rt.from_numpy(rng.standard_normal(s)) for s in shapes])
