"""CTC loss as a module."""

from __future__ import annotations

from typing import Any

from ..ops.ctc import ctc_loss
from ..tensor import Tensor
from .module import Module


class CTCLoss(Module):
    """`rt.nn.ctc_loss` with its options kept."""

    def __init__(self, blank: int = 0, reduction: str = "mean", zero_infinity: bool = False) -> None:
        self.blank, self.reduction, self.zero_infinity = blank, reduction, zero_infinity

    def forward(self, log_probs: Tensor, targets: Any, input_lengths: Any, target_lengths: Any) -> Tensor:
        options = (self.blank, self.reduction, self.zero_infinity)
        return ctc_loss(log_probs, targets, input_lengths, target_lengths, *options)
