"""Pictures and folders of them, through Pillow."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ringtrain.data import drawing
from ringtrain.data.dataset import Dataset

EXTENSIONS = (".jpg", ".jpeg", ".png", ".ppm", ".bmp", ".pgm", ".tif", ".tiff", ".webp", ".gif")


def pillow() -> Any:
    """The module PIL.Image, or an ImportError that says how to get it."""
    try:
        from PIL import Image
    except ImportError as error:
        raise ImportError("pictures are read and written with Pillow: pip install 'ringtrain[images]'") from error
    return Image


def decode(content: bytes, mode: str | None = "RGB", name: str | Path = "the image") -> np.ndarray:
    """A picture's bytes (JPEG, PNG, ...) as uint8 (C, H, W): 3 channels for mode "RGB", 1 for "L".

    mode None: RGB or grey, as it is stored. A palette becomes RGB; transparency is dropped.
    """
    image = pillow()
    try:
        with image.open(io.BytesIO(content)) as picture:
            if mode is None:
                mode = "L" if picture.mode in ("1", "L", "LA") else "RGB"
            pixels = np.asarray(picture if picture.mode == mode else picture.convert(mode))
    except (OSError, SyntaxError, ValueError, image.DecompressionBombError) as error:
        raise ValueError(f"{name}: {len(content)} bytes that Pillow cannot decode: {error}") from error
    return np.ascontiguousarray(np.moveaxis(np.atleast_3d(pixels), -1, 0))


def imread(path: str | Path, mode: str | None = "RGB") -> np.ndarray:
    """A picture file as uint8 (C, H, W), see `decode`."""
    return decode(Path(path).read_bytes(), mode, path)


class ImageFolder(Dataset):
    """Pictures in a folder for each class: `root/cat/1.jpg`, `root/dog/a/2.png`, ...

    root: its sub-folders are the classes, numbered in the order of their names; pictures may lie deeper in them.
    transform: gets the image as a batch of one, (1, C, H, W) (see `transforms`).
    mode: "RGB" or "L" (grey).
    extensions: endings of pictures' names; other files are left out.

    Samples are (image, label): uint8 (C, H, W), each of its own size unless a transform gives them one, and int64.
    `classes`, `class_to_idx` and `samples` (pairs of path and label) are torchvision's.
    Raises FileNotFoundError where there are no classes, or a class has no picture.
    """

    def __init__(
        self,
        root: str | Path,
        transform: Callable[[np.ndarray], np.ndarray] | None = None,
        mode: str = "RGB",
        extensions: Sequence[str] = EXTENSIONS,
    ):
        self.root, self.image_transform, self.mode = Path(root).expanduser(), transform, mode
        if not self.root.is_dir():
            raise FileNotFoundError(f"ImageFolder: no folder {self.root}")
        self.classes = sorted(entry.name for entry in self.root.iterdir() if entry.is_dir())
        if not self.classes:
            raise FileNotFoundError(f"ImageFolder: {self.root} has no sub-folders, of which each is a class")
        self.class_to_idx = {name: number for number, name in enumerate(self.classes)}
        self.samples = [
            (path, label) for name, label in self.class_to_idx.items() for path in self._of(name, extensions)
        ]
        self._labels = np.array([label for _, label in self.samples], np.int64)

    def _of(self, name: str, extensions: Sequence[str]) -> list[Path]:
        endings = {ending.lower() for ending in extensions}
        found = sorted(p for p in (self.root / name).rglob("*") if p.suffix.lower() in endings and p.is_file())
        if not found:
            raise FileNotFoundError(f"ImageFolder: {self.root / name} has no file that ends in {', '.join(extensions)}")
        return found

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        path, label = self.samples[index]
        image = imread(path, self.mode)
        if self.image_transform is not None:
            image = drawing.applied(self.image_transform, image[None], [index])[0]
        return image, np.asarray(label, np.int64)

    @property
    def labels(self) -> np.ndarray:
        return self._labels
