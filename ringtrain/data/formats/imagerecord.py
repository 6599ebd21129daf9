"""Image records: MXNet's header of a label and a number before the bytes of an image.

The header is `IfQQ`, little-endian: flag, label, id, id2. A flag above 0 says that so many float32 labels follow the
header, and `label` counts for nothing.
"""

from __future__ import annotations

import io
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ringtrain.data import drawing
from ringtrain.data.dataset import Dataset
from ringtrain.data.formats.images import decode, pillow
from ringtrain.data.formats.recordio import RecordError, RecordReader

HEADER = struct.Struct("<IfQQ")


class IRHeader(NamedTuple):
    """flag: number of labels, 0 for one; label: a number, or a vector; id, id2: the record's own numbers."""

    flag: int
    label: Any
    id: int
    id2: int


def pack(header: IRHeader | tuple[int, Any, int, int], payload: bytes) -> bytes:
    """Header and payload as one record. A label that is a vector sets the flag to its length."""
    _, label, number, number2 = header
    if np.ndim(label) == 0:
        return HEADER.pack(0, float(label), number, number2) + payload
    labels = np.ascontiguousarray(label, "<f4").ravel()
    return HEADER.pack(labels.size, 0.0, number, number2) + labels.tobytes() + payload


def unpack(record: bytes) -> tuple[IRHeader, bytes]:
    """(header, payload) of a record; several labels are a float32 vector."""
    if len(record) < HEADER.size:
        raise RecordError(f"an image record has a header of {HEADER.size} bytes, found {len(record)}")
    flag, label, number, number2 = HEADER.unpack_from(record)
    if not flag:
        return IRHeader(flag, label, number, number2), record[HEADER.size :]
    end = HEADER.size + 4 * flag
    if len(record) < end:
        raise RecordError(
            f"an image record says it has {flag} labels, {4 * flag} bytes, found {len(record) - HEADER.size}"
        )
    labels = np.frombuffer(record, "<f4", flag, HEADER.size)
    return IRHeader(flag, labels, number, number2), record[end:]


def pack_img(
    header: IRHeader | tuple[int, Any, int, int], image: np.ndarray, quality: int = 95, img_fmt: str = ".jpg"
) -> bytes:
    """A record of an image, uint8 (C, H, W) or (H, W), RGB, as a JPEG (quality 1-100) or PNG (compression 1-9)."""
    if img_fmt.lower() not in (".jpg", ".jpeg", ".png"):
        raise ValueError(f"pack_img: img_fmt is .jpg or .png, got {img_fmt!r}")
    if image.dtype != np.uint8 or image.ndim not in (2, 3) or (image.ndim == 3 and len(image) not in (1, 3)):
        raise ValueError(
            f"pack_img takes uint8 images (3, H, W), (1, H, W) or (H, W), got {image.dtype} of shape {image.shape}"
        )
    pixels = image if image.ndim == 2 else image[0] if len(image) == 1 else np.moveaxis(image, 0, -1)
    out = io.BytesIO()
    picture = pillow().fromarray(np.ascontiguousarray(pixels))
    if img_fmt.lower() == ".png":
        picture.save(out, "PNG", compress_level=min(quality, 9))
    else:
        picture.save(out, "JPEG", quality=quality)
    return pack(header, out.getvalue())


def unpack_img(record: bytes, iscolor: int = -1) -> tuple[IRHeader, np.ndarray]:
    """(header, image) of a record; the image is uint8 (C, H, W), RGB.

    iscolor: 1 makes it RGB, 0 grey, -1 leaves it as it is stored.
    """
    header, payload = unpack(record)
    return header, decode(payload, {1: "RGB", 0: "L", -1: None}[iscolor], "an image record")


class RecordFileDataset(Dataset):
    """Samples are the payloads of a RecordIO file, bytes, in the order of its index."""

    def __init__(self, path: str | Path, index: str | Path | None = None):
        self.records = RecordReader(path, index)

    def __len__(self) -> int:
        return len(self.records)

    def __getitem__(self, index: int) -> Any:
        return self.records[index]


class ImageRecordDataset(Dataset):
    """Samples of a RecordIO file of images: (image, label), uint8 (3, H, W) and float32 (or a vector of labels).

    flag: 1 for RGB, 0 for grey, (1, H, W). transform: gets the image as a batch of one (see `transforms`).
    """

    def __init__(
        self,
        path: str | Path,
        flag: int = 1,
        transform: Callable[[np.ndarray], np.ndarray] | None = None,
        index: str | Path | None = None,
    ):
        self.records, self.flag, self.image_transform = RecordReader(path, index), flag, transform

    def __len__(self) -> int:
        return len(self.records)

    def __getitem__(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        try:
            header, image = unpack_img(self.records[index], self.flag)
        except RecordError as error:
            error.add_note(f"({self.records.path}, record {index})")
            raise
        if self.image_transform is not None:
            image = drawing.applied(self.image_transform, image[None], [index])[0]
        return image, np.asarray(header.label, np.float32)
