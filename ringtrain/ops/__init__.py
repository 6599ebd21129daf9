"""Ops on tensors, one file a family: each op with its vjps and its shape rule side by side.

Names are NumPy's; as methods of a Tensor there are PyTorch's too (`names.py`). PyTorch's and MXNet's that differ:

    amax, amin            max, min (which share the gradient of ties equally)
    bmm, mm, batch_dot    matmul
    cat, concat           concatenate
    clamp                 clip; between tensors maximum and minimum
    expand                broadcast_to
    gather, pick          take_along_axis
    index_select, batch_take  take
    index_put             t[index] = value
    pairs (values, indices) of max, sort, median  max and argmax, sort and argsort, median
    permute               transpose
    repeat of PyTorch     tile
    repeat_interleave     repeat
    slice_axis, narrow    t[:, a:b]
    SoftmaxOutput, softmax_cross_entropy  nn.cross_entropy
    unbind, SliceChannel  unstack, split
    unsqueeze             expand_dims
"""

from . import (
    activations,
    arrange,
    blocks,
    boxes,
    conv,
    conv_transpose,
    create,
    ctc,
    decompose,
    distance,
    elementwise,
    embedding,
    equations,
    fold,
    gather,
    geometry,
    index,
    interpolate,
    linalg,
    loss,
    loss_margin,
    loss_regression,
    methods,
    names,
    norm,
    norms,
    padding,
    pool,
    pool_adaptive,
    pool_fractional,
    reduce,
    rnn,
    sample,
    scan,
    scatter,
    shape,
    slices,
    solve,
    sort,
    special,
    statistics,
)

__all__ = [
    "activations",
    "arrange",
    "blocks",
    "boxes",
    "conv",
    "conv_transpose",
    "create",
    "ctc",
    "decompose",
    "distance",
    "elementwise",
    "embedding",
    "equations",
    "fold",
    "gather",
    "geometry",
    "index",
    "interpolate",
    "linalg",
    "loss",
    "loss_margin",
    "loss_regression",
    "methods",
    "names",
    "norm",
    "norms",
    "padding",
    "pool",
    "pool_adaptive",
    "pool_fractional",
    "reduce",
    "rnn",
    "sample",
    "scan",
    "scatter",
    "shape",
    "slices",
    "solve",
    "sort",
    "special",
    "statistics",
]
