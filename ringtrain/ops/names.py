"""Which functions are methods of Tensor: those that keep their name, and PyTorch's names for others.

Arguments are this library's: `axis`, `keepdims`. Three names mean what NumPy means by them: `repeat` (PyTorch's is
`tile`), `split` (into so many parts, or at places), `max`, `min`, `sort`, `median` (values alone, without indices);
`var` and `std` divide by n unless ddof=1.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from ..dtypes import is_float
from ..tensor import Tensor, wrap
from . import (
    activations,
    arrange,
    blocks,
    create,
    decompose,
    elementwise,
    equations,
    index,
    linalg,
    reduce,
    scan,
    scatter,
    shape,
    slices,
    solve,
    sort,
    special,
    statistics,
)
from .define import op
from .index import take, take_along_axis

_MODULES: tuple[Any, ...] = (activations, arrange, blocks, create, elementwise, index, linalg, reduce, scan, scatter)
_MODULES += (shape, slices, sort, special, statistics)

_NAMES = """
absolute add addcdiv addcmul all allclose any arccos arccosh arcsin arcsinh arctan arctan2 arctanh argmax argmin
argsort argwhere array_split astype bincount bitwise_and bitwise_or bitwise_xor broadcast_to cbrt ceil chunk clip
copysign corrcoef cos cosh count_nonzero cov cummax cummin cumprod cumsum deg2rad diag diag_embed diagonal diff
digamma divide dot dsplit equal erf erfc erfinv exp exp2 expand_dims expm1 fliplr flipud flatten flip float_power
floor floor_divide fmax fmin fmod frac greater greater_equal heaviside histogram hsplit hypot index_add index_copy
index_fill invert isclose isfinite isin isinf isnan isneginf isposinf kron kthvalue ldexp left_shift lerp less
less_equal lgamma log log10 log1p log2 log_softmax logaddexp logaddexp2 logcumsumexp logical_and logical_not
logical_or logical_xor logit logsumexp masked_fill masked_scatter masked_select matmul max maximum mean median min
minimum moveaxis multinomial multiply nan_to_num nanmean nanmedian nanquantile nansum negative nonzero norm not_equal
outer power prelu prod quantile rad2deg ravel reciprocal relu remainder repeat right_shift roll rot90 round rsqrt
scatter scatter_add scatter_reduce searchsorted sigmoid sign signbit sin sinc sinh sliding_window_view softmax sort
split sqrt square squeeze std subtract sum swapaxes take take_along_axis tan tanh tile topk trace tril triu trunc
unflatten unique unstack var vsplit xlogy
"""
OWN = _NAMES.split()

_TORCH = {
    "acos": "arccos", "acosh": "arccosh", "asin": "arcsin", "asinh": "arcsinh", "atan": "arctan", "atan2": "arctan2",
    "atanh": "arctanh", "amax": "max", "amin": "min", "bitwise_left_shift": "left_shift", "bitwise_not": "invert",
    "bitwise_right_shift": "right_shift", "bmm": "matmul", "clamp": "clip", "div": "divide",
    "eq": "equal", "ge": "greater_equal", "gt": "greater", "le": "less_equal", "lt": "less",
    "mm": "matmul", "movedim": "moveaxis", "mul": "multiply", "mv": "matmul", "ne": "not_equal", "neg": "negative",
    "pow": "power", "repeat_interleave": "repeat", "sub": "subtract", "swapdims": "swapaxes",
    "take_along_dim": "take_along_axis", "tensor_split": "array_split", "true_divide": "divide", "unbind": "unstack",
    "unsqueeze": "expand_dims",
}  # fmt: skip


# --- arguments in PyTorch's order -------------------------------------------------------------------------
def gather(x: Tensor, axis: int, index: Any) -> Tensor:
    """`take_along_axis(x, index, axis)`."""
    return take_along_axis(x, index, axis)


def index_select(x: Tensor, axis: int, index: Any) -> Tensor:
    """`take(x, index, axis)`."""
    return take(x, index, axis)


def unfold(x: Tensor, axis: int, size: int, step: int) -> Tensor:
    """`sliding_window_view(x, size, axis, step)`."""
    return arrange.sliding_window_view(x, size, axis, step)


def narrow(x: Tensor, axis: int, start: int, length: int) -> Tensor:
    """The elements start .. start + length - 1 along an axis. A view."""
    a = shape.axis_of(axis, x.ndim, "narrow")
    start = start + x.shape[a] if start < 0 else start
    if length < 0 or not 0 <= start <= start + length <= x.shape[a]:
        raise ValueError(f"narrow: {length} elements from {start} on of axis {axis} of {x.shape}")
    return x[(*(slice(None),) * a, slice(start, start + length))]


def select(x: Tensor, axis: int, place: int) -> Tensor:
    """The slice at a place of an axis, without the axis. A view."""
    return x[(*(slice(None),) * shape.axis_of(axis, x.ndim, "select"), place)]


def where(x: Tensor, condition: Any, other: Any) -> Tensor:
    """x where the condition holds, else the other; all three broadcast."""
    return elementwise.where(condition, x, other)


def clamp_min(x: Tensor, low: Any) -> Tensor:
    """`clip(x, low)`."""
    return elementwise.clip(x, low)


def clamp_max(x: Tensor, high: Any) -> Tensor:
    """`clip(x, None, high)`."""
    return elementwise.clip(x, None, high)


def t(x: Tensor) -> Tensor:
    """A matrix turned; a vector or a number as it is."""
    if x.ndim > 2:
        raise ValueError(f"t is for up to two axes; got {x.shape}. See swapaxes, transpose")
    return shape.transpose(x)


def expand(x: Tensor, lengths: Any) -> Tensor:
    """`broadcast_to` a shape, in which -1 leaves a length as it is."""
    new = len(lengths) - x.ndim
    return shape.broadcast_to(x, [x.shape[i - new] if n == -1 and i >= new else n for i, n in enumerate(lengths)])


def expand_as(x: Tensor, other: Any) -> Tensor:
    """x broadcast to the other's shape."""
    return shape.broadcast_to(x, other.shape)


def reshape_as(x: Tensor, other: Any) -> Tensor:
    """x in the other's shape. A view."""
    return shape.reshape(x, other.shape)


def type_as(x: Tensor, other: Any) -> Tensor:
    """x in the other's dtype."""
    return elementwise.astype(x, other.dtype)


def contiguous(x: Tensor) -> Tensor:
    """x, or a copy of it where its elements do not lie one after the other in memory."""
    return x if x.backend.abstract or x._data.flags.c_contiguous else _dense(x)


_dense = op(
    "contiguous",
    lambda xp, x: xp.ascontiguousarray(x),
    lambda xp, g: g,
    doc="The values one after the other in memory.",
)


# --- questions about the tensor itself --------------------------------------------------------------------
def numel(x: Tensor) -> int:
    """How many elements there are."""
    return math.prod(x.shape)


def dim(x: Tensor) -> int:
    """How many axes there are."""
    return x.ndim


def is_floating_point(x: Tensor) -> bool:
    """Whether the elements are floats."""
    return is_float(x.dtype)


def is_contiguous(x: Tensor) -> bool:
    """Whether the elements lie one after the other in memory."""
    return bool(x.backend.abstract or x._data.flags.c_contiguous)


def cpu(x: Tensor) -> Tensor:
    """x on the CPU; itself if it is there."""
    return elementwise.to(x, "cpu")


def cuda(x: Tensor, index: int | None = None) -> Tensor:
    """x on a GPU; itself if it is there."""
    return elementwise.to(x, "cuda" if index is None else f"cuda:{index}")


# --- others like it ---------------------------------------------------------------------------------------
def _new(name: str) -> Callable[..., Tensor]:
    values = getattr(np, name)

    def make(x: Tensor, lengths: Any, *value: Any, dtype: Any = None) -> Tensor:
        array = values(lengths, *value, dtype=x.dtype if dtype is None else dtype)
        return wrap(x.backend.asarray(array))

    make.__doc__ = f"`rt.{name}` with the tensor's dtype, unless one is given, on its device."
    return make


# --- in place ---------------------------------------------------------------------------------------------
def fill_(x: Tensor, value: Any) -> Tensor:
    """Sets all elements, in place. Returns x."""
    x[...] = value
    return x


def zero_(x: Tensor) -> Tensor:
    """Sets all elements to 0, in place. Returns x."""
    return fill_(x, 0)


def copy_(x: Tensor, other: Any) -> Tensor:
    """Takes on the other's values, which broadcast, in place. Returns x."""
    return fill_(x, other)


def _cast(dtype: Any) -> Callable[[Tensor], Tensor]:
    def cast(x: Tensor) -> Tensor:
        return elementwise.astype(x, dtype)

    cast.__doc__ = f"The tensor as {np.dtype(dtype).name}; itself if it is that."
    return cast


def functions() -> dict[str, Callable]:
    """Name -> function, of every method that is no operator."""
    found: dict[str, Callable] = {n: next(getattr(m, n) for m in _MODULES if hasattr(m, n)) for n in OWN}
    found |= {name: found[ours] for name, ours in _TORCH.items()}
    found |= {f.__name__: f for f in (gather, index_select, unfold, narrow, select, where, clamp_min, clamp_max, t)}
    found |= {f.__name__: f for f in (expand, expand_as, reshape_as, type_as, contiguous, numel, dim)}
    found |= {f.__name__: f for f in (is_floating_point, is_contiguous)}
    found |= {f.__name__: f for f in (cpu, cuda, fill_, zero_, copy_)}
    found |= {name: getattr(solve, name) for name in ("inv", "det", "slogdet", "matrix_power", "pinv")}
    found |= {name: getattr(decompose, name) for name in ("cholesky", "svd", "qr")}
    found |= {name: getattr(equations, name) for name in ("matrix_exp", "logdet")}
    found |= {"inverse": solve.inv, "pinverse": solve.pinv, "nelement": numel, "abs": elementwise.absolute}
    found |= {"copy": elementwise.copy, "clone": elementwise.copy}
    found |= {f"new_{name}": _new(name) for name in ("zeros", "ones", "full")}
    floats = {"half": np.float16, "float": np.float32, "double": np.float64, "bfloat16": "bfloat16"}
    ints = {"bool": np.bool_, "byte": np.uint8, "char": np.int8, "short": np.int16, "int": np.int32, "long": np.int64}
    return found | {name: _cast(dtype) for name, dtype in (floats | ints).items()}
