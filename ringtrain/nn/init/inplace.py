"""PyTorch's names: functions that fill a tensor in place, outside the graph, and return it.

Each call draws under a name of its own, by the order of the calls: the same on every rank.
"""

from __future__ import annotations

from ... import random
from ...tensor import Tensor
from .basic import Constant, Initializer, Kaiming, Normal, TruncNormal, Uniform, Xavier
from .structured import Dirac, Eye, Orthogonal, Sparse


def fill_(tensor: Tensor, initializer: Initializer, name: str | None = None) -> Tensor:
    """Fills a tensor with what an initialiser draws, under a name (None: the next in order). Returns it."""
    values = initializer(tensor.shape, name or random.next_name("init"), tensor.dtype)
    tensor._data[...] = tensor.backend.asarray(values)
    tensor._version[0] += 1
    return tensor


def uniform_(tensor: Tensor, a: float = 0.0, b: float = 1.0) -> Tensor:
    """Uniform in [a, b)."""
    return fill_(tensor, Uniform(low=a, high=b))


def normal_(tensor: Tensor, mean: float = 0.0, std: float = 1.0) -> Tensor:
    """Normal."""
    return fill_(tensor, Normal(std, mean))


def trunc_normal_(tensor: Tensor, mean: float = 0.0, std: float = 1.0, a: float = -2.0, b: float = 2.0) -> Tensor:
    """Normal, cut to a .. b."""
    return fill_(tensor, TruncNormal(mean, std, a, b))


def constant_(tensor: Tensor, val: float) -> Tensor:
    """Every element val."""
    return fill_(tensor, Constant(val), "")


def zeros_(tensor: Tensor) -> Tensor:
    """Zeros."""
    return constant_(tensor, 0.0)


def ones_(tensor: Tensor) -> Tensor:
    """Ones."""
    return constant_(tensor, 1.0)


def eye_(tensor: Tensor) -> Tensor:
    """The identity matrix."""
    return fill_(tensor, Eye())


def dirac_(tensor: Tensor, groups: int = 1) -> Tensor:
    """The identity convolution."""
    return fill_(tensor, Dirac(groups))


def xavier_uniform_(tensor: Tensor, gain: float = 1.0) -> Tensor:
    """Uniform in +-gain sqrt(6 / (fan_in + fan_out))."""
    return fill_(tensor, Xavier("uniform", "avg", 3.0 * gain**2))


def xavier_normal_(tensor: Tensor, gain: float = 1.0) -> Tensor:
    """Normal of deviation gain sqrt(2 / (fan_in + fan_out))."""
    return fill_(tensor, Xavier("normal", "avg", gain**2))


def kaiming_uniform_(tensor: Tensor, a: float = 0.0, mode: str = "fan_in", nonlinearity: str = "leaky_relu") -> Tensor:
    """Uniform in +-gain sqrt(3 / fan); a is the negative slope."""
    return fill_(tensor, Kaiming("uniform", mode, a, nonlinearity))


def kaiming_normal_(tensor: Tensor, a: float = 0.0, mode: str = "fan_in", nonlinearity: str = "leaky_relu") -> Tensor:
    """Normal of deviation gain / sqrt(fan); a is the negative slope."""
    return fill_(tensor, Kaiming("normal", mode, a, nonlinearity))


def orthogonal_(tensor: Tensor, gain: float = 1.0) -> Tensor:
    """Orthonormal rows or columns, times gain."""
    return fill_(tensor, Orthogonal(gain))


def sparse_(tensor: Tensor, sparsity: float, std: float = 0.01) -> Tensor:
    """Normal, with a part `sparsity` of each column zero."""
    return fill_(tensor, Sparse(sparsity, std))
