"""Pooling layers, with PyTorch's arguments and defaults.

Gluon's take pool_size (2 by default) and strides; its GlobalAvgPool2D is `GlobalAvgPool2d` or AdaptiveAvgPool2d(1).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from ..ops import pool, pool_adaptive, pool_fractional
from ..ops.geometry import Size
from ..ops.pool_adaptive import Target
from ..tensor import Tensor
from .module import Module


class _Pool(Module):
    """A pooling op with its options kept."""

    _op: Callable[..., Any]

    def forward(self, x: Tensor) -> Any:
        return type(self)._op(x, *self._options())

    def _options(self) -> tuple:
        raise NotImplementedError


class _MaxPool(_Pool):
    def __init__(
        self,
        kernel_size: Size,
        stride: Size | None = None,
        padding: Size = 0,
        dilation: Size = 1,
        return_indices: bool = False,
        ceil_mode: bool = False,
    ) -> None:
        self.kernel_size, self.stride, self.padding, self.dilation = kernel_size, stride, padding, dilation
        self.return_indices, self.ceil_mode = return_indices, ceil_mode

    def _options(self) -> tuple:
        return self.kernel_size, self.stride, self.padding, self.dilation, self.ceil_mode, self.return_indices

    def extra_repr(self) -> str:
        step = self.kernel_size if self.stride is None else self.stride
        return f"kernel_size={self.kernel_size}, stride={step}, padding={self.padding}"


class MaxPool1d(_MaxPool):
    """The largest element of each window of (N, C, L): see `rt.nn.max_pool1d`."""

    _op = staticmethod(pool.max_pool1d)


class MaxPool2d(_MaxPool):
    """The largest element of each window of (N, C, H, W): see `rt.nn.max_pool2d`."""

    _op = staticmethod(pool.max_pool2d)


class MaxPool3d(_MaxPool):
    """The largest element of each window of (N, C, D, H, W): see `rt.nn.max_pool3d`."""

    _op = staticmethod(pool.max_pool3d)


class _AvgPool(_Pool):
    def __init__(
        self,
        kernel_size: Size,
        stride: Size | None = None,
        padding: Size = 0,
        ceil_mode: bool = False,
        count_include_pad: bool = True,
        divisor_override: int | None = None,
    ) -> None:
        self.kernel_size, self.stride, self.padding = kernel_size, stride, padding
        self.ceil_mode, self.count_include_pad, self.divisor_override = ceil_mode, count_include_pad, divisor_override

    def _options(self) -> tuple:
        options = (self.kernel_size, self.stride, self.padding, self.ceil_mode, self.count_include_pad)
        return (*options, self.divisor_override)

    def extra_repr(self) -> str:
        step = self.kernel_size if self.stride is None else self.stride
        return f"kernel_size={self.kernel_size}, stride={step}, padding={self.padding}"


class AvgPool1d(_AvgPool):
    """The mean of each window of (N, C, L): see `rt.nn.avg_pool1d`."""

    _op = staticmethod(pool.avg_pool1d)


class AvgPool2d(_AvgPool):
    """The mean of each window of (N, C, H, W): see `rt.nn.avg_pool2d`."""

    _op = staticmethod(pool.avg_pool2d)


class AvgPool3d(_AvgPool):
    """The mean of each window of (N, C, D, H, W): see `rt.nn.avg_pool3d`."""

    _op = staticmethod(pool.avg_pool3d)


class _AdaptiveAvgPool(_Pool):
    def __init__(self, output_size: Target) -> None:
        self.output_size = output_size

    def _options(self) -> tuple:
        return (self.output_size,)

    def extra_repr(self) -> str:
        return f"output_size={self.output_size}"


class AdaptiveAvgPool1d(_AdaptiveAvgPool):
    """The means of output_size bins of (N, C, L): see `rt.nn.adaptive_avg_pool1d`."""

    _op = staticmethod(pool_adaptive.adaptive_avg_pool1d)


class AdaptiveAvgPool2d(_AdaptiveAvgPool):
    """The means of output_size bins of (N, C, H, W): see `rt.nn.adaptive_avg_pool2d`."""

    _op = staticmethod(pool_adaptive.adaptive_avg_pool2d)


class AdaptiveAvgPool3d(_AdaptiveAvgPool):
    """The means of output_size bins of (N, C, D, H, W): see `rt.nn.adaptive_avg_pool3d`."""

    _op = staticmethod(pool_adaptive.adaptive_avg_pool3d)


class _AdaptiveMaxPool(_Pool):
    def __init__(self, output_size: Target, return_indices: bool = False) -> None:
        self.output_size, self.return_indices = output_size, return_indices

    def _options(self) -> tuple:
        return self.output_size, self.return_indices

    def extra_repr(self) -> str:
        return f"output_size={self.output_size}"


class AdaptiveMaxPool1d(_AdaptiveMaxPool):
    """The largest of each of output_size bins of (N, C, L): see `rt.nn.adaptive_max_pool1d`."""

    _op = staticmethod(pool_adaptive.adaptive_max_pool1d)


class AdaptiveMaxPool2d(_AdaptiveMaxPool):
    """The largest of each of output_size bins of (N, C, H, W): see `rt.nn.adaptive_max_pool2d`."""

    _op = staticmethod(pool_adaptive.adaptive_max_pool2d)


class AdaptiveMaxPool3d(_AdaptiveMaxPool):
    """The largest of each of output_size bins of (N, C, D, H, W): see `rt.nn.adaptive_max_pool3d`."""

    _op = staticmethod(pool_adaptive.adaptive_max_pool3d)


class GlobalAvgPool1d(AdaptiveAvgPool1d):
    """The mean of each channel: (N, C, L) -> (N, C, 1)."""

    def __init__(self) -> None:
        super().__init__(1)


class GlobalAvgPool2d(AdaptiveAvgPool2d):
    """The mean of each channel: (N, C, H, W) -> (N, C, 1, 1)."""

    def __init__(self) -> None:
        super().__init__(1)


class GlobalAvgPool3d(AdaptiveAvgPool3d):
    """The mean of each channel: (N, C, D, H, W) -> (N, C, 1, 1, 1)."""

    def __init__(self) -> None:
        super().__init__(1)


class GlobalMaxPool1d(AdaptiveMaxPool1d):
    """The largest of each channel: (N, C, L) -> (N, C, 1)."""

    def __init__(self) -> None:
        super().__init__(1)


class GlobalMaxPool2d(AdaptiveMaxPool2d):
    """The largest of each channel: (N, C, H, W) -> (N, C, 1, 1)."""

    def __init__(self) -> None:
        super().__init__(1)


class GlobalMaxPool3d(AdaptiveMaxPool3d):
    """The largest of each channel: (N, C, D, H, W) -> (N, C, 1, 1, 1)."""

    def __init__(self) -> None:
        super().__init__(1)


class _LPPool(_Pool):
    def __init__(
        self, norm_type: float, kernel_size: Size, stride: Size | None = None, ceil_mode: bool = False
    ) -> None:
        self.norm_type, self.kernel_size, self.stride, self.ceil_mode = norm_type, kernel_size, stride, ceil_mode

    def _options(self) -> tuple:
        return self.norm_type, self.kernel_size, self.stride, self.ceil_mode

    def extra_repr(self) -> str:
        step = self.kernel_size if self.stride is None else self.stride
        return f"norm_type={self.norm_type}, kernel_size={self.kernel_size}, stride={step}"


class LPPool1d(_LPPool):
    """The norm of each window of (N, C, L): see `rt.nn.lp_pool1d`."""

    _op = staticmethod(pool_adaptive.lp_pool1d)


class LPPool2d(_LPPool):
    """The norm of each window of (N, C, H, W): see `rt.nn.lp_pool2d`."""

    _op = staticmethod(pool_adaptive.lp_pool2d)


class LPPool3d(_LPPool):
    """The norm of each window of (N, C, D, H, W): see `rt.nn.lp_pool3d`."""

    _op = staticmethod(pool_adaptive.lp_pool3d)


class _MaxUnpool(Module):
    _op: Callable[..., Tensor]

    def __init__(self, kernel_size: Size, stride: Size | None = None, padding: Size = 0) -> None:
        self.kernel_size, self.stride, self.padding = kernel_size, stride, padding

    def forward(self, x: Tensor, indices: Tensor, output_size: Sequence[int] | None = None) -> Tensor:
        return type(self)._op(x, indices, self.kernel_size, self.stride, self.padding, output_size)

    def extra_repr(self) -> str:
        step = self.kernel_size if self.stride is None else self.stride
        return f"kernel_size={self.kernel_size}, stride={step}, padding={self.padding}"


class MaxUnpool1d(_MaxUnpool):
    """Elements back where `MaxPool1d(..., return_indices=True)` found them: see `rt.nn.max_unpool1d`."""

    _op = staticmethod(pool_adaptive.max_unpool1d)


class MaxUnpool2d(_MaxUnpool):
    """Elements back where `MaxPool2d(..., return_indices=True)` found them: see `rt.nn.max_unpool2d`."""

    _op = staticmethod(pool_adaptive.max_unpool2d)


class MaxUnpool3d(_MaxUnpool):
    """Elements back where `MaxPool3d(..., return_indices=True)` found them: see `rt.nn.max_unpool3d`."""

    _op = staticmethod(pool_adaptive.max_unpool3d)


class _FractionalMaxPool(_Pool):
    def __init__(
        self,
        kernel_size: Size,
        output_size: Size | None = None,
        output_ratio: float | Sequence[float] | None = None,
        return_indices: bool = False,
    ) -> None:
        if (output_size is None) == (output_ratio is None):
            raise ValueError(f"{type(self).__name__} wants either output_size or output_ratio")
        self.kernel_size, self.output_size, self.output_ratio = kernel_size, output_size, output_ratio
        self.return_indices = return_indices

    def _options(self) -> tuple:
        return self.kernel_size, self.output_size, self.output_ratio, self.return_indices

    def extra_repr(self) -> str:
        size = f"output_size={self.output_size}" if self.output_ratio is None else f"output_ratio={self.output_ratio}"
        return f"kernel_size={self.kernel_size}, {size}"


class FractionalMaxPool2d(_FractionalMaxPool):
    """Maxima of windows at random places, drawn anew by each call: see `rt.nn.fractional_max_pool2d`."""

    _op = staticmethod(pool_fractional.fractional_max_pool2d)


class FractionalMaxPool3d(_FractionalMaxPool):
    """Maxima of windows at random places of volumes: see `rt.nn.fractional_max_pool3d`."""

    _op = staticmethod(pool_fractional.fractional_max_pool3d)
