"""Transforms of batches: NumPy array in, NumPy array out, the first axis is the batch.

A data set applies its transform to x only, never to labels, in the loader's thread:
`MNIST(root, transform=Compose(ToFloat(), Normalize(0.1307, 0.3081), Flatten()))`.
None changes the array it is given. Any function of a batch will do as well.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import DTypeLike


class Compose:
    """One transform after the other: `Compose(f, g)(x)` is `g(f(x))`."""

    def __init__(self, *transforms: Callable[[np.ndarray], np.ndarray]):
        wrong = [t for t in transforms if not callable(t)]
        if wrong:
            raise TypeError(f"Compose takes transforms one by one, as in Compose(f, g); got {wrong[0]!r}")
        self.transforms = transforms

    def __call__(self, x: np.ndarray) -> np.ndarray:
        for transform in self.transforms:
            x = transform(x)
        return x

    def __repr__(self) -> str:
        return f"Compose({', '.join(map(repr, self.transforms))})"


class ToFloat:
    """`x / scale` as floating point: pixels 0..255 become 0..1. Any numeric dtype in, `dtype` out.

    scale: the largest value of the data, 255 for 8-bit images (`dataset.max_value` where a data set has one).
    """

    def __init__(self, scale: float = 255.0, dtype: DTypeLike = np.float32):
        self.scale, self.dtype = scale, np.dtype(dtype)
        if self.dtype.kind != "f":
            raise TypeError(f"ToFloat makes floating-point batches, got dtype {self.dtype}")
        if not scale > 0:
            raise ValueError(f"ToFloat: scale must be positive, got {scale}")

    def __call__(self, x: np.ndarray) -> np.ndarray:
        # Divides in the output's precision: x / 255 is then the nearest float, which x * (1 / 255) is not.
        return np.divide(x, np.asarray(self.scale, self.dtype), dtype=self.dtype, casting="unsafe")

    def __repr__(self) -> str:
        return f"ToFloat({self.scale:g}, {self.dtype})"


class Normalize:
    """`(x - mean) / std` in the dtype of x.

    mean, std: one number for all, or one for each channel, axis 1 of x (N, C, H, W).
    Raises ValueError if std is not positive or channels differ, TypeError if x is not floating point.
    """

    def __init__(self, mean: float | Sequence[float], std: float | Sequence[float]):
        self.mean, self.std = np.asarray(mean, np.float64), np.asarray(std, np.float64)
        if self.mean.ndim > 1 or self.std.ndim > 1:
            raise ValueError(
                f"Normalize: mean and std are numbers or one number a channel, "
                f"got shapes {self.mean.shape} and {self.std.shape}"
            )
        if not np.all(self.std > 0):
            raise ValueError(f"Normalize: std must be positive, got {std}")

    def __call__(self, x: np.ndarray) -> np.ndarray:
        if x.dtype.kind != "f":
            raise TypeError(f"Normalize takes floating-point batches, got {x.dtype}; put ToFloat before it")
        out = x - self._broadcast(self.mean, x)
        out /= self._broadcast(self.std, x)
        return out

    def _broadcast(self, value: np.ndarray, x: np.ndarray) -> Any:
        if value.ndim == 0:
            return x.dtype.type(value)
        if x.ndim < 2 or len(value) not in (1, x.shape[1]):
            raise ValueError(
                f"Normalize: mean or std has {len(value)} channels, x has shape {x.shape}, (batch, channels, ...)"
            )
        return value.astype(x.dtype).reshape(-1, *(1,) * (x.ndim - 2))

    def __repr__(self) -> str:
        return f"Normalize({self.mean.tolist()}, {self.std.tolist()})"


class Flatten:
    """Each sample as one row: (N, ...) becomes (N, number of values in a sample)."""

    def __call__(self, x: np.ndarray) -> np.ndarray:
        # Not reshape(n, -1): that has no answer for n = 0.
        return x.reshape(len(x), int(np.prod(x.shape[1:])))

    def __repr__(self) -> str:
        return "Flatten()"
