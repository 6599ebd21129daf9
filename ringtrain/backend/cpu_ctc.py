"""Connectionist temporal classification on the CPU: forward and backward variables in log space, all samples in one."""

from __future__ import annotations

from typing import Any

import numpy as np


def paths(targets: Any, lengths: Any, blank: int) -> tuple[Any, Any, Any]:
    """What a path goes through, (B, 2L + 1): labels with blanks between; where it may skip the blank before; ends."""
    batch, longest = targets.shape
    labels = np.full((batch, 2 * longest + 1), blank, np.intp)
    labels[:, 1::2] = targets
    skips = np.zeros(labels.shape, bool)
    skips[:, 3::2] = targets[:, 1:] != targets[:, :-1]
    places, last = np.arange(labels.shape[1]), 2 * lengths[:, None]
    return labels, skips, (places == last) | (places == last - 1)


class _Ctc:
    """Kernel `ctc`: scores (T, B, C), targets (B, L), lengths (B,) of both; interface in `ops/fused.py`."""

    keeps_output = False

    def accepts(self, scores: Any, targets: Any, input_lengths: Any, target_lengths: Any, *, blank: int) -> bool:
        return scores.dtype in (np.float32, np.float64)

    def forward(
        self, scores: Any, targets: Any, input_lengths: Any, target_lengths: Any, *, blank: int
    ) -> tuple[Any, Any]:
        steps, batch, _ = scores.shape
        labels, skips, ends = paths(targets, target_lengths, blank)
        emitted = scores[:, np.arange(batch)[:, None], labels]
        alpha = np.full((steps + 1, *labels.shape), -np.inf, scores.dtype)
        alpha[0, :, 0] = 0  # before the first step a path is at its first blank
        for t in range(steps):
            old, new = alpha[t], alpha[t + 1]
            new[...] = old
            new[:, 1:] = np.logaddexp(new[:, 1:], old[:, :-1])
            new[:, 2:] = np.logaddexp(new[:, 2:], np.where(skips[:, 2:], old[:, :-2], -np.inf))
            new += emitted[t]
            off = t >= input_lengths
            new[off] = old[off]
        total = np.logaddexp.reduce(np.where(ends, alpha[-1], -np.inf), axis=1)
        return -total, (alpha, emitted, labels, skips, ends, total)

    def backward(
        self, g: Any, needs: Any, residuals: Any, scores: Any, targets: Any, input_lengths: Any, *rest: Any, blank: int
    ) -> list:
        alpha, emitted, labels, skips, ends, total = residuals
        steps, batch, classes = scores.shape
        beta = np.where(ends, 0, -np.inf).astype(scores.dtype)
        total = np.where(np.isfinite(total), total, 0)[:, None]  # no path: no gradient
        shares = np.zeros_like(emitted)  # each place's part of the probability, by step
        for t in reversed(range(steps)):
            on = t < input_lengths
            shares[t][on] = np.exp(alpha[t + 1] + beta - total)[on]
            onward = beta + emitted[t]
            new = onward.copy()
            new[:, :-1] = np.logaddexp(new[:, :-1], onward[:, 1:])
            new[:, :-2] = np.logaddexp(new[:, :-2], np.where(skips[:, 2:], onward[:, 2:], -np.inf))
            beta = np.where(on[:, None], new, beta)
        shares *= -g[:, None]
        rows = np.arange(steps * batch).reshape(steps, batch, 1) * classes
        summed = np.bincount((rows + labels).ravel(), shares.ravel(), scores.size)
        return [summed.reshape(scores.shape).astype(scores.dtype), None, None, None]


KERNEL = _Ctc()
