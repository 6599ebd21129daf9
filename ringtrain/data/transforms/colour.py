"""Transforms of colour: brightness, contrast, saturation, hue, lighting.

Images are RGB (3 channels) or grey (1), integers 0..255 or floating point; integers are rounded and held within
their range, floating point is not, whatever its scale. Put these before Normalize.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from ringtrain.data import drawing
from ringtrain.data.transforms.basic import probability
from ringtrain.data.transforms.image import ImageTransform, interval, like, within, working

GREY = np.array([0.299, 0.587, 0.114])  # ITU-R BT.601
TO_YIQ = np.array([GREY, [0.596, -0.274, -0.321], [0.211, -0.523, 0.311]])  # as Gluon has it
# Eigenvectors (columns) and values of the covariance of ImageNet's pixels 0..255 (Krizhevsky et al. 2012).
PCA_VECTORS = np.array([[-0.5675, 0.7192, 0.4009], [-0.5808, -0.0045, -0.8140], [-0.5836, -0.6948, 0.4203]])
PCA_VALUES = np.array([55.46, 4.794, 1.148])


class _Factor(ImageTransform):
    """Base: a factor for each image, from (max(0, 1 - v), 1 + v) or (low, high)."""

    def _interval(self, value: float | Sequence[float]) -> tuple[float, float]:
        return interval(type(self).__name__, value, 1.0, 0.0)

    def _factors(self, x: np.ndarray, value: tuple[float, float]) -> np.ndarray:
        return _factor(x, within(drawing.uniform(len(x))[:, 0], *value))


class RandomBrightness(_Factor):
    """Pixels times a factor, from (max(0, 1 - brightness), 1 + brightness) or (low, high)."""

    def __init__(self, brightness: float | tuple[float, float]):
        self.brightness = self._interval(brightness)

    def apply(self, x: np.ndarray) -> np.ndarray:
        return brightness(x, self._factors(x, self.brightness))


class RandomContrast(_Factor):
    """Distances from the image's mean grey times a factor, from (max(0, 1 - contrast), 1 + contrast) or (low, high)."""

    def __init__(self, contrast: float | tuple[float, float]):
        self.contrast = self._interval(contrast)

    def apply(self, x: np.ndarray) -> np.ndarray:
        return contrast(x, self._factors(x, self.contrast))


class RandomSaturation(_Factor):
    """Distances from each pixel's own grey times a factor, from (max(0, 1 - saturation), 1 + saturation)."""

    def __init__(self, saturation: float | tuple[float, float]):
        self.saturation = self._interval(saturation)

    def apply(self, x: np.ndarray) -> np.ndarray:
        return saturation(x, self._factors(x, self.saturation))


class RandomHue(ImageTransform):
    """Colours turned by an angle from (-hue, hue) half turns, about the grey axis of YIQ, as Gluon does; RGB only."""

    def __init__(self, hue: float | tuple[float, float]):
        self.hue = interval("RandomHue", hue, 0.0)

    def apply(self, x: np.ndarray) -> np.ndarray:
        return hue(x, within(drawing.uniform(len(x))[:, 0], *self.hue))


class ColorJitter(ImageTransform):
    """RandomBrightness, RandomContrast, RandomSaturation and RandomHue, in an order of its own for each image."""

    def __init__(self, brightness: Any = 0, contrast: Any = 0, saturation: Any = 0, hue: Any = 0):
        for name, value in {"brightness": brightness, "contrast": contrast, "saturation": saturation}.items():
            setattr(self, name, interval("ColorJitter", value, 1.0, 0.0))
        self.hue = interval("ColorJitter", hue, 0.0)

    def apply(self, x: np.ndarray) -> np.ndarray:
        draws, kind = drawing.uniform(len(x), 8), working(x.dtype)
        orders = np.argsort(draws[:, 4:], axis=1)
        out = x.astype(kind)
        ranges = [self.brightness, self.contrast, self.saturation, self.hue]  # type: ignore[attr-defined]
        used = [place for place, value in enumerate(ranges) if value != ((0, 0) if place == 3 else (1, 1))]
        for turn in range(4):
            for place in used:
                rows = np.flatnonzero(orders[:, turn] == place)
                if rows.size:
                    drawn = within(draws[rows, place], *ranges[place])
                    part = out[rows]
                    out[rows] = hue(part, drawn) if place == 3 else ADJUST[place](part, _factor(part, drawn))
        return like(out, x.dtype)


class RandomLighting(ImageTransform):
    """Noise along the principal colours of ImageNet (Krizhevsky et al. 2012); RGB only.

    alpha: standard deviation of the noise, 0.1 in the paper. scale: largest value of the images, None for 255 where
    they are integers and 1 where they are floating point.
    """

    def __init__(self, alpha: float = 0.1, scale: float | None = None):
        if not alpha >= 0:
            raise ValueError(f"RandomLighting: alpha is a standard deviation, got {alpha!r}")
        self.alpha, self.scale = alpha, scale

    def apply(self, x: np.ndarray) -> np.ndarray:
        _rgb("RandomLighting", x)
        scale = self.scale or (1.0 if x.dtype.kind == "f" else 255.0)
        noise = self.alpha * drawing.normal(len(x), 3)
        shift = (noise * PCA_VALUES) @ PCA_VECTORS.T * (scale / 255)
        kind = working(x.dtype)
        return like(x.astype(kind) + shift.astype(kind)[:, :, None, None], x.dtype)


class RandomGray(ImageTransform):
    """Grey (in all channels) with probability p; RGB only."""

    def __init__(self, p: float = 0.5):
        self.p = probability("RandomGray", p)

    def apply(self, x: np.ndarray) -> np.ndarray:
        _rgb("RandomGray", x)
        rows = drawing.choose(len(x), self.p)
        return np.where(rows[:, None, None, None], like(grey(x), x.dtype), x)


def brightness(x: np.ndarray, factor: np.ndarray) -> np.ndarray:
    return like(x * factor, x.dtype)


def contrast(x: np.ndarray, factor: np.ndarray) -> np.ndarray:
    mean = grey(x).mean((1, 2, 3), keepdims=True)
    return like(x * factor + mean * (1 - factor), x.dtype)


def saturation(x: np.ndarray, factor: np.ndarray) -> np.ndarray:
    return like(x * factor + grey(x) * (1 - factor), x.dtype)


def hue(x: np.ndarray, half_turns: np.ndarray) -> np.ndarray:
    """Colours turned: a matrix for each image, shape (N, 3, 3), times its pixels."""
    _rgb("hue", x)
    cos, sin = np.cos(np.pi * half_turns), np.sin(np.pi * half_turns)
    turn = np.zeros((len(x), 3, 3))
    turn[:, 0, 0] = 1
    turn[:, 1, 1], turn[:, 1, 2], turn[:, 2, 1], turn[:, 2, 2] = cos, -sin, sin, cos
    matrices = (np.linalg.inv(TO_YIQ) @ turn @ TO_YIQ).astype(working(x.dtype))
    pixels = x.reshape(len(x), 3, x.shape[2] * x.shape[3])
    turned = np.einsum("nij,njp->nip", matrices, pixels)  # not matmul: BLAS threads would meet those of the training
    return like(turned.reshape(x.shape), x.dtype)


def grey(x: np.ndarray) -> np.ndarray:
    """Brightness of every pixel, floating point, (N, 1, H, W)."""
    kind = working(x.dtype)
    if x.shape[1] == 1:
        return x.astype(kind)
    _rgb("grey", x)
    return np.einsum("c,nchw->nhw", GREY.astype(kind), x.astype(kind, copy=False))[:, None]


ADJUST = (brightness, contrast, saturation)


def _factor(x: np.ndarray, values: np.ndarray) -> np.ndarray:
    return values.astype(working(x.dtype))[:, None, None, None]


def _rgb(who: str, x: np.ndarray) -> None:
    if x.shape[1] != 3:
        raise ValueError(f"{who}: needs RGB images, 3 channels, got shape {x.shape}")
