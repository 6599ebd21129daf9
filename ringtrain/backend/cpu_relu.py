"""ReLU on the CPU: one compiled pass each way, over memory of any axis order."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np

from .jit import jit
from .layout import like


@cache
def _kernels() -> tuple[Any, Any]:
    @jit
    def forward(x, out):
        zero = x.dtype.type(0)
        for i in range(np.uint64(x.size)):
            v = x[i]
            out[i] = zero if v <= zero else v  # nan stays nan

    @jit
    def backward(g, out, gx):
        zero = g.dtype.type(0)
        for i in range(np.uint64(g.size)):
            gx[i] = g[i] if out[i] > zero else zero

    return forward, backward


def _flat(x: np.ndarray) -> np.ndarray:
    """The elements of a dense array in the order in which they lie; a view."""
    order = sorted(range(x.ndim), key=lambda i: -x.strides[i])
    return x.transpose(order).reshape(-1)


def _dense(x: np.ndarray) -> bool:
    """Whether the elements fill their memory without gaps or overlaps, in some order of axes."""
    if x.flags.c_contiguous:
        return True
    expected = x.itemsize
    for n, stride in sorted(zip(x.shape, x.strides, strict=True), key=lambda pair: pair[1]):
        if n > 1:
            if stride != expected:
                return False
            expected *= n
    return True


class _Relu:
    """Kernel `relu`; interface in `ops/fused.py`."""

    keeps_output = True

    def accepts(self, x: Any) -> bool:
        return x.dtype in (np.float32, np.float64) and x.size > 0 and _dense(x)

    def forward(self, x: Any) -> tuple[Any, Any]:
        out = np.empty_like(x)
        _kernels()[0](_flat(x), _flat(out))
        return out, out

    def backward(self, g: Any, needs: Any, out: Any, x: Any) -> list:
        gx = np.empty_like(out)
        _kernels()[1](_flat(like(g, out)), _flat(out), _flat(gx))
        return [gx]


KERNEL = _Relu()
