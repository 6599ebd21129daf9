"""MXNet's iterators against what MXNet 1.9.1 yields (golden/make_mxnet.py)."""

import json
from pathlib import Path

import numpy as np
import pytest

import ringtrain as rt
from ringtrain.data import CSVIter, ImageRecordIter, LibSVMIter, MNISTIter, NDArrayIter, RecordWriter, pack_img

GOLDEN = Path(__file__).parent / "golden"
CASES = json.loads((GOLDEN / "mxnet.json").read_text())
X, Y = np.arange(10, dtype=np.float32).reshape(5, 2), np.arange(5, dtype=np.float32)


def cases(*kinds):
    chosen = [c for c in CASES if c["iter"] in kinds]
    return pytest.mark.parametrize("case", chosen, ids=lambda c: f"{c['iter']}-{c['given']}")


def compare(it, case, convert=lambda a: a, atol=0.0):
    for epoch in case["epochs"]:
        batches = list(it)
        assert [b.pad for b in batches] == [b["pad"] for b in epoch]
        for mine, theirs in zip(batches, epoch, strict=True):
            for kind in ("data", "label"):
                for a, b in zip(getattr(mine, kind), theirs[kind], strict=True):
                    got = convert(a.numpy()) if kind == "data" else a.numpy()
                    assert got.shape == np.shape(b)
                    np.testing.assert_allclose(got, b, rtol=0, atol=atol)
            shapes = [d.shape for d in it.provide_data]
            assert [d.shape for d in mine.data] == shapes and mine.label[0].shape == it.provide_label[0].shape
        it.reset()


@cases("NDArrayIter")
def test_ndarray_iter(case):
    compare(NDArrayIter(X, Y, **case["given"]), case)


@cases("CSVIter", "LibSVMIter")
@pytest.mark.parametrize("prefetch", [0, 3])
def test_iterators_over_files(case, tmp_path, prefetch):
    for name, text in case["files"].items():
        (tmp_path / name).write_text(text)
    paths = {name: tmp_path / name for name in case["files"]}
    kind = {"CSVIter": CSVIter, "LibSVMIter": LibSVMIter}[case["iter"]]
    compare(kind(**paths, **case["given"], prefetch_buffer=prefetch), case)


@cases("ImageRecordIter")
def test_image_record_iter(case):
    pytest.importorskip("PIL")
    given = {"path_imgrec": GOLDEN / "images.rec", "batch_size": 3, "label_width": 2, **case["given"]}
    # MXNet's OpenCV resizes bytes in fixed point, where this differs by at most one.
    resized = case["given"].get("resize") or case["given"]["data_shape"] == [3, 32, 32]
    compare(ImageRecordIter(**given), case, lambda a: a[0, :, ::5, ::5].reshape(3, -1), 1.01 if resized else 1e-4)


def test_ndarray_iter_takes_lists_and_dictionaries():
    it = NDArrayIter({"b": X, "a": X + 1}, {"l": Y}, 2)
    assert [d[:2] for d in it.provide_data] == [("a", (2, 2)), ("b", (2, 2))]
    assert next(it).data[0].numpy()[0, 0] == 1
    it = NDArrayIter([X, X], [rt.tensor(Y), Y], 2)
    assert [d.name for d in it.provide_data] == ["_0_data", "_1_data"]
    assert [d.name for d in it.provide_label] == ["_0_softmax_label", "_1_softmax_label"]
    it = NDArrayIter(X.astype(np.float64), np.arange(5), 2)
    batch = next(it)
    assert batch.data[0].dtype == np.float32 and batch.label[0].dtype == np.int64
    assert NDArrayIter(X, batch_size=2).provide_label == []


@pytest.mark.parametrize("handle", ["pad", "discard", "roll_over"])
def test_shuffled_epochs_hold_every_row(handle):
    it = NDArrayIter(np.arange(17.0), np.arange(17), 5, shuffle=True, last_batch_handle=handle, seed=4)
    orders = []
    for _ in range(6):
        orders.append([int(v) for b in it for v in b.label[0].numpy()])
        it.reset()
    assert len(set(map(tuple, orders))) == 6
    if handle == "pad":
        assert all(set(o) == set(range(17)) for o in orders)
    if handle == "roll_over":
        together = [v for o in orders for v in o]
        assert all(c == len(together) // 17 or c == len(together) // 17 + 1 for c in np.bincount(together))
    again = NDArrayIter(np.arange(17.0), np.arange(17), 5, shuffle=True, last_batch_handle=handle, seed=4)
    assert [int(v) for b in again for v in b.label[0].numpy()] == orders[0]


def test_an_epoch_that_is_left_early_begins_anew():
    it = NDArrayIter(X, Y, 3, last_batch_handle="roll_over")
    list(it)
    it.hard_reset()
    assert next(it).label[0].numpy().tolist() == [0, 1, 2]
    it.reset()
    assert next(it).label[0].numpy().tolist() == [0, 1, 2]
    with pytest.raises(StopIteration):
        for _ in range(3):
            it.next()
    with pytest.raises(StopIteration):
        it.next()


def test_the_long_way():
    it = NDArrayIter(X, Y, 3)
    with pytest.raises(RuntimeError, match="call iter_next"):
        it.getdata()
    assert (
        it.iter_next() and it.getdata()[0].shape == (3, 2) and it.getpad() == 0 and it.getindex().tolist() == [0, 1, 2]
    )
    assert it.iter_next() and it.getpad() == 1 and it.getlabel()[0].numpy().tolist() == [3, 4, 0]
    assert not it.iter_next()
    assert "data shapes: [(3, 2)]" in str(NDArrayIter(X, Y, 3).next())


def test_parts_hold_each_row_once(tmp_path):
    (tmp_path / "s").write_text("".join(f"{i} 0:{i}\n" for i in range(17)))
    seen = []
    for part in range(3):
        it = LibSVMIter(data_libsvm=tmp_path / "s", data_shape=(1,), batch_size=1, num_parts=3, part_index=part)
        seen += [b.label[0].numpy()[0] for b in it]
    assert seen == list(range(17))


def test_mnist_iter(real_data):
    files = {
        "image": real_data / "mnist/t10k-images-idx3-ubyte.gz",
        "label": real_data / "mnist/t10k-labels-idx1-ubyte.gz",
    }
    it = MNISTIter(**files, batch_size=96, shuffle=False)
    batches = list(it)
    # As MXNet 1.9.1 gives them: 10,000 // 96 batches, pixels over 256.
    assert len(batches) == 104 and {b.pad for b in batches} == {0}
    assert max(b.data[0].numpy().max() for b in batches) == 0.99609375 and batches[0].data[0].shape == (96, 1, 28, 28)
    part = MNISTIter(**files, batch_size=96, shuffle=False, flat=True, num_parts=3, part_index=1, silent=True)
    assert part.provide_data[0].shape == (96, 784) and len(list(part)) == 34
    shuffled = MNISTIter(**files, batch_size=5000)
    first = np.concatenate([b.label[0].numpy() for b in shuffled])
    assert np.bincount(first.astype(int)).tolist() == [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009]
    with pytest.raises(ValueError, match="10000 images"):
        MNISTIter(image=files["image"], label=real_data / "mnist/train-labels-idx1-ubyte.gz")


@pytest.fixture
def records(tmp_path):
    pytest.importorskip("PIL")
    rng = np.random.default_rng(0)
    with RecordWriter(tmp_path / "a.rec", tmp_path / "a.idx") as out:
        for i in range(23):
            image = rng.integers(0, 256, (3, 20 + i % 3, 24), np.uint8)
            out.write(pack_img((0, i, 100 + i, 0), image, 3, ".png"), i)
    return tmp_path / "a.rec"


AUGMENTED = {
    "crop": {"rand_crop": True, "rand_mirror": True, "pad": 2},
    "resized": {
        "random_resized_crop": True,
        "min_random_area": 0.3,
        "min_aspect_ratio": 0.75,
        "max_aspect_ratio": 1.33,
    },
    "colour": {"brightness": 0.3, "contrast": 0.3, "saturation": 0.3, "pca_noise": 0.1},
    "turned": {"max_rotate_angle": 20, "max_random_scale": 1.2, "min_random_scale": 0.9},
    "late": {"max_random_contrast": 0.3, "max_random_illumination": 10},
}


@pytest.mark.parametrize("work", AUGMENTED)
def test_augmentation_is_a_function_of_seed_epoch_and_record(records, work):
    def epochs(threads, size=5, seed=3):
        it = ImageRecordIter(
            path_imgrec=records, data_shape=(3, 16, 16), batch_size=size, shuffle=True, seed=seed,
            preprocess_threads=threads, round_batch=False, **AUGMENTED[work],
        )  # fmt: skip
        found = []
        for _ in range(2):
            images = {}
            for b in it:
                n = size - b.pad
                images |= dict(
                    zip(b.label[0].numpy()[:n].tolist(), (i.tobytes() for i in b.data[0].numpy()[:n]), strict=True)
                )
            it.reset()
            found.append(images)
        return found

    first, second = epochs(1)
    assert len(first) == 23 and all(first[i] != second[i] for i in range(23) if work != "crop")
    assert first != second
    assert epochs(4) == [first, second] == epochs(3, 7)
    assert epochs(2, seed=4)[0] != first


def test_lists_replace_labels_and_choose_records(records, tmp_path):
    (tmp_path / "a.lst").write_text("104\t7\t8\tx.png\n110\t5\t6\ty.png\n")
    it = ImageRecordIter(
        path_imgrec=records, path_imglist=tmp_path / "a.lst", data_shape=(3, 8, 8), batch_size=2, label_width=2
    )
    (batch,) = it
    assert batch.label[0].numpy().tolist() == [[7, 8], [5, 6]]
    (tmp_path / "a.lst").write_text("104\tseven\tx.png\n")
    with pytest.raises(ValueError, match=r"a\.lst, line 1: expected"):
        ImageRecordIter(path_imgrec=records, path_imglist=tmp_path / "a.lst", data_shape=(3, 8, 8), batch_size=1)


def test_bytes_stay_bytes(records):
    (batch, *_) = ImageRecordIter(path_imgrec=records, data_shape=(1, 20, 24), batch_size=3, dtype="uint8", mean_r=99)
    assert (
        batch.data[0].dtype == np.uint8 and batch.data[0].shape == (3, 1, 20, 24) and batch.data[0].numpy().max() > 200
    )


@pytest.mark.parametrize(
    "given, error, message",
    [
        ({"data_shape": (3, 8, 8)}, TypeError, "ImageRecordIter needs path_imgrec and batch_size"),
        ({"bogus": 1}, TypeError, r"no parameter 'bogus'; it has aug_seq, batch_size, brightness, .*std_r"),
        ({"max_shear_ratio": 0.2}, NotImplementedError, "max_shear_ratio=0.2 is not supported, only its default 0"),
        ({"data_shape": (3, 8)}, ValueError, r"data_shape is \(channels, height, width\)"),
        ({"batch_size": 24}, ValueError, "23 rows are too few for a batch of 24, which round_batch=True fills"),
        ({"batch_size": 0}, ValueError, "batch_size must be an integer >= 1"),
        ({"num_parts": 2, "part_index": 2}, ValueError, r"part_index must lie in 0\.\.1, got 2"),
        ({"inter_method": 4}, NotImplementedError, "inter_method is one of"),
        ({"max_aspect_ratio": 0.2}, NotImplementedError, "need random_resized_crop=True"),
    ],
)
def test_parameters_that_do_not_fit(records, given, error, message):
    whole = {"path_imgrec": records, "data_shape": (3, 8, 8), "batch_size": 2}
    with pytest.raises(error, match=message):
        ImageRecordIter(**(given if "needs" in message else {**whole, **given}))


def test_faults_name_the_record(records):
    it = ImageRecordIter(path_imgrec=records, data_shape=(3, 8, 8), batch_size=2, label_width=2, shuffle=False)
    with pytest.raises(ValueError, match=r"a\.rec, record 0: has 1 labels, label_width is 2"):
        next(it)


def test_shapes_that_do_not_fit(tmp_path):
    (tmp_path / "d").write_text("1,2,3\n4,5,6\n")
    (tmp_path / "l").write_text("1\n")
    with pytest.raises(ValueError, match=r"data_shape \(2,\) takes 2 numbers a row, .*/d has 3"):
        CSVIter(data_csv=tmp_path / "d", data_shape=(2,), batch_size=1)
    with pytest.raises(ValueError, match=r"2 rows of data, but .*/l has 1 labels"):
        CSVIter(data_csv=tmp_path / "d", data_shape=(3,), label_csv=tmp_path / "l", batch_size=1)
    for arguments, message in (
        ((X, Y[:3]), r"arrays of one length, above 0, got \{'data': 5, 'softmax_label': 3\}"),
        ((X, Y, 6, False, "roll_over"), "roll_over needs batch_size=6 rows, the data has 5"),
        ((X, Y, 2, False, "drop"), "pad, discard or roll_over, got 'drop'"),
        (([],), "there is no data"),
    ):
        with pytest.raises(ValueError, match=message):
            NDArrayIter(*arguments)
