import gzip
import struct

import numpy as np
import pytest

from ringtrain.data import read_idx

CODES = {"u1": 0x08, "i1": 0x09, "i2": 0x0B, "i4": 0x0C, "f4": 0x0D, "f8": 0x0E}


def idx_bytes(array):
    """The IDX form of an array, written independently of the reader."""
    code = CODES[array.dtype.str[1:]]
    header = struct.pack(f">BBBB{array.ndim}I", 0, 0, code, array.ndim, *array.shape)
    return header + array.astype(array.dtype.newbyteorder(">")).tobytes()


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("kind", CODES)
def test_every_element_type(tmp_path, kind, packed):
    array = (np.random.default_rng(1).normal(size=(3, 5, 2)) * 50).astype(kind)
    path = tmp_path / "file"
    path.write_bytes(gzip.compress(idx_bytes(array)) if packed else idx_bytes(array))
    got = read_idx(path)
    assert got.dtype == array.dtype and got.dtype.isnative
    np.testing.assert_array_equal(got, array)


@pytest.mark.parametrize("shape", [(0,), (0, 28, 28), (7,), (2, 1, 3, 1)])
def test_shapes(tmp_path, shape):
    path = tmp_path / "file"
    path.write_bytes(idx_bytes(np.ones(shape, np.uint8)))
    assert read_idx(path, len(shape), np.uint8).shape == shape


GOOD = idx_bytes(np.arange(24, dtype=np.uint8).reshape(2, 3, 4))
PACKED = gzip.compress(GOOD * 50, mtime=0)


@pytest.mark.parametrize(
    "content, message",
    [
        (b"", "not an IDX file: 0 bytes are too few"),
        (b"<html>not found", r"not an IDX file: its magic number is 0x3c68746d, expected 0x0000"),
        (b"\0\0\x07\x01" + bytes(8), "not an IDX file: its magic number is 0x00000701"),
        (GOOD[:10], "truncated in its header, 10 of 16 bytes"),
        (GOOD[:-1], r"truncated: shape \(2, 3, 4\) of uint8 makes 40 bytes with the header, found 39.*fetch"),
        (GOOD + b"xy", "longer than its header says.*makes 40 bytes.*found 42"),
        (struct.pack(">BBBB3I", 0, 0, 8, 3, 2**32 - 1, 2**32 - 1, 2**32 - 1), "truncated.*found 16"),
        (PACKED[:-9], r"truncated: the gzip stream ends early after \d+ bytes.*fetch the file again"),
        (PACKED[:30] + b"\xff\xff" + PACKED[32:], "corrupted gzip file"),
        (PACKED[:-8] + bytes(8), r"corrupted gzip file \(CRC check failed"),
        (b"\x1f\x8b" + b"garbage" * 9, "corrupted gzip file"),
    ],
    ids=range(11),
)
def test_damaged_files_say_what_is_wrong(tmp_path, content, message):
    path = tmp_path / "train-images"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=message) as caught:
        read_idx(path)
    assert str(caught.value).startswith(f"{path}: ")


def test_another_kind_of_array_than_asked_for(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(GOOD)
    with pytest.raises(ValueError, match="expected uint8 with 1 axes, but the magic number 0x00000803 says"):
        read_idx(path, ndim=1)
    with pytest.raises(ValueError, match=r"expected float32 with 3 axes.*says uint8 with 3"):
        read_idx(path, dtype=np.float32)
    with pytest.raises(FileNotFoundError, match="nowhere"):
        read_idx(tmp_path / "nowhere")
