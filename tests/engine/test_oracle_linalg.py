"""Linear algebra in PyTorch, where it is installed: values and gradients, and what is particular about them."""

import numpy as np
import pytest

import ringtrain as rt

torch = pytest.importorskip("torch")
from .test_oracle import compare  # noqa: E402

L = torch.linalg


def positive(x):
    return x @ x.swapaxes(-1, -2) + 1.0


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
