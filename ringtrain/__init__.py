"""ringtrain: tensors, autograd and data-parallel training. `import ringtrain as rt`."""

from . import backend, data, nn, ops, optim, random
from .autograd import enable_grad, is_grad_enabled, no_grad
from .backward import backward, grad
from .function import Function
from .gradcheck import gradcheck
from .ops.create import allclose, arange, full, ones, ones_like, zeros, zeros_like
from .ops.elementwise import (
    absolute,
    arccos,
    arcsin,
    arctan,
    arctan2,
    astype,
    ceil,
    clip,
    cos,
    cosh,
    equal,
    erf,
    exp,
    expm1,
    floor,
    greater,
    greater_equal,
    isfinite,
    isinf,
    isnan,
    less,
    less_equal,
    log,
    log1p,
    log2,
    log10,
    logaddexp,
    logical_and,
    logical_not,
    logical_or,
    logical_xor,
    maximum,
    minimum,
    not_equal,
    power,
    reciprocal,
    sigmoid,
    sign,
    sin,
    sinh,
    softplus,
    sqrt,
    square,
    tan,
    tanh,
    where,
)
from .ops.index import one_hot, take, take_along_axis
from .ops.linalg import einsum, matmul, outer
from .ops.reduce import (
    all,
    any,
    argmax,
    argmin,
    cumsum,
    log_softmax,
    logsumexp,
    max,
    mean,
    min,
    norm,
    prod,
    softmax,
    std,
    sum,
    var,
)
from .ops.shape import (
    broadcast_to,
    concatenate,
    expand_dims,
    flatten,
    flip,
    moveaxis,
    pad,
    reshape,
    split,
    squeeze,
    stack,
    swapaxes,
    transpose,
)
from .random import seed
from .tensor import Tensor, from_numpy, tensor

__version__ = "0.1.0"
