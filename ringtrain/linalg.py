"""Linear algebra under NumPy's and PyTorch's name: `rt.linalg.solve`. Products (matmul, einsum) are in `rt` itself."""

from .ops.decompose import cholesky, eigh, eigvalsh, norm, qr, svd, svdvals
from .ops.solve import det, inv, matrix_power, pinv, slogdet, solve

__all__ = [
    "cholesky",
    "det",
    "eigh",
    "eigvalsh",
    "inv",
    "matrix_power",
    "norm",
    "pinv",
    "qr",
    "slogdet",
    "solve",
    "svd",
    "svdvals",
]
