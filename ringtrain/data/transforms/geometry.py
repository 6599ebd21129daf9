"""Transforms of place: cropping, padding, flipping, turning, erasing."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from ringtrain.data import drawing
from ringtrain.data.transforms.basic import probability
from ringtrain.data.transforms.image import ImageTransform, interval, like, size_pair, within, working
from ringtrain.data.transforms.resize import check_interpolation, resize


class CenterCrop(ImageTransform):
    """The middle (height, width) of each image. Smaller images are an error: put Resize or Pad before it."""

    def __init__(self, size: int | tuple[int, int]):
        self.size = size_pair("CenterCrop", size)

    def apply(self, x: np.ndarray) -> np.ndarray:
        (height, width), (h, w) = _fits("CenterCrop", x, self.size), self.size
        top, left = (height - h) // 2, (width - w) // 2
        return x[..., top : top + h, left : left + w].copy()


class CropResize(ImageTransform):
    """The box whose upper left corner is pixel (x, y), `width` by `height`; then resized to `size`, if given."""

    def __init__(self, x: int, y: int, width: int, height: int, size: Any = None, interpolation: str = "bilinear"):
        if min(x, y) < 0 or min(width, height) < 1:
            raise ValueError(f"CropResize: a box lies within the image, got {x=}, {y=}, {width=}, {height=}")
        self.x, self.y, self.width, self.height = x, y, width, height
        self.size = None if size is None else size_pair("CropResize", size)
        check_interpolation("CropResize", interpolation)
        self.interpolation = interpolation

    def apply(self, x: np.ndarray) -> np.ndarray:
        _fits("CropResize", x, (self.y + self.height, self.x + self.width))
        box = x[..., self.y : self.y + self.height, self.x : self.x + self.width]
        return box.copy() if self.size is None else resize(box, self.size, self.interpolation)


class Pad(ImageTransform):
    """A border: `padding` pixels on each side, or (x, y), or (left, top, right, bottom).

    mode: "constant" (`fill`), "edge", "reflect" or "symmetric", as in np.pad.
    """

    def __init__(self, padding: int | Sequence[int], fill: float = 0, mode: str = "constant"):
        if mode not in ("constant", "edge", "reflect", "symmetric"):
            raise ValueError(f"Pad: mode is constant, edge, reflect or symmetric, got {mode!r}")
        self.padding, self.fill, self.mode = padding, fill, mode
        sides = [padding] if isinstance(padding, int | np.integer) else list(padding)
        if len(sides) not in (1, 2, 4) or min(sides) < 0:
            raise ValueError(f"Pad: padding is one, two or four numbers >= 0, got {padding!r}")
        left, top, right, bottom = (sides * 4)[:4]
        self._widths = ((0, 0), (0, 0), (top, bottom), (left, right))

    def apply(self, x: np.ndarray) -> np.ndarray:
        options = {"constant_values": self.fill} if self.mode == "constant" else {}
        return np.pad(x, self._widths, self.mode, **options)  # type: ignore[call-overload]


class RandomCrop(ImageTransform):
    """A (height, width) from a random place. padding: a border of `fill` first, as `Pad` takes it."""

    def __init__(self, size: int | tuple[int, int], padding: int | Sequence[int] | None = None, fill: float = 0):
        self.size, self.padding, self.fill = size_pair("RandomCrop", size), padding, fill
        self._pad = None if padding is None else Pad(padding, fill)

    def apply(self, x: np.ndarray) -> np.ndarray:
        if self._pad:
            x = self._pad.apply(x)
        (height, width), (h, w) = _fits("RandomCrop", x, self.size), self.size
        places = (drawing.uniform(len(x), 2) * (height - h + 1, width - w + 1)).astype(int)
        out = np.empty((*x.shape[:2], h, w), x.dtype)
        for image, target, (top, left) in zip(x, out, places.tolist(), strict=True):
            target[...] = image[:, top : top + h, left : left + w]
        return out


class RandomResizedCrop(ImageTransform):
    """A box of random area and proportions, resized to `size` (Szegedy et al. 2015, the Inception crop).

    scale: the box's share of the image's area; ratio: width / height, drawn evenly in its logarithm. Of ten boxes
    the first that fits is taken, else the largest in the middle with proportions within `ratio`.
    """

    TRIES = 10

    def __init__(
        self,
        size: int | tuple[int, int],
        scale: tuple[float, float] = (0.08, 1.0),
        ratio: tuple[float, float] = (3 / 4, 4 / 3),
        interpolation: str = "bilinear",
        antialias: bool = True,
    ):
        self.size = size_pair("RandomResizedCrop", size)
        for name, (low, high) in {"scale": scale, "ratio": ratio}.items():
            if not 0 < low <= high:
                raise ValueError(f"RandomResizedCrop: {name} is (low, high), above 0, got {(low, high)}")
        check_interpolation("RandomResizedCrop", interpolation)
        self.scale, self.ratio, self.interpolation, self.antialias = scale, ratio, interpolation, antialias

    def apply(self, x: np.ndarray) -> np.ndarray:
        draws = drawing.uniform(len(x), 4 * self.TRIES).reshape(len(x), self.TRIES, 4)
        out = np.empty((*x.shape[:2], *self.size), x.dtype)
        for image, target, draw in zip(x, out, draws, strict=True):
            top, left, h, w = self._box(x.shape[-2], x.shape[-1], draw)
            target[...] = resize(
                image[:, top : top + h, left : left + w], self.size, self.interpolation, self.antialias
            )
        return out

    def _box(self, height: int, width: int, draw: np.ndarray) -> tuple[int, int, int, int]:
        area = height * width * within(draw[:, 0], *self.scale)
        ratio = np.exp(within(draw[:, 1], *np.log(self.ratio)))
        w, h = np.rint(np.sqrt(area * ratio)).astype(int), np.rint(np.sqrt(area / ratio)).astype(int)
        fits = np.flatnonzero((w > 0) & (w <= width) & (h > 0) & (h <= height))
        if fits.size:
            i = fits[0]
            top, left = int(draw[i, 2] * (height - h[i] + 1)), int(draw[i, 3] * (width - w[i] + 1))
            return top, left, int(h[i]), int(w[i])
        bound = min(max(width / height, self.ratio[0]), self.ratio[1])
        h0, w0 = min(height, max(1, round(width / bound))), min(width, max(1, round(height * bound)))
        return (height - h0) // 2, (width - w0) // 2, h0, w0


class RandomFlipLeftRight(ImageTransform):
    """Mirrored, left to right, with probability p."""

    def __init__(self, p: float = 0.5):
        self.p = probability(type(self).__name__, p)

    def apply(self, x: np.ndarray) -> np.ndarray:
        return _flipped(x, drawing.choose(len(x), self.p), -1)


class RandomFlipTopBottom(RandomFlipLeftRight):
    """Upside down with probability p."""

    def apply(self, x: np.ndarray) -> np.ndarray:
        return _flipped(x, drawing.choose(len(x), self.p), -2)


class Rotate(ImageTransform):
    """Turned by `angle` degrees, anticlockwise, about the middle, in a frame of the same size.

    interpolation: "nearest" or "bilinear"; fill: what comes in from outside.
    """

    def __init__(self, angle: float, interpolation: str = "bilinear", fill: float = 0):
        self.angle, self.interpolation, self.fill = angle, _two(type(self).__name__, interpolation), fill

    def apply(self, x: np.ndarray) -> np.ndarray:
        return (
            np.stack([rotated(image, self.angle, self.interpolation, self.fill) for image in x]) if len(x) else x.copy()
        )


class RandomRotation(ImageTransform):
    """Turned by an angle from (-degrees, degrees), or (low, high), with probability p; else as `Rotate`."""

    def __init__(
        self, degrees: float | tuple[float, float], interpolation: str = "bilinear", fill: float = 0, p: float = 1.0
    ):
        self.degrees = interval("RandomRotation", degrees, 0.0)
        self.interpolation, self.fill = _two("RandomRotation", interpolation), fill
        self.p = probability("RandomRotation", p)

    def apply(self, x: np.ndarray) -> np.ndarray:
        draws, out = drawing.uniform(len(x), 2), x.copy()
        angles = within(draws[:, 1], *self.degrees)
        for row in np.flatnonzero(draws[:, 0] < self.p):
            out[row] = rotated(x[row], angles[row], self.interpolation, self.fill)
        return out


class RandomErasing(ImageTransform):
    """A box of random area and proportions is overwritten, with probability p (Zhong et al. 2020).

    scale, ratio: as in RandomResizedCrop. value: a number, one a channel, or "random": normal noise for
    floating-point images (put it after Normalize), any byte for uint8.
    """

    TRIES = 10

    def __init__(
        self,
        p: float = 0.5,
        scale: tuple[float, float] = (0.02, 0.33),
        ratio: tuple[float, float] = (0.3, 3.3),
        value: float | Sequence[float] | str = 0,
    ):
        self.p, self.scale, self.ratio, self.value = probability("RandomErasing", p), scale, ratio, value
        if isinstance(value, str) and value != "random":
            raise ValueError(f'RandomErasing: value is a number, one a channel, or "random", got {value!r}')

    def apply(self, x: np.ndarray) -> np.ndarray:
        draws, out = drawing.uniform(len(x), 1 + 4 * self.TRIES), x.copy()
        rows = np.flatnonzero(draws[:, 0] < self.p)
        with drawing.branch(rows, len(x)):
            values = self._values(len(rows), x)
        for row, value in zip(rows, values, strict=True):
            box = self._box(x.shape[-2], x.shape[-1], draws[row, 1:].reshape(-1, 4))
            if box:
                out[(row, slice(None), *box)] = value[(slice(None), *box)]
        return out

    def _box(self, height: int, width: int, draw: np.ndarray) -> tuple[slice, slice] | None:
        area = height * width * within(draw[:, 0], *self.scale)
        ratio = np.exp(within(draw[:, 1], *np.log(self.ratio)))  # height / width, as in the paper
        h, w = np.rint(np.sqrt(area * ratio)).astype(int), np.rint(np.sqrt(area / ratio)).astype(int)
        fits = np.flatnonzero((h < height) & (w < width))
        if not fits.size:
            return None
        i = fits[0]
        top, left = int(draw[i, 2] * (height - h[i] + 1)), int(draw[i, 3] * (width - w[i] + 1))
        return slice(top, top + h[i]), slice(left, left + w[i])

    def _values(self, n: int, x: np.ndarray) -> np.ndarray:
        """What n images are overwritten with, as large as they are."""
        if self.value != "random":
            value = np.asarray(self.value, x.dtype).reshape(-1, 1, 1)
            return np.broadcast_to(value, (n, *x.shape[1:]))
        draw, pixels = (drawing.normal if x.dtype.kind == "f" else drawing.uniform), int(np.prod(x.shape[1:]))
        noise = draw(n, pixels).reshape(n, *x.shape[1:])
        return noise.astype(x.dtype) if x.dtype.kind == "f" else np.floor(noise * 256).astype(x.dtype)


def rotated(image: np.ndarray, degrees: float, interpolation: str, fill: float) -> np.ndarray:
    """One image (C, H, W) turned anticlockwise about its middle; outside of it everything is `fill`."""
    height, width = image.shape[-2:]
    cos, sin = np.cos(np.deg2rad(degrees)), np.sin(np.deg2rad(degrees))
    y, x = np.arange(height)[:, None] - (height - 1) / 2, np.arange(width) - (width - 1) / 2
    # Where each new pixel comes from: turned back (rows count downwards).
    from_x, from_y = cos * x - sin * y + (width - 1) / 2, sin * x + cos * y + (height - 1) / 2
    padded = np.pad(image.astype(working(image.dtype)), ((0, 0), (1, 1), (1, 1)), constant_values=fill)
    if interpolation == "nearest":
        return like(_at(padded, np.rint(from_y).astype(int), np.rint(from_x).astype(int)), image.dtype)
    # 1e-9: a quarter turn must not take 1e-16 of a pixel from its neighbour.
    top, left = np.floor(from_y + 1e-9).astype(int), np.floor(from_x + 1e-9).astype(int)
    down, right = (from_y - top).astype(padded.dtype), (from_x - left).astype(padded.dtype)
    upper = _at(padded, top, left) * (1 - right) + _at(padded, top, left + 1) * right
    lower = _at(padded, top + 1, left) * (1 - right) + _at(padded, top + 1, left + 1) * right
    return like(upper * (1 - down) + lower * down, image.dtype)


def _at(padded: np.ndarray, y: np.ndarray, x: np.ndarray) -> np.ndarray:
    """Pixels of an image with a border of one pixel, which stands for everything outside."""
    height, width = padded.shape[-2:]
    return padded[:, np.clip(y + 1, 0, height - 1), np.clip(x + 1, 0, width - 1)]


def _flipped(x: np.ndarray, rows: np.ndarray, axis: int) -> np.ndarray:
    return np.where(rows[:, None, None, None], np.flip(x, axis), x)


def _fits(who: str, x: np.ndarray, size: tuple[int, int]) -> tuple[int, int]:
    height, width = x.shape[-2:]
    if height < size[0] or width < size[1]:
        raise ValueError(
            f"{who}: images of {height}x{width} pixels are smaller than {size[0]}x{size[1]}; "
            f"put Resize or Pad before it"
        )
    return height, width


def _two(who: str, interpolation: str) -> str:
    if interpolation not in ("nearest", "bilinear"):
        raise ValueError(f'{who}: interpolation is "nearest" or "bilinear", got {interpolation!r}')
    return interpolation
