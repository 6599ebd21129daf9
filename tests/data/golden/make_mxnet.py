"""What MXNet 1.9.1 writes and yields, for the tests that compare: run with an interpreter that has it.

    .peers/mxnet/bin/python tests/data/golden/make_mxnet.py

writes records.rec, records.idx, images.rec, images.idx and mxnet.json beside itself.
"""

import json
import struct
import tempfile
import zlib
from pathlib import Path

import mxnet as mx
import numpy as np
from mxnet import recordio

HERE = Path(__file__).parent
MAGIC = b"\x0a\x23\xd7\xce"
PAYLOADS = [
    b"",
    b"a",
    b"abcd",
    MAGIC,
    MAGIC + MAGIC,
    b"xy" + MAGIC + b"zz",
    b"abcd" + MAGIC + b"e",
    MAGIC + b"abc",
    b"abcd" + MAGIC,
    b"\0" * 13 + MAGIC + b"\0" * 7,
    bytes(range(256)) * 3,
    MAGIC[:3],
    b"abcd" + MAGIC + MAGIC + b"efgh" + MAGIC,
]


def records():
    out = recordio.MXIndexedRecordIO(str(HERE / "records.idx"), str(HERE / "records.rec"), "w")
    for number, payload in enumerate(PAYLOADS):
        out.write_idx(3 * number, payload)
    out.write_idx(100, recordio.pack(recordio.IRHeader(0, 4.5, 7, 1), b"payload"))
    out.write_idx(101, recordio.pack(recordio.IRHeader(0, [1, 2.5, 3], 8, 2), b"labels"))
    out.close()


def png(image):
    """A PNG of a uint8 (H, W, 3) array."""

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    height, width, _ = image.shape
    rows = b"".join(b"\0" + row.tobytes() for row in image)
    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + head + chunk(b"IDAT", zlib.compress(rows, 9)) + chunk(b"IEND", b"")


def images():
    out = recordio.MXIndexedRecordIO(str(HERE / "images.idx"), str(HERE / "images.rec"), "w")
    y, x = np.mgrid[0:20, 0:26]
    for i in range(7):
        image = np.stack([x * 9 + i, y * 12, (x + y) * 5 + 1], -1).astype(np.uint8)
        out.write_idx(i, recordio.pack(recordio.IRHeader(0, [i, i + 0.5], i, 0), png(image)))
    out.close()


def epochs(it, count, early=False):
    """The batches of some epochs."""
    found = []
    for _ in range(count):
        found.append(
            [
                {
                    "data": [d.asnumpy().tolist() for d in b.data],
                    "label": [x.asnumpy().tolist() for x in b.label],
                    "pad": b.pad,
                }
                for b in it
            ]
        )
        it.reset()
    return found


def iterators():
    cases, x, y = [], np.arange(10, dtype=np.float32).reshape(5, 2), np.arange(5, dtype=np.float32)
    for mode in ("pad", "discard", "roll_over"):
        for size in (1, 2, 3, 5) + ((7, 12) if mode != "roll_over" else ()):
            given = {"batch_size": size, "last_batch_handle": mode}
            cases.append({"iter": "NDArrayIter", "given": given, "epochs": epochs(mx.io.NDArrayIter(x, y, **given), 4)})
    with tempfile.TemporaryDirectory() as folder:
        data, label, sparse = (f"{folder}/{name}" for name in ("d.csv", "l.csv", "s.txt"))
        texts = {
            data: "".join(f"{2 * i},{2 * i + 1}\n" for i in range(7)),
            label: "".join(f"{10 * i}\n" for i in range(7)),
            sparse: "".join(f"{i} {i % 3}:{i + 1} 3:{i}.5\n" for i in range(7)),
        }
        for path, text in texts.items():
            Path(path).write_text(text)
        names = {"data_csv": data, "label_csv": label, "data_libsvm": sparse}
        files = {name: texts[path] for name, path in names.items()}
        for kind, given, paths in (
            ("CSVIter", {"data_shape": [2], "batch_size": 3}, ["data_csv", "label_csv"]),
            ("CSVIter", {"data_shape": [1, 2], "batch_size": 4}, ["data_csv"]),
            ("LibSVMIter", {"data_shape": [4], "batch_size": 3}, ["data_libsvm"]),
        ):
            it = getattr(mx.io, kind)(
                **{k: tuple(v) if k == "data_shape" else v for k, v in given.items()}, **{p: names[p] for p in paths}
            )
            cases.append({"iter": kind, "given": given, "files": {p: files[p] for p in paths}, "epochs": epochs(it, 3)})
    for given in (
        {"data_shape": [3, 20, 26]},
        {
            "data_shape": [3, 9, 10],
            "mean_r": 10,
            "mean_g": 20,
            "mean_b": 30,
            "std_r": 2,
            "std_g": 4,
            "std_b": 5,
            "scale": 0.5,
        },
        {"data_shape": [3, 10, 10], "resize": 12},
        {"data_shape": [3, 32, 32]},
        {"data_shape": [3, 22, 28], "pad": 3, "mirror": True},
    ):
        it = mx.io.ImageRecordIter(
            path_imgrec=str(HERE / "images.rec"),
            path_imgidx=str(HERE / "images.idx"),
            batch_size=3,
            label_width=2,
            preprocess_threads=1,
            verbose=False,
            **{**given, "data_shape": tuple(given["data_shape"])},
        )
        found = epochs(it, 2)
        # Of the images only the first of each batch: the file should stay small.
        for batch in (b for epoch in found for b in epoch):
            batch["data"] = [
                [[round(v, 4) for row in channel[::5] for v in row[::5]] for channel in batch["data"][0][0]]
            ]
        cases.append({"iter": "ImageRecordIter", "given": given, "epochs": found})
    (HERE / "mxnet.json").write_text(json.dumps(cases))


if __name__ == "__main__":
    records()
    images()
    iterators()
