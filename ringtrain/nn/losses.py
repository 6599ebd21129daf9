"""Losses as modules: the functions of `rt.nn` with their options kept. Names of options are PyTorch's.

MXNet Gluon's names, for those who know them:

    SoftmaxCrossEntropyLoss  CrossEntropyLoss (class axis 1; dense labels are probabilities)
    SigmoidBinaryCrossEntropyLoss  BCEWithLogitsLoss, or BCELoss with from_sigmoid=True
    L1Loss, L2Loss           L1Loss, MSELoss (Gluon's is half of it, and its mean is over all axes but the batch)
    HuberLoss(rho)           SmoothL1Loss(beta=rho)
    HingeLoss, SquaredHingeLoss  the same names
    LogisticLoss             SoftMarginLoss ("signed" labels), BCEWithLogitsLoss ("binary")
    KLDivLoss                KLDivLoss(reduction="batchmean") (from_logits=False: of log_softmax)
    TripletLoss              TripletMarginLoss (Gluon's distances are squares)
    PoissonNLLLoss           PoissonNLLLoss (from_logits is log_input, compute_full is full)
    CosineEmbeddingLoss      CosineEmbeddingLoss
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

from ..ops import loss, loss_margin, loss_regression
from ..tensor import Tensor
from .module import Module


class _Loss(Module):
    """A loss function and its options."""

    _function: ClassVar[Callable[..., Tensor]]

    def _keep(self, **options: Any) -> None:
        self._options = options

    def forward(self, *inputs: Any, **named: Any) -> Tensor:
        return type(self)._function(*inputs, **named, **self._options)

    def extra_repr(self) -> str:
        return ", ".join(f"{name}={value!r}" for name, value in self._options.items())


class _Weighted(_Loss):
    """A loss whose weights are buffers: they move with the module, and get no gradient."""

    def forward(self, *inputs: Any, **named: Any) -> Tensor:
        weights = {name: value for name, value in vars(self).items() if isinstance(value, Tensor)}
        return type(self)._function(*inputs, **named, **weights, **self._options)


class CrossEntropyLoss(_Weighted):
    """`rt.nn.cross_entropy`: of logits (N, C, ...) and class numbers, or probabilities of the classes."""

    _function = staticmethod(loss.cross_entropy)

    def __init__(
        self,
        weight: Tensor | None = None,
        ignore_index: int = -100,
        label_smoothing: float = 0.0,
        reduction: str = "mean",
    ) -> None:
        self.weight = weight
        self._keep(ignore_index=ignore_index, label_smoothing=label_smoothing, reduction=reduction)


class NLLLoss(_Weighted):
    """`rt.nn.nll_loss`: of log probabilities (N, C, ...) and class numbers."""

    _function = staticmethod(loss.nll_loss)

    def __init__(self, weight: Tensor | None = None, ignore_index: int = -100, reduction: str = "mean") -> None:
        self.weight = weight
        self._keep(ignore_index=ignore_index, reduction=reduction)


class BCELoss(_Weighted):
    """`rt.nn.binary_cross_entropy`: of probabilities."""

    _function = staticmethod(loss.binary_cross_entropy)

    def __init__(self, weight: Tensor | None = None, reduction: str = "mean") -> None:
        self.weight = weight
        self._keep(reduction=reduction)


class BCEWithLogitsLoss(_Weighted):
    """`rt.nn.binary_cross_entropy_with_logits`."""

    _function = staticmethod(loss.binary_cross_entropy_with_logits)

    def __init__(self, weight: Tensor | None = None, pos_weight: Tensor | None = None, reduction: str = "mean") -> None:
        self.weight = weight
        self.pos_weight = pos_weight
        self._keep(reduction=reduction)


class SigmoidFocalLoss(_Loss):
    """`rt.nn.sigmoid_focal_loss`."""

    _function = staticmethod(loss.sigmoid_focal_loss)

    def __init__(self, alpha: float = 0.25, gamma: float = 2.0, reduction: str = "mean") -> None:
        self._keep(alpha=alpha, gamma=gamma, reduction=reduction)


class SoftMarginLoss(_Loss):
    """`rt.nn.soft_margin_loss`: the logistic loss."""

    _function = staticmethod(loss.soft_margin_loss)

    def __init__(self, reduction: str = "mean") -> None:
        self._keep(reduction=reduction)


class MSELoss(_Loss):
    """`rt.nn.mse_loss`."""

    _function = staticmethod(loss_regression.mse_loss)

    def __init__(self, reduction: str = "mean") -> None:
        self._keep(reduction=reduction)


class L1Loss(_Loss):
    """`rt.nn.l1_loss`."""

    _function = staticmethod(loss_regression.l1_loss)

    def __init__(self, reduction: str = "mean") -> None:
        self._keep(reduction=reduction)


class SmoothL1Loss(_Loss):
    """`rt.nn.smooth_l1_loss`."""

    _function = staticmethod(loss_regression.smooth_l1_loss)

    def __init__(self, beta: float = 1.0, reduction: str = "mean") -> None:
        self._keep(beta=beta, reduction=reduction)


class HuberLoss(_Loss):
    """`rt.nn.huber_loss`."""

    _function = staticmethod(loss_regression.huber_loss)

    def __init__(self, delta: float = 1.0, reduction: str = "mean") -> None:
        self._keep(delta=delta, reduction=reduction)


class LogCoshLoss(_Loss):
    """`rt.nn.log_cosh_loss`."""

    _function = staticmethod(loss_regression.log_cosh_loss)

    def __init__(self, reduction: str = "mean") -> None:
        self._keep(reduction=reduction)


class PoissonNLLLoss(_Loss):
    """`rt.nn.poisson_nll_loss`."""

    _function = staticmethod(loss_regression.poisson_nll_loss)

    def __init__(self, log_input: bool = True, full: bool = False, eps: float = 1e-8, reduction: str = "mean") -> None:
        self._keep(log_input=log_input, full=full, eps=eps, reduction=reduction)


class GaussianNLLLoss(_Loss):
    """`rt.nn.gaussian_nll_loss`: called with (prediction, target, var)."""

    _function = staticmethod(loss_regression.gaussian_nll_loss)

    def __init__(self, full: bool = False, eps: float = 1e-6, reduction: str = "mean") -> None:
        self._keep(full=full, eps=eps, reduction=reduction)


class KLDivLoss(_Loss):
    """`rt.nn.kl_div`: of log probabilities and probabilities."""

    _function = staticmethod(loss_regression.kl_div)

    def __init__(self, log_target: bool = False, reduction: str = "mean") -> None:
        self._keep(log_target=log_target, reduction=reduction)


class HingeLoss(_Loss):
    """`rt.nn.hinge_loss`."""

    _function = staticmethod(loss_margin.hinge_loss)

    def __init__(self, margin: float = 1.0, reduction: str = "mean") -> None:
        self._keep(margin=margin, reduction=reduction)


class SquaredHingeLoss(_Loss):
    """`rt.nn.squared_hinge_loss`."""

    _function = staticmethod(loss_margin.squared_hinge_loss)

    def __init__(self, margin: float = 1.0, reduction: str = "mean") -> None:
        self._keep(margin=margin, reduction=reduction)


class HingeEmbeddingLoss(_Loss):
    """`rt.nn.hinge_embedding_loss`."""

    _function = staticmethod(loss_margin.hinge_embedding_loss)

    def __init__(self, margin: float = 1.0, reduction: str = "mean") -> None:
        self._keep(margin=margin, reduction=reduction)


class CosineEmbeddingLoss(_Loss):
    """`rt.nn.cosine_embedding_loss`: called with (a, b, target)."""

    _function = staticmethod(loss_margin.cosine_embedding_loss)

    def __init__(self, margin: float = 0.0, reduction: str = "mean") -> None:
        self._keep(margin=margin, reduction=reduction)


class MarginRankingLoss(_Loss):
    """`rt.nn.margin_ranking_loss`: called with (a, b, target)."""

    _function = staticmethod(loss_margin.margin_ranking_loss)

    def __init__(self, margin: float = 0.0, reduction: str = "mean") -> None:
        self._keep(margin=margin, reduction=reduction)


class TripletMarginLoss(_Loss):
    """`rt.nn.triplet_margin_loss`: called with (anchor, positive, negative)."""

    _function = staticmethod(loss_margin.triplet_margin_loss)

    def __init__(
        self, margin: float = 1.0, p: float = 2.0, eps: float = 1e-6, swap: bool = False, reduction: str = "mean"
    ) -> None:
        self._keep(margin=margin, p=p, eps=eps, swap=swap, reduction=reduction)


class TripletMarginWithDistanceLoss(_Loss):
    """`rt.nn.triplet_margin_with_distance_loss`: called with (anchor, positive, negative)."""

    _function = staticmethod(loss_margin.triplet_margin_with_distance_loss)

    def __init__(
        self,
        distance_function: Callable[[Tensor, Tensor], Tensor] | None = None,
        margin: float = 1.0,
        swap: bool = False,
        reduction: str = "mean",
    ) -> None:
        self._keep(distance_function=distance_function, margin=margin, swap=swap, reduction=reduction)


class MultiMarginLoss(_Weighted):
    """`rt.nn.multi_margin_loss`."""

    _function = staticmethod(loss_margin.multi_margin_loss)

    def __init__(self, p: int = 1, margin: float = 1.0, weight: Tensor | None = None, reduction: str = "mean") -> None:
        self.weight = weight
        self._keep(p=p, margin=margin, reduction=reduction)


class MultiLabelMarginLoss(_Loss):
    """`rt.nn.multilabel_margin_loss`."""

    _function = staticmethod(loss_margin.multilabel_margin_loss)

    def __init__(self, reduction: str = "mean") -> None:
        self._keep(reduction=reduction)


class MultiLabelSoftMarginLoss(_Weighted):
    """`rt.nn.multilabel_soft_margin_loss`."""

    _function = staticmethod(loss_margin.multilabel_soft_margin_loss)

    def __init__(self, weight: Tensor | None = None, reduction: str = "mean") -> None:
        self.weight = weight
        self._keep(reduction=reduction)
