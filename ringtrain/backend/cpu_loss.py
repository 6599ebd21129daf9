"""Softmax cross-entropy on the CPU: the exponentials of forward are kept, so that backward is one pass."""

from __future__ import annotations

from typing import Any

import numpy as np


class _CrossEntropy:
    """Kernel `cross_entropy`: logits (N, C) and class numbers (N,); interface in `ops/fused.py`."""

    keeps_output = False

    def accepts(self, logits: Any, labels: Any, *, reduction: str) -> bool:
        return logits.dtype in (np.float32, np.float64) and reduction in ("mean", "sum") and logits.size > 0

    def forward(self, logits: Any, labels: Any, *, reduction: str) -> tuple[Any, Any]:
        rows = np.arange(len(labels))
        shifted = logits - logits.max(axis=1, keepdims=True)
        picked = shifted[rows, labels]
        np.exp(shifted, out=shifted)
        totals = shifted.sum(axis=1, keepdims=True)
        shifted /= totals
        losses = np.log(totals[:, 0]) - picked
        return losses.mean() if reduction == "mean" else losses.sum(), (shifted, rows)

    def backward(self, g: Any, needs: Any, residuals: Any, logits: Any, labels: Any, *, reduction: str) -> list:
        probabilities, rows = residuals
        out = probabilities.copy()
        out[rows, labels] -= 1
        out *= g / len(rows) if reduction == "mean" else g
        return [out, None]


KERNEL = _CrossEntropy()
