"""Padding layers. Widths are PyTorch's: one for all sides, or (left, right, top, bottom, front, back) as far as there
are axes. Negative widths cut off.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ..ops.geometry import LAYOUTS
from ..ops.padding import pad_spatial
from ..tensor import Tensor
from .module import Module

Widths = int | Sequence[int]


class _Pad(Module):
    """Padding of `_dims` spatial axes."""

    _dims = 2
    _mode = "constant"
    _value = 0.0

    def __init__(self, padding: Widths) -> None:
        each = [padding] * (2 * self._dims) if isinstance(padding, (int, np.integer)) else list(padding)
        if len(each) != 2 * self._dims or not all(isinstance(w, (int, np.integer)) for w in each):
            raise ValueError(
                f"{type(self).__name__}: padding is an integer or {2 * self._dims} of them; got {padding!r}"
            )
        self.padding = tuple(int(w) for w in each)

    def forward(self, x: Tensor) -> Tensor:
        name = type(self).__name__
        if x.ndim not in (self._dims + 1, self._dims + 2):
            raise ValueError(f"{name} wants an input {LAYOUTS[self._dims]}; got {x.shape}")
        widths: Any = list(zip(self.padding[::2], self.padding[1::2], strict=True))[::-1]
        return pad_spatial(x, widths, self._mode, self._value, name)

    def extra_repr(self) -> str:
        return str(self.padding)


class _ConstantPad(_Pad):
    def __init__(self, padding: Widths, value: float) -> None:
        super().__init__(padding)
        self.value = self._value = value

    def extra_repr(self) -> str:
        return f"padding={self.padding}, value={self.value}"


class ConstantPad1d(_ConstantPad):
    """`value` around (N, C, L)."""

    _dims = 1


class ConstantPad2d(_ConstantPad):
    """`value` around (N, C, H, W)."""

    _dims = 2


class ConstantPad3d(_ConstantPad):
    """`value` around (N, C, D, H, W)."""

    _dims = 3


class ZeroPad1d(_Pad):
    """Zeros around (N, C, L)."""

    _dims = 1


class ZeroPad2d(_Pad):
    """Zeros around (N, C, H, W)."""

    _dims = 2


class ZeroPad3d(_Pad):
    """Zeros around (N, C, D, H, W)."""

    _dims = 3


class ReflectionPad1d(_Pad):
    """(N, C, L) mirrored at its ends, without the end elements; at most L - 1 of them."""

    _dims, _mode = 1, "reflect"


class ReflectionPad2d(_Pad):
    """(N, C, H, W) mirrored at its edges, without the edge elements; less than each length."""

    _dims, _mode = 2, "reflect"


class ReflectionPad3d(_Pad):
    """(N, C, D, H, W) mirrored at its faces, without the face elements; less than each length."""

    _dims, _mode = 3, "reflect"


class ReplicationPad1d(_Pad):
    """The end elements of (N, C, L) repeated."""

    _dims, _mode = 1, "replicate"


class ReplicationPad2d(_Pad):
    """The edge elements of (N, C, H, W) repeated."""

    _dims, _mode = 2, "replicate"


class ReplicationPad3d(_Pad):
    """The face elements of (N, C, D, H, W) repeated."""

    _dims, _mode = 3, "replicate"


class CircularPad1d(_Pad):
    """(N, C, L) continued from its other end; at most L elements."""

    _dims, _mode = 1, "circular"


class CircularPad2d(_Pad):
    """(N, C, H, W) continued from its other side; at most each length."""

    _dims, _mode = 2, "circular"


class CircularPad3d(_Pad):
    """(N, C, D, H, W) continued from its other side; at most each length."""

    _dims, _mode = 3, "circular"
