"""Linear algebra under NumPy's and PyTorch's name: `rt.linalg.solve`. Products (matmul, einsum) are in `rt` itself."""

from .ops.decompose import cholesky, eigh, eigvalsh, norm, qr, svd, svdvals
from .ops.equations import (
    cholesky_solve,
    cond,
    cross,
    logdet,
    lstsq,
    matrix_exp,
    matrix_rank,
    multi_dot,
    solve_triangular,
    vander,
    vecdot,
)
from .ops.norms import vector_norm
from .ops.solve import det, inv, matrix_power, pinv, slogdet, solve

__all__ = [
    "cholesky",
    "cholesky_solve",
    "cond",
    "cross",
    "det",
    "eigh",
    "eigvalsh",
    "inv",
    "logdet",
    "lstsq",
    "matrix_exp",
    "matrix_power",
    "matrix_rank",
    "multi_dot",
    "norm",
    "pinv",
    "qr",
    "slogdet",
    "solve",
    "solve_triangular",
    "svd",
    "svdvals",
    "vander",
    "vecdot",
    "vector_norm",
]
