"""Resizing along rows and then along columns: new ones are weighted sums of a few old ones.

Weights are those of Pillow and torchvision: the filter is centred at (i + 0.5) * scale, and where an image shrinks
(antialias) it is as many times wider, so that every old pixel counts. Without antialias they are OpenCV's.
"""

from functools import lru_cache

import numpy as np

from ringtrain.data.transforms.image import ImageTransform, like, size_pair, working

INTERPOLATIONS = ("nearest", "bilinear", "bicubic")


def resize(x: np.ndarray, size: tuple[int, int], interpolation: str = "bilinear", antialias: bool = True) -> np.ndarray:
    """Images (..., H, W) at another (height, width), in their dtype."""
    check_interpolation("resize", interpolation)
    (height, width), (new_height, new_width) = x.shape[-2:], size
    if (height, width) == (new_height, new_width):
        return x.copy()
    if not height or not width:
        raise ValueError(f"resize: an image of {height}x{width} pixels has nothing to resize")
    if interpolation == "nearest":
        return x[..., _nearest(height, new_height)[:, None], _nearest(width, new_width)]
    kind, how = working(x.dtype), (interpolation, antialias)
    values = x.astype(kind, copy=False)
    # First along the axis that leaves less to do. No matrix product: BLAS threads would meet those of the training.
    axes = ((-2, new_height), (-1, new_width))
    for axis, new in axes if new_height * width <= height * new_width else axes[::-1]:
        values = _along(values, axis, *taps(values.shape[axis], new, *how))
    return like(values, x.dtype)


def _along(x: np.ndarray, axis: int, places: np.ndarray, shares: np.ndarray) -> np.ndarray:
    """Sums of `x` at places[:, k] with shares[:, k], along an axis (-1 or -2)."""
    out = None
    for place, share in zip(places.T, shares.T.astype(x.dtype), strict=True):
        part = x.take(place, axis)
        part *= share if axis == -1 else share[:, None]
        out = part if out is None else np.add(out, part, out=out)
    assert out is not None
    return out


@lru_cache(64)
def taps(old: int, new: int, interpolation: str, antialias: bool) -> tuple[np.ndarray, np.ndarray]:
    """The old pixels that count for each new one, and their shares, both (new, how many)."""
    shares = weights(old, new, interpolation, antialias)
    counts = shares != 0
    first, last = counts.argmax(1), old - 1 - counts[:, ::-1].argmax(1)
    most = int((last - first).max()) + 1
    places = np.minimum(first, old - most)[:, None] + np.arange(most)
    return places, np.take_along_axis(shares, places, 1)


def weights(old: int, new: int, interpolation: str, antialias: bool) -> np.ndarray:
    """Row i holds the shares of the old pixels in new pixel i; float64 (new, old), rows sum to 1."""
    scale = old / new
    stretch = max(scale, 1.0) if antialias else 1.0
    centres = (np.arange(new)[:, None] + 0.5) * scale
    cubic = -0.5 if antialias else -0.75  # Pillow's a, and OpenCV's
    if antialias:
        shares = _filter((np.arange(old) + 0.5 - centres) / stretch, interpolation, cubic)
    else:  # what lies outside of the image counts as its edge
        reach = 1 if interpolation == "bilinear" else 2
        first = np.floor(centres - 0.5).astype(int)[:, 0] - reach + 1
        shares = np.zeros((new, old))
        for tap in range(2 * reach):
            place = first + tap
            share = _filter(place + 0.5 - centres[:, 0], interpolation, cubic)
            np.add.at(shares, (np.arange(new), np.clip(place, 0, old - 1)), share)
    return shares / shares.sum(1, keepdims=True)


def _filter(distance: np.ndarray, interpolation: str, a: float) -> np.ndarray:
    d = np.abs(distance)
    if interpolation == "bilinear":
        return np.maximum(1 - d, 0)
    near = ((a + 2) * d - (a + 3)) * d * d + 1
    far = a * (((d - 5) * d + 8) * d - 4)
    return np.where(d < 1, near, np.where(d < 2, far, 0.0))  # Keys 1981


def _nearest(old: int, new: int) -> np.ndarray:
    return np.minimum(((np.arange(new) + 0.5) * (old / new)).astype(int), old - 1)


def check_interpolation(who: str, name: str) -> None:
    if name not in INTERPOLATIONS:
        raise ValueError(f"{who}: interpolation is one of {', '.join(INTERPOLATIONS)}, got {name!r}")


def shorter_side(shape: tuple[int, int], side: int) -> tuple[int, int]:
    """(height, width) of the same proportions whose shorter side has that many pixels."""
    height, width = shape
    if height <= width:
        return side, max(1, round(width * side / height))
    return max(1, round(height * side / width)), side


class Resize(ImageTransform):
    """Images of another size.

    size: (height, width), or a number: a square; with keep_ratio the shorter side gets it.
    interpolation: "nearest", "bilinear" or "bicubic"; antialias: see the module.
    """

    def __init__(
        self,
        size: int | tuple[int, int],
        keep_ratio: bool = False,
        interpolation: str = "bilinear",
        antialias: bool = True,
    ):
        self.size, self.keep_ratio = size_pair("Resize", size), keep_ratio
        if keep_ratio and self.size[0] != self.size[1]:
            raise ValueError(f"Resize: keep_ratio=True takes one number, the shorter side, got {size!r}")
        check_interpolation("Resize", interpolation)
        self.interpolation, self.antialias = interpolation, antialias

    def apply(self, x: np.ndarray) -> np.ndarray:
        size = shorter_side(x.shape[-2:], self.size[0]) if self.keep_ratio else self.size
        return resize(x, size, self.interpolation, self.antialias)
