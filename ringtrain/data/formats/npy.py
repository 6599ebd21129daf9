"""npy and npz files as data sets, mapped into memory: only what is read comes from the disk."""

from __future__ import annotations

import struct
import zipfile
from pathlib import Path
from typing import Any

import numpy as np

from ringtrain.data.dataset import ArrayDataset, Transform

LOCAL_HEADER = struct.Struct("<4s22xHH")  # of a zip member: signature, then lengths of its name and extra field


def open_npy(path: str | Path) -> np.ndarray:
    """The array of an npy file, mapped, read-only. Raises ValueError that names the file if it is not whole."""
    try:
        return np.load(path, mmap_mode="r", allow_pickle=False)
    except (ValueError, EOFError, OSError) as error:
        if isinstance(error, FileNotFoundError):
            raise
        raise ValueError(f"{path}: {error}") from error


def open_npz(path: str | Path) -> dict[str, np.ndarray]:
    """The arrays of an npz file by name: mapped, read-only, where they are stored as they are (np.savez), read into
    memory where they are compressed (np.savez_compressed)."""
    arrays = {}
    try:
        with zipfile.ZipFile(path) as archive, open(path, "rb") as raw:
            for member in archive.infolist():
                name = member.filename.removesuffix(".npy")
                arrays[name] = _member(path, archive, raw, member)
    except (zipfile.BadZipFile, ValueError, EOFError) as error:
        raise ValueError(f"{path}: {error}") from error
    return arrays


def _member(path: str | Path, archive: zipfile.ZipFile, raw: Any, member: zipfile.ZipInfo) -> np.ndarray:
    if member.compress_type != zipfile.ZIP_STORED:
        with archive.open(member) as file:
            return np.lib.format.read_array(file, allow_pickle=False)
    raw.seek(member.header_offset)
    signature, name, extra = LOCAL_HEADER.unpack(raw.read(LOCAL_HEADER.size))
    if signature != b"PK\3\4":
        raise ValueError(f"offset {member.header_offset}: no zip member begins here, found {signature!r}")
    raw.seek(name + extra, 1)
    version = np.lib.format.read_magic(raw)
    read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, by_columns, dtype = read(raw)
    if dtype.hasobject or not np.prod(shape):
        with archive.open(member) as file:
            return np.lib.format.read_array(file, allow_pickle=False)
    return np.memmap(path, dtype, "r", raw.tell(), shape, "F" if by_columns else "C")


class NpyDataset(ArrayDataset):
    """Samples are the rows of npy files: `NpyDataset("x.npy", "y.npy")`; mapped, so that they may exceed memory.

    Sent to worker processes as the files' names.
    """

    def __init__(self, *paths: str | Path, transform: Transform | None = None):
        self.paths = tuple(map(str, paths))
        super().__init__(*self._opened(), transform=transform)

    def _opened(self) -> list[np.ndarray]:
        # A plain array around the mapping: a memmap would make memmaps of all that is taken from it.
        return [open_npy(path).view(np.ndarray) for path in self.paths]

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "arrays": None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self.arrays = tuple(self._opened())


class NpzDataset(NpyDataset):
    """Samples are the rows of arrays of one npz file: `NpzDataset("data.npz", "x", "y")`, in that order of fields.

    Without names: all of them, in the file's order.
    """

    def __init__(self, path: str | Path, *names: str, transform: Transform | None = None):
        self.names = names
        super().__init__(path, transform=transform)

    def _opened(self) -> list[np.ndarray]:
        arrays = open_npz(self.paths[0])
        missing = [name for name in self.names if name not in arrays]
        if missing:
            raise KeyError(f"{self.paths[0]}: no array {missing[0]!r} among {', '.join(arrays)}")
        return [arrays[name].view(np.ndarray) for name in self.names or arrays]
