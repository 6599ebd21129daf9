"""Transforms of batches of anything: composing, number types, normalising."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import DTypeLike

from ringtrain.data import drawing


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


class RandomApply:
    """`transform` for a sample with probability p, else the sample as it is; shapes and dtypes must agree."""

    def __init__(self, transform: Callable[[np.ndarray], np.ndarray], p: float = 0.5):
        self.transform, self.p = transform, probability("RandomApply", p)

    def __call__(self, x: np.ndarray) -> np.ndarray:
        single = x.ndim == 3
        batch = x[None] if single else x
        rows = np.flatnonzero(drawing.choose(len(batch), self.p))
        out = batch.copy()
        # Entered for no rows too: what is drawn after this transform has the same name for every sample.
        with drawing.branch(rows, len(batch)):
            if len(rows):
                changed = self.transform(batch[rows])
                if changed.shape[1:] != batch.shape[1:] or changed.dtype != batch.dtype:
                    raise ValueError(
                        f"RandomApply: {self.transform!r} makes {changed.dtype} of shape {changed.shape[1:]} from "
                        f"{batch.dtype} of shape {batch.shape[1:]}, so changed samples do not fit beside unchanged ones"
                    )
                out[rows] = changed
        return out[0] if single else out

    def __repr__(self) -> str:
        return f"RandomApply({self.transform!r}, {self.p:g})"


class Cast:
    """The values as another dtype, not scaled (see ToFloat for that); the same array where it is that dtype already."""

    def __init__(self, dtype: DTypeLike = np.float32):
        self.dtype = np.dtype(dtype)

    def __call__(self, x: np.ndarray) -> np.ndarray:
        return x.astype(self.dtype, copy=False)

    def __repr__(self) -> str:
        return f"Cast({self.dtype})"


class ToTensor:
    """Channels first, and 8-bit pixels as float32 in 0..1: (N, H, W, C) to (N, C, H, W), (H, W, C) to (C, H, W).

    For images from elsewhere. The data sets of ringtrain have channels first, where `ToFloat` is enough.
    Integers of another size are refused: what is their largest value? (`ToFloat(scale)` can be told.)
    """

    def __call__(self, x: np.ndarray) -> np.ndarray:
        if x.ndim not in (3, 4):
            raise ValueError(f"ToTensor takes images (N, H, W, C) or (H, W, C), got shape {x.shape}")
        if x.dtype != np.uint8 and x.dtype.kind != "f":
            raise TypeError(f"ToTensor takes uint8 or floating-point images, got {x.dtype}; use ToFloat(scale)")
        first = np.ascontiguousarray(np.moveaxis(x, -1, -3))
        return np.divide(first, np.float32(255), dtype=np.float32) if x.dtype == np.uint8 else first

    def __repr__(self) -> str:
        return "ToTensor()"


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


def probability(who: str, p: float) -> float:
    if not 0 <= p <= 1:
        raise ValueError(f"{who}: p is a probability, 0 to 1, got {p!r}")
    return p
