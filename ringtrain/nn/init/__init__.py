"""Initialisers: small objects that draw a parameter's first values, and PyTorch's functions that fill in place.

Values are a function of (seed, name, index) alone (see `ringtrain.random`), so every rank draws the same ones. Each
object is called as `init(shape, name, dtype)` and returns a NumPy array. The fans of a weight (out, in, *window) are
in * window and out * window elements, as in MXNet and PyTorch.
"""

from .basic import (
    Constant,
    Initializer,
    Kaiming,
    MSRAPrelu,
    Normal,
    Ones,
    TruncNormal,
    Uniform,
    Xavier,
    Zeros,
    calculate_gain,
    fans,
)
from .inplace import (
    constant_,
    dirac_,
    eye_,
    fill_,
    kaiming_normal_,
    kaiming_uniform_,
    normal_,
    ones_,
    orthogonal_,
    sparse_,
    trunc_normal_,
    uniform_,
    xavier_normal_,
    xavier_uniform_,
    zeros_,
)
from .structured import (
    Bilinear,
    Dirac,
    Eye,
    LSTMBias,
    Orthogonal,
    Sparse,
)
