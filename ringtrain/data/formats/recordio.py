"""RecordIO, MXNet's container of records: byte for byte what dmlc-core writes.

A record is a magic word, a word of 3 bits "continue" and 29 bits length, that many bytes, and zeros up to a multiple
of four. Where a payload has the magic word at a multiple of four, it is cut there, the word left out, and the parts
are flagged 1 (first), 2 (in between), 3 (last); so a reader that starts anywhere finds the next record by the magic.
An index beside it (`.idx`) has a line "key<tab>offset" for each record.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, TextIO

import numpy as np

MAGIC = 0xCED7230A
WORD = struct.pack("<I", MAGIC)
LENGTH_BITS = 29
LARGEST = (1 << LENGTH_BITS) - 1
WHOLE, FIRST, MIDDLE, LAST = range(4)
FLAGS = {WHOLE: "a whole record", FIRST: "a first part", MIDDLE: "a middle part", LAST: "a last part"}


class RecordError(ValueError):
    """A file that is not whole RecordIO: names the file, the offset, and what was found there."""


def encode(payload: bytes | bytearray | memoryview) -> bytes:
    """A payload as it lies in a file."""
    data = bytes(payload)
    if len(data) > LARGEST:
        raise ValueError(f"RecordIO: a record has at most {LARGEST} bytes (29 bits of length), got {len(data)}")
    cuts = _cuts(data)
    if not cuts:
        return _part(WHOLE, data)
    starts, ends = [0, *(cut + 4 for cut in cuts)], [*cuts, len(data)]
    flags = [FIRST, *[MIDDLE] * (len(cuts) - 1), LAST]
    return b"".join(_part(flag, data[a:b]) for flag, a, b in zip(flags, starts, ends, strict=True))


def _part(flag: int, data: bytes) -> bytes:
    return WORD + struct.pack("<I", flag << LENGTH_BITS | len(data)) + data + bytes(-len(data) % 4)


def _cuts(data: bytes) -> list[int]:
    """Where the magic word stands at a multiple of four of the payload."""
    cuts, at = [], data.find(WORD)
    while at >= 0:
        if at % 4 == 0:
            cuts.append(at)
        at = data.find(WORD, at + 1 if at % 4 else at + 4)
    return cuts


class RecordWriter:
    """Writes a `.rec` file, and an index beside it if `index` names one.

        with RecordWriter("train.rec", "train.idx") as out:
            out.write(payload, key=7)

    key: an integer; None numbers records from 0 on. Keys of an index must differ.
    """

    def __init__(self, path: str | Path, index: str | Path | None = None):
        self.path, self._keys = Path(path), set[int]()
        self._file: BinaryIO = open(path, "wb")  # noqa: SIM115, close() does
        self._index: TextIO | None = None if index is None else open(index, "w")  # noqa: SIM115
        self._written = 0

    def write(self, payload: bytes | bytearray | memoryview, key: int | None = None) -> int:
        """Appends a record; returns its offset."""
        offset, key = self._file.tell(), self._written if key is None else key
        if self._index is not None:
            if key in self._keys:
                raise ValueError(f"{self.path}: key {key} is in the index already")
            self._keys.add(key)
        self._file.write(encode(payload))
        if self._index is not None:
            self._index.write(f"{key}\t{offset}\n")
        self._written += 1
        return offset

    def close(self) -> None:
        self._file.close()
        if self._index is not None:
            self._index.close()

    def __enter__(self) -> RecordWriter:
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()


class RecordReader:
    """The records of a `.rec` file: in order (`for payload in reader`), or by place (`reader[i]`, `reader.read_key`).

    index: the `.idx` file; None takes the one beside the file, of its name, if it is there. Without one, the
        first access by place walks over the file's headers once, and keys are 0, 1, ...

    May be read by several threads at once, and sent to other processes, which open the file for themselves.
    """

    def __init__(self, path: str | Path, index: str | Path | None = None):
        self.path = Path(path)
        beside = self.path.with_suffix(".idx")
        self.index = Path(index) if index is not None else beside if beside.is_file() else None
        self._offsets: np.ndarray | None = None
        self._keys: dict[int, int] | None = None
        self._open()

    def _open(self) -> None:
        self._file = os.open(self.path, os.O_RDONLY | os.O_CLOEXEC)
        self._size = os.fstat(self._file).st_size

    def __len__(self) -> int:
        return len(self._places())

    def __getitem__(self, number: int) -> bytes:
        """The record at that place of the index (of the file, without one)."""
        return self.read_at(int(self._places()[number]))[0]

    def read_key(self, key: int) -> bytes:
        """The record of that key. Raises KeyError."""
        self._places()
        assert self._keys is not None
        if key not in self._keys:
            raise KeyError(f"{self.path}: no record has the key {key}")
        return self[self._keys[key]]

    @property
    def keys(self) -> list[int]:
        self._places()
        assert self._keys is not None
        return list(self._keys)

    def __iter__(self) -> Iterator[bytes]:
        offset = 0
        while offset < self._size:
            payload, offset = self.read_at(offset)
            yield payload

    def read_at(self, offset: int) -> tuple[bytes, int]:
        """The record that begins at an offset, and the offset of the next."""
        flag, start, length = self._header(offset)
        if flag in (MIDDLE, LAST):
            raise RecordError(f"{self.path}, offset {offset}: a record begins here, found {FLAGS[flag]}")
        parts, begun = [self._bytes(start, length)], offset
        after = start + length + -length % 4
        while flag in (FIRST, MIDDLE):
            if after >= self._size:
                raise RecordError(f"{self.path}, offset {after}: the file ends within the record begun at {begun}")
            flag, start, length = self._header(after)
            if flag not in (MIDDLE, LAST):
                raise RecordError(
                    f"{self.path}, offset {after}: expected a part of the record begun at {begun}, "
                    f"found {FLAGS.get(flag, f'the flag {flag}')}"
                )
            parts.append(self._bytes(start, length))
            after = start + length + -length % 4
        return WORD.join(parts), after

    def _header(self, offset: int) -> tuple[int, int, int]:
        """Flag, start and length of the part at an offset."""
        found = os.pread(self._file, 8, offset)
        if len(found) < 8:
            raise RecordError(f"{self.path}, offset {offset}: truncated in a header, {len(found)} of 8 bytes")
        magic, word = struct.unpack("<II", found)
        if magic != MAGIC:
            raise RecordError(
                f"{self.path}, offset {offset}: a record begins with 0x{MAGIC:08x}, found 0x{magic:08x}; "
                f"is this a RecordIO file, and its index the right one?"
            )
        flag, length = word >> LENGTH_BITS, word & LARGEST
        if flag not in FLAGS:
            raise RecordError(f"{self.path}, offset {offset}: unknown flag {flag} in the header 0x{word:08x}")
        if offset + 8 + length > self._size:
            raise RecordError(
                f"{self.path}, offset {offset}: a header says {length} bytes, of which the file has "
                f"{self._size - offset - 8}; it was cut short"
            )
        return flag, offset + 8, length

    def _bytes(self, start: int, length: int) -> bytes:
        parts = []
        while length:  # one read gives at most 2 GiB, and fewer from some file systems
            part = os.pread(self._file, length, start)
            if not part:
                raise RecordError(f"{self.path}, offset {start}: the file has become shorter while it was read")
            parts.append(part)
            start, length = start + len(part), length - len(part)
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def _places(self) -> np.ndarray:
        if self._offsets is None:
            pairs = list(_read_index(self.index)) if self.index is not None else list(enumerate(self._walk()))
            if len({key for key, _ in pairs}) != len(pairs):
                raise RecordError(f"{self.index}: keys come more than once")
            self._keys = {key: place for place, (key, _) in enumerate(pairs)}
            self._offsets = np.array([offset for _, offset in pairs], np.int64)
        return self._offsets

    def _walk(self) -> Iterable[int]:
        """Offsets of all records, by their headers alone."""
        offset = 0
        while offset < self._size:
            flag, start, length = self._header(offset)
            if flag in (WHOLE, FIRST):
                yield offset
            offset = start + length + -length % 4

    def close(self) -> None:
        if self._file >= 0:
            os.close(self._file)
        self._file = -1

    def __enter__(self) -> RecordReader:
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def __del__(self) -> None:
        if getattr(self, "_file", -1) >= 0:
            self.close()

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_file": -1}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._open()


def _read_index(path: Path) -> Iterator[tuple[int, int]]:
    """Pairs (key, offset) of a `.idx` file."""
    for number, line in enumerate(path.read_text().splitlines(), 1):
        try:
            key, offset = line.split("\t")
            yield int(key), int(offset)
        except ValueError:
            raise RecordError(f"{path}, line {number}: expected 'key<tab>offset', found {line!r}") from None
