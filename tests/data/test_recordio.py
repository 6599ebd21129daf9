"""RecordIO against files that MXNet 1.9.1 wrote (golden/make_mxnet.py), and against files that are damaged."""

import os
import pickle
import struct
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from ringtrain.data import (
    ImageRecordDataset,
    IRHeader,
    RecordError,
    RecordFileDataset,
    RecordReader,
    RecordWriter,
    pack,
    pack_img,
    unpack,
    unpack_img,
)
from ringtrain.data.formats.recordio import encode

GOLDEN = Path(__file__).parent / "golden"
MAGIC = b"\x0a\x23\xd7\xce"
# Written down a second time, not imported from the program that made the files.
PAYLOADS = [
    *[b"", b"a", b"abcd", MAGIC, MAGIC + MAGIC, b"xy" + MAGIC + b"zz", b"abcd" + MAGIC + b"e", MAGIC + b"abc"],
    *[b"abcd" + MAGIC, b"\0" * 13 + MAGIC + b"\0" * 7, bytes(range(256)) * 3, MAGIC[:3]],
    b"abcd" + MAGIC + MAGIC + b"efgh" + MAGIC,
]
KEYS = [3 * number for number in range(len(PAYLOADS))] + [100, 101]
MXNET = os.environ.get("MXNET_PYTHON") or Path(__file__).parents[2] / ".peers/mxnet/bin/python"


def write(folder, payloads, keys=None):
    with RecordWriter(folder / "a.rec", folder / "a.idx") as out:
        for place, payload in enumerate(payloads):
            out.write(payload, None if keys is None else keys[place])
    return folder / "a.rec"


def packed():
    return [pack((0, 4.5, 7, 1), b"payload"), pack(IRHeader(0, [1, 2.5, 3], 8, 2), b"labels")]


def test_files_are_byte_for_byte_those_of_mxnet(tmp_path):
    write(tmp_path, [*PAYLOADS, *packed()], KEYS)
    for ending in ("rec", "idx"):
        assert (tmp_path / f"a.{ending}").read_bytes() == (GOLDEN / f"records.{ending}").read_bytes()


@pytest.mark.parametrize("indexed", [True, False])
def test_mxnets_files_are_read_in_order_and_by_place(tmp_path, indexed):
    path = GOLDEN / "records.rec"
    if not indexed:
        (tmp_path / "b.rec").write_bytes(path.read_bytes())
        path = tmp_path / "b.rec"
    with RecordReader(path) as reader:
        assert list(reader) == [*PAYLOADS, *packed()]
        assert len(reader) == len(KEYS)
        assert [reader[i] for i in range(len(PAYLOADS))] == PAYLOADS
        assert reader[-1] == packed()[1]
        assert reader.keys == (KEYS if indexed else list(range(len(KEYS))))
        assert reader.read_key(KEYS[5] if indexed else 5) == PAYLOADS[5]
        with pytest.raises(KeyError, match="no record has the key 77"):
            reader.read_key(77)


def test_headers_of_mxnets_image_records():
    reader = RecordReader(GOLDEN / "records.rec")
    header, payload = unpack(reader.read_key(100))
    assert header == IRHeader(0, 4.5, 7, 1) and payload == b"payload"
    header, payload = unpack(reader.read_key(101))
    assert (header.flag, header.id, header.id2, payload) == (3, 8, 2, b"labels")
    assert header.label.dtype == np.float32 and header.label.tolist() == [1, 2.5, 3]


@pytest.mark.skipif(not Path(MXNET).exists(), reason="no MXNet here (make peers); the golden files stand in for it")
def test_mxnet_reads_what_is_written_here(tmp_path):
    rng = np.random.default_rng(0)
    words = [MAGIC, b"\0\0\0\0", b"abc", b"x"]
    payloads = [b"".join(words[i] for i in rng.integers(0, 4, rng.integers(0, 40))) for _ in range(200)]
    path = write(tmp_path, payloads)
    code = (
        "import sys; from mxnet import recordio as r; p = sys.argv[1];"
        "a = r.MXIndexedRecordIO(p + '.idx', p + '.rec', 'r'); n = len(a.keys);"
        "o = r.MXIndexedRecordIO(p + '2.idx', p + '2.rec', 'w');"
        "[o.write_idx(k, a.read_idx(k)) for k in range(n)]; o.close()"
    )
    subprocess.run([MXNET, "-c", code, str(path.with_suffix(""))], check=True, capture_output=True, timeout=120)
    for ending in ("rec", "idx"):
        assert (tmp_path / f"a2.{ending}").read_bytes() == (tmp_path / f"a.{ending}").read_bytes()


def test_random_payloads_come_back(tmp_path):
    rng = np.random.default_rng(1)
    parts = [MAGIC, MAGIC[:2], b"\0", b"word"]
    payloads = [b"".join(parts[i] for i in rng.integers(0, 4, rng.integers(0, 30))) for _ in range(300)]
    reader = RecordReader(write(tmp_path, payloads))
    assert list(reader) == payloads
    order = rng.permutation(300)
    with ThreadPoolExecutor(4) as threads:
        assert list(threads.map(lambda i: reader[i], order)) == [payloads[i] for i in order]


def test_a_reader_goes_to_another_process(tmp_path):
    reader = RecordReader(write(tmp_path, PAYLOADS))
    again = pickle.loads(pickle.dumps(reader))
    reader.close()
    assert list(again) == PAYLOADS and again[6] == PAYLOADS[6]


def damaged(tmp_path, change):
    path = write(tmp_path, [b"first", b"abcd" + MAGIC + b"e", b"third"])
    content = bytearray(path.read_bytes())
    path.write_bytes(change(content))
    (tmp_path / "a.idx").unlink()
    return path


@pytest.mark.parametrize(
    "change, offset, found",
    [
        # 16 bytes of the first record, 12 and 12 of the second's parts, 16 of the third.
        (lambda c: c[:-4], 40, "a header says 5 bytes, of which the file has 4; it was cut short"),
        (lambda c: c[:45], 40, "truncated in a header, 5 of 8 bytes"),
        (lambda c: c[:28], 28, "the file ends within the record begun at 16"),
        (lambda c: c[:16] + b"\1\2\3\4" + c[20:], 16, "begins with 0xced7230a, found 0x04030201"),
        (lambda c: c[:28] + c[40:], 28, "expected a part of the record begun at 16, found a whole record"),
        (lambda c: c[:16] + c[28:], 16, "a record begins here, found a last part"),
        (lambda c: c[:4] + struct.pack("<I", 5 << 29 | 5) + c[8:], 0, "unknown flag 5"),
        (lambda c: b"PK\3\4" + c[4:], 0, "found 0x04034b50; is this a RecordIO file"),
    ],
)
def test_damage_names_file_offset_and_what_was_found(tmp_path, change, offset, found):
    path = damaged(tmp_path, change)
    with pytest.raises(RecordError, match=found) as caught:
        list(RecordReader(path))
    assert f"{path}, offset {offset}: " in str(caught.value)


def test_an_index_that_belongs_to_another_file(tmp_path):
    path = write(tmp_path, PAYLOADS)
    (tmp_path / "a.idx").write_text("0\t0\n1\t12\n")
    with pytest.raises(RecordError, match=rf"{path}, offset 12: .*its index the right one"):
        RecordReader(path)[1]
    (tmp_path / "a.idx").write_text("0\t0\n1 8\n")
    with pytest.raises(RecordError, match=r"a.idx, line 2: expected 'key<tab>offset', found '1 8'"):
        len(RecordReader(path))
    (tmp_path / "a.idx").write_text("3\t0\n3\t8\n")
    with pytest.raises(RecordError, match="keys come more than once"):
        len(RecordReader(path))


def test_keys_are_written_once(tmp_path):
    with RecordWriter(tmp_path / "a.rec", tmp_path / "a.idx") as out:
        assert out.write(b"abc", 4) == 0 and out.write(b"", 5) == 12
        with pytest.raises(ValueError, match="key 4 is in the index already"):
            out.write(b"x", 4)


def test_a_record_is_at_most_29_bits_long():
    class Long(bytes):
        def __len__(self):
            return 1 << 29

    with pytest.raises(ValueError, match="at most 536870911 bytes"):
        encode(memoryview(np.zeros(1 << 29, np.uint8)))


def test_image_records_that_are_too_short():
    with pytest.raises(RecordError, match="a header of 24 bytes, found 3"):
        unpack(b"abc")
    with pytest.raises(RecordError, match="says it has 9 labels, 36 bytes, found 4"):
        unpack(struct.pack("<IfQQ", 9, 0, 0, 0) + b"abcd")


IMAGE = np.random.default_rng(0).integers(0, 256, (3, 13, 17), np.uint8)


def test_png_images_come_back_exactly_and_jpegs_nearly():
    pytest.importorskip("PIL")
    header, image = unpack_img(pack_img((0, 3, 1, 0), IMAGE, 3, ".png"))
    np.testing.assert_array_equal(image, IMAGE)
    assert header.label == 3
    smooth = np.broadcast_to(np.linspace(0, 255, 17).astype(np.uint8), (3, 13, 17))
    _, image = unpack_img(pack_img((0, 3, 1, 0), smooth, 95))
    assert np.abs(image.astype(int) - smooth).max() <= 8
    _, grey = unpack_img(pack_img((0, 3, 1, 0), IMAGE[0], 3, ".png"))
    np.testing.assert_array_equal(grey, IMAGE[:1])
    assert unpack_img(pack_img((0, 3, 1, 0), IMAGE[:1], 3, ".png"), 1)[1].shape == (3, 13, 17)


@pytest.mark.parametrize("image", [IMAGE.astype(float), IMAGE[:2], np.moveaxis(IMAGE, 0, -1)])
def test_images_that_are_none(image):
    with pytest.raises(ValueError, match="pack_img takes uint8 images"):
        pack_img((0, 0, 0, 0), image)


def test_data_sets_of_records(tmp_path):
    pytest.importorskip("PIL")
    path = write(tmp_path, [pack_img((0, i, i, 0), np.roll(IMAGE, i, 2), 3, ".png") for i in range(5)])
    assert RecordFileDataset(path)[3][:4] == struct.pack("<I", 0)
    images, labels = ImageRecordDataset(path).take([4, 0])
    assert labels.tolist() == [4, 0] and labels.dtype == np.float32
    np.testing.assert_array_equal(images, [np.roll(IMAGE, 4, 2), IMAGE])
    assert ImageRecordDataset(path, flag=0)[1][0].shape == (1, 13, 17)
    flipped = ImageRecordDataset(path, transform=lambda x: x[..., ::-1])[1][0]
    np.testing.assert_array_equal(flipped, np.roll(IMAGE, 1, 2)[..., ::-1])
    bad = write(tmp_path, [pack((0, 0, 0, 0), b"no picture")])
    with pytest.raises(ValueError, match="10 bytes that Pillow cannot decode"):
        ImageRecordDataset(bad)[0]
