"""What convolution and pooling have in common: lengths for each spatial axis, and how a window moves along one."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any, TypeVar, cast

import numpy as np

from ..dtypes import is_float
from ..tensor import Tensor, describe
from .shape import expand_dims, pad, squeeze

Size = int | Sequence[int]
LAYOUTS = {1: "(N, C, L)", 2: "(N, C, H, W)", 3: "(N, C, D, H, W)"}
_COUNTS = {1: "one", 2: "two", 3: "three"}
_Function = TypeVar("_Function", bound=Callable[..., Any])


def lengths(value: Any, dims: int, what: str) -> tuple[int, ...]:
    """An integer once for each axis, or that many integers as they are."""
    if type(value) is int:
        return (value,) * dims
    try:
        out = (value,) * dims if isinstance(value, (int, np.integer)) else tuple(value)
    except TypeError:
        out = ()
    if len(out) != dims or not all(isinstance(v, (int, np.integer)) and not isinstance(v, bool) for v in out):
        raise ValueError(f"{what} must be an integer or {_COUNTS[dims]}; got {value!r}")
    return tuple(int(v) for v in out)


def output_length(n: int, kernel: int, stride: int, padding: int, dilation: int = 1) -> int:
    """How many places a kernel takes along an axis of n elements padded on both sides; below 1 where it fits none."""
    return (n + 2 * padding - dilation * (kernel - 1) - 1) // stride + 1


def ceil_length(n: int, kernel: int, stride: int, padding: int, dilation: int = 1) -> int:
    """`output_length` rounded up: the last window may hang over, but it starts within the input or its left padding."""
    out = -((dilation * (kernel - 1) + 1 - n - 2 * padding) // stride) + 1
    return out - 1 if (out - 1) * stride >= n + padding else out


def taps(x: Tensor, axis: int, kernel: int, stride: int, dilation: int, count: int) -> list[Tensor]:
    """For each place of a kernel along an axis what it sees as it moves: views of `count` elements."""
    lead = (slice(None),) * axis
    last = (count - 1) * stride + 1
    return [x[(*lead, slice(k * dilation, k * dilation + last, stride))] for k in range(kernel)]


def pad_axes(x: Tensor, widths: Sequence[tuple[int, int]], value: float = 0.0) -> Tensor:
    """x with (before, after) elements of `value` added along its last axes; negative ones are cut off."""
    lead = x.ndim - len(widths)
    if any(n + a + b < 0 for n, (a, b) in zip(x.shape[lead:], widths, strict=True)):
        raise ValueError(f"padding {list(widths)} cuts more off {x.shape} than there is")
    grown = [(max(a, 0), max(b, 0)) for a, b in widths]
    if any(a or b for a, b in grown):
        x = pad(x, [(0, 0)] * lead + grown, value)
    if any(a < 0 or b < 0 for a, b in widths):
        cut = [slice(max(-a, 0), n - max(-b, 0)) for n, (a, b) in zip(x.shape[lead:], widths, strict=True)]
        x = x[(*(slice(None),) * lead, *cut)]
    return x


def check_input(name: str, x: Tensor, dims: int, floats: bool = True) -> None:
    """Raises where x is no batch (of floats) with channels and that many spatial axes."""
    if x.ndim != dims + 2:
        raise ValueError(f"{name} wants an input {LAYOUTS[dims]}; got {x.shape}")
    if floats and not is_float(x.dtype):
        raise TypeError(f"{name} wants floats; got {describe(x)}")


def or_one(axes: int) -> Callable[[_Function], _Function]:
    """Makes a function of a batch of that many axes take one sample as well, without the batch's, and give one back."""

    def wrapped(function: _Function) -> _Function:
        @functools.wraps(function)
        def inside(x: Tensor, *args: Any, **options: Any) -> Any:
            if x.ndim != axes - 1:
                return function(x, *args, **options)
            out = function(expand_dims(x, 0), *args, **options)
            return tuple([squeeze(t, 0) for t in out]) if isinstance(out, tuple) else squeeze(out, 0)

        return cast(_Function, inside)

    return wrapped


def as_two(x: Tensor) -> Tensor:
    """(N, C, L) as an image of one row."""
    return expand_dims(x, 2)


def as_one(x: Tensor) -> Tensor:
    """An image of one row as (N, C, L)."""
    return squeeze(x, 2)
