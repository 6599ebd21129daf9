"""Fused optimiser steps on the CPU: every array is read once and written once."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np

from .jit import jit


@cache
def _kernels() -> dict[str, Callable]:
    @jit
    def sgd(p, g, v, lr, momentum, dampening, decay, nesterov):
        keep = p.dtype.type(1.0 - dampening)
        for i in range(p.size):
            d = g[i] + decay * p[i]
            if momentum != 0:
                v[i] = momentum * v[i] + keep * d
                d = d + momentum * v[i] if nesterov else v[i]
            p[i] -= lr * d

    @jit
    def adam(p, g, m, v, shrink, b1, c1, b2, c2, eps, decay, rate, root):
        for i in range(p.size):
            w = p[i] * shrink
            d = g[i] + decay * w
            a = b1 * m[i] + c1 * d
            b = b2 * v[i] + c2 * (d * d)
            m[i] = a
            v[i] = b
            p[i] = w - rate * a / (np.sqrt(b) * root + eps)

    return {"sgd": sgd, "adam": adam}


class _Kernel:
    """Options become numbers of the arrays' dtype, so that float32 stays float32 in the loop."""

    def accepts(self, p: Any) -> bool:
        return p.dtype in (np.float32, np.float64)


class _Sgd(_Kernel):
    def __call__(
        self, p: Any, g: Any, v: Any, lr: float, momentum: float, dampening: float, decay: float, nesterov: bool
    ) -> None:
        numbers = [p.dtype.type(x) for x in (lr, momentum, dampening, decay)]
        _kernels()["sgd"](p, g, v, *numbers, nesterov)


class _Adam(_Kernel):
    def __call__(
        self,
        p: Any,
        g: Any,
        m: Any,
        v: Any,
        lr: float,
        b1: float,
        b2: float,
        eps: float,
        decay: float,
        decoupled: bool,
        rate: float,
        root: float,
    ) -> None:
        shrink, added = (1.0 - lr * decay, 0.0) if decoupled else (1.0, decay)
        options = (shrink, b1, 1.0 - b1, b2, 1.0 - b2, eps, added, rate, 1.0 / root)
        _kernels()["adam"](p, g, m, v, *[p.dtype.type(x) for x in options])


SGD = _Sgd()
ADAM = _Adam()
