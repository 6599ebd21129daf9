"""ImageRecordIter: batches of images from RecordIO, decoded and augmented by threads."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from ringtrain.data import drawing
from ringtrain.data import transforms as tf
from ringtrain.data.formats.imagerecord import unpack, unpack_img
from ringtrain.data.formats.recordio import RecordError, RecordReader
from ringtrain.data.iterators.base import REQUIRED, WITHOUT_EFFECT, DataDesc, Plan, RoundIter, checked, shape_of

DEFAULTS: dict[str, Any] = {
    "path_imgrec": REQUIRED,
    "data_shape": REQUIRED,
    "batch_size": REQUIRED,
    "path_imgidx": "",
    "path_imglist": "",
    "label_width": 1,
    "preprocess_threads": 4,
    "prefetch_buffer": 4,
    "num_parts": 1,
    "part_index": 0,
    "shuffle": False,
    "seed": 0,
    "seed_aug": None,
    "round_batch": True,
    "dtype": None,
    "resize": -1,
    "rand_crop": False,
    "random_resized_crop": False,
    "rand_mirror": False,
    "mirror": False,
    "rotate": -1,
    "max_rotate_angle": 0,
    "fill_value": 255,
    "pad": 0,
    "inter_method": 1,
    "max_aspect_ratio": 0.0,
    "min_aspect_ratio": None,
    "max_random_area": 1.0,
    "min_random_area": 1.0,
    "max_random_scale": 1.0,
    "min_random_scale": 1.0,
    "brightness": 0.0,
    "contrast": 0.0,
    "saturation": 0.0,
    "pca_noise": 0.0,
    "max_random_contrast": 0.0,
    "max_random_illumination": 0.0,
    "scale": 1.0,
    **{f"mean_{c}": 0.0 for c in "rgb"},
    **{f"std_{c}": 1.0 for c in "rgb"},
}
# Known to MXNet, and here with their defaults only.
FIXED: dict[str, Any] = {
    "aug_seq": "aug_default",
    "mean_img": "",
    "mean_a": 0,
    "std_a": 1,
    "max_shear_ratio": 0,
    "random_h": 0,
    "random_s": 0,
    "random_l": 0,
    "max_crop_size": -1,
    "min_crop_size": -1,
    "max_img_size": 1e10,
    "min_img_size": 0,
    "shuffle_chunk_size": 0,
    "shuffle_chunk_seed": 0,
}
# OpenCV's numbers. 3 is its INTER_AREA, here the antialiased bilinear filter.
METHODS = {0: ("nearest", False), 1: ("bilinear", False), 2: ("bicubic", False), 3: ("bilinear", True)}


class ImageRecordIter(RoundIter):
    """Batches of images from a `.rec` file: tensors (batch, C, H, W) float32, RGB, `(x - mean) * scale / std`.

    path_imgrec, data_shape (C, H, W; C is 1 or 3), batch_size: required. Parameters have MXNet's names and meanings;
    an unknown one is an error that lists them.

    Order of work on each image: decode; resize the shorter side to `resize`; turn by `rotate` or up to
    `max_rotate_angle` degrees; border of `pad` pixels of `fill_value`; scale by [min_random_scale, max_random_scale];
    enlarge where it is smaller than data_shape; crop (`rand_crop`, `random_resized_crop` with
    [min_random_area, max_random_area] and aspect ratios, else the middle); mirror; colour (brightness, contrast,
    saturation, pca_noise); then in floating point max_random_contrast and max_random_illumination.

    path_imgidx: the index; without it the file's headers are read once. path_imglist: lines
    "number<tab>label...<tab>name", whose labels replace those of the records with that id; other records are left out.
    shuffle draws the order from (seed, epoch), and random work from (seed_aug or seed, epoch, record): the same with
    any number of preprocess_threads. dtype "uint8" and "int8" leave the pixels as they are.
    num_parts, part_index: contiguous parts of the records.
    """

    def __init__(self, **given: Any):
        who = "ImageRecordIter"
        for name in WITHOUT_EFFECT:
            given.pop(name, None)
        p = checked(who, given, DEFAULTS, FIXED)
        self.data_shape = shape_of(who, "data_shape", p["data_shape"])
        if len(self.data_shape) != 3 or self.data_shape[0] not in (1, 3):
            raise ValueError(
                f"{who}: data_shape is (channels, height, width) with 1 or 3 channels, got {self.data_shape}"
            )
        self.dtype, self.label_width, self._p = np.dtype(p["dtype"] or np.float32), p["label_width"], p
        self._records = RecordReader(p["path_imgrec"], p["path_imgidx"] or None)
        self._labels: dict[int, np.ndarray] | None = None
        self._numbers = np.arange(len(self._records))
        if p["path_imglist"]:
            self._labels = _read_list(p["path_imglist"])
            ids = [unpack(self._records[i])[0].id for i in range(len(self._records))]
            self._numbers = np.flatnonzero(np.isin(ids, list(self._labels)))
        self._work = self._pipeline(p)
        channels = "rgb"[: self.data_shape[0]]
        self._mean, self._std = (
            np.array([p[f"{what}_{c}"] for c in channels], np.float32)[:, None, None] for what in ("mean", "std")
        )
        self._threads = ThreadPoolExecutor(max(1, p["preprocess_threads"]), "ringtrain-decode")
        super().__init__(
            len(self._numbers),
            **{k: p[k] for k in ("batch_size", "shuffle", "seed", "round_batch", "num_parts", "part_index")},
            prefetch_buffer=p["prefetch_buffer"],
        )

    @property
    def provide_data(self) -> list[DataDesc]:
        return [DataDesc("data", (self.batch_size, *self.data_shape), self.dtype.type)]

    @property
    def provide_label(self) -> list[DataDesc]:
        return [DataDesc("softmax_label", (self.batch_size, *((self.label_width,) if self.label_width > 1 else ())))]

    def load(self, plan: Plan) -> tuple[list[np.ndarray], list[np.ndarray]]:
        made = list(self._threads.map(lambda row: self._one(int(self._numbers[row]), plan.epoch), plan.rows))
        images = np.stack([image for image, _ in made])
        return [images], [np.stack([label for _, label in made])]

    def _one(self, number: int, epoch: int) -> tuple[np.ndarray, np.ndarray]:
        try:
            header, image = unpack_img(self._records[number], 1 if self.data_shape[0] == 3 else 0)
            label = header.label if self._labels is None else self._labels[header.id]
            if np.size(label) != self.label_width:
                raise RecordError(f"has {np.size(label)} labels, label_width is {self.label_width}")
            with drawing.drawing(
                [number], epoch, self._p["seed"] if self._p["seed_aug"] is None else self._p["seed_aug"]
            ):
                pixels = self._normalized(self._work(image))
        except ValueError as error:
            raise RecordError(f"{self._records.path}, record {number}: {error}") from error
        return pixels, np.asarray(label, np.float32).reshape(() if self.label_width == 1 else -1)

    def _normalized(self, image: np.ndarray) -> np.ndarray:
        p = self._p
        if self.dtype.kind != "f":
            return image.astype(self.dtype)
        contrast, light = p["max_random_contrast"], p["max_random_illumination"]
        factor, shift = 1.0, 0.0
        if contrast or light:
            draw = 2 * drawing.uniform(1, 2)[0] - 1
            factor, shift = 1 + draw[0] * contrast, draw[1] * light
        scaled = (image - self._mean) * np.float32(factor) + np.float32(shift)
        return (scaled * np.float32(p["scale"]) / self._std).astype(self.dtype)

    def _pipeline(self, p: dict[str, Any]) -> tf.Compose:
        """Everything from the decoded image to the one of data_shape, in order."""
        height, width = self.data_shape[1:]
        if p["inter_method"] not in METHODS:
            raise NotImplementedError(
                f"ImageRecordIter: inter_method is one of {list(METHODS)}, got {p['inter_method']}"
            )
        method, antialias = METHODS[p["inter_method"]]
        steps: list[Any] = []
        if p["resize"] > 0:
            steps.append(_ShorterSide(p["resize"], method, antialias))
        turn = {"interpolation": "nearest" if method == "nearest" else "bilinear", "fill": p["fill_value"]}
        if p["max_rotate_angle"] > 0:
            steps.append(tf.RandomRotation(p["max_rotate_angle"], **turn))
        elif p["rotate"] > 0:
            steps.append(tf.Rotate(p["rotate"], **turn))
        if p["pad"] > 0:
            steps.append(tf.Pad(p["pad"], p["fill_value"]))
        if (p["min_random_scale"], p["max_random_scale"]) != (1.0, 1.0):
            steps.append(_RandomScale(p["min_random_scale"], p["max_random_scale"], method, antialias))
        if p["random_resized_crop"]:
            low = 1 - p["max_aspect_ratio"] if p["min_aspect_ratio"] is None else p["min_aspect_ratio"]
            high = 1 + p["max_aspect_ratio"] if p["min_aspect_ratio"] is None else p["max_aspect_ratio"]
            area = (p["min_random_area"], p["max_random_area"])
            steps.append(tf.RandomResizedCrop((height, width), area, (low, high), method, antialias))
        elif p["max_aspect_ratio"] or p["min_aspect_ratio"] or (p["min_random_area"], p["max_random_area"]) != (1, 1):
            raise NotImplementedError("ImageRecordIter: aspect ratios and areas need random_resized_crop=True")
        else:
            steps.append(_Enlarge((height, width), method, antialias))
            steps.append((tf.RandomCrop if p["rand_crop"] else tf.CenterCrop)((height, width)))
        if p["mirror"] or p["rand_mirror"]:
            steps.append(tf.RandomFlipLeftRight(1.0 if p["mirror"] else 0.5))
        if p["brightness"] or p["contrast"] or p["saturation"]:
            steps.append(tf.ColorJitter(p["brightness"], p["contrast"], p["saturation"]))
        if p["pca_noise"]:
            steps.append(tf.RandomLighting(p["pca_noise"]))
        return tf.Compose(*steps)


class _ShorterSide:
    """The shorter side gets `side` pixels; the longer one in proportion, rounded down as MXNet does."""

    def __init__(self, side: int, method: str, antialias: bool):
        self.side, self.method, self.antialias = side, method, antialias

    def __call__(self, x: np.ndarray) -> np.ndarray:
        height, width = x.shape[-2:]
        short = min(height, width)
        return tf.resize(x, (height * self.side // short, width * self.side // short), self.method, self.antialias)


class _Enlarge:
    """Images too small for the crop: first by height, then by width, in proportion, as MXNet does."""

    def __init__(self, size: tuple[int, int], method: str, antialias: bool):
        self.size, self.method, self.antialias = size, method, antialias

    def __call__(self, x: np.ndarray) -> np.ndarray:
        for axis in (0, 1):
            height, width = x.shape[-2:]
            wanted, has = self.size[axis], (height, width)[axis]
            if has < wanted:
                new = (wanted, int(wanted / has * width)) if axis == 0 else (int(wanted / has * height), wanted)
                x = tf.resize(x, new, self.method, self.antialias)
        return x


class _RandomScale:
    """Both sides times a factor from [low, high]."""

    def __init__(self, low: float, high: float, method: str, antialias: bool):
        self.low, self.high, self.method, self.antialias = low, high, method, antialias

    def __call__(self, x: np.ndarray) -> np.ndarray:
        factor = self.low + (self.high - self.low) * drawing.uniform(1)[0, 0]
        height, width = (max(1, round(n * factor)) for n in x.shape[-2:])
        return tf.resize(x, (height, width), self.method, self.antialias)


def _read_list(path: str | Path) -> dict[int, np.ndarray]:
    """Labels by number, from an image list."""
    labels = {}
    for number, line in enumerate(Path(path).read_text().splitlines(), 1):
        fields = line.split("\t")
        try:
            labels[int(fields[0])] = np.array([float(f) for f in fields[1:-1]], np.float32)
        except ValueError:
            raise ValueError(
                f"{path}, line {number}: expected 'number<tab>label...<tab>name', found {line[:80]!r}"
            ) from None
    return labels
