"""Ops on tensors, one file a family: each op with its vjps and its shape rule side by side."""

from . import conv, create, elementwise, index, linalg, loss, methods, norm, pool, reduce, shape

__all__ = [
    "conv",
    "create",
    "elementwise",
    "index",
    "linalg",
    "loss",
    "methods",
    "norm",
    "pool",
    "reduce",
    "shape",
]
