"""CSV, LibSVM, npy and npz."""

import gzip
import pickle

import numpy as np
import pytest

from ringtrain.data import (
    CSVDataset,
    DataLoader,
    LibSVMDataset,
    NpyDataset,
    NpzDataset,
    open_npy,
    open_npz,
    read_csv,
    read_libsvm,
)

TABLE = np.random.default_rng(0).normal(size=(13, 5)).astype(np.float32)
TEXT = "\n".join(",".join(f"{v:.9g}" for v in row) for row in TABLE) + "\n"


def put(path, text):
    path.write_text(text)
    return path


def test_csv_is_read_exactly_gzip_or_not(tmp_path):
    np.testing.assert_array_equal(read_csv(put(tmp_path / "a.csv", TEXT)), TABLE)
    (tmp_path / "b").write_bytes(gzip.compress(TEXT.encode()))
    np.testing.assert_array_equal(read_csv(tmp_path / "b"), TABLE)
    other = put(tmp_path / "c", "a;b\n1;2\n\n3;4\n")
    assert read_csv(other, np.int64, ";", skip_header=1).tolist() == [[1, 2], [3, 4]]
    assert read_csv(other, np.int64, ";", 1, columns=[1]).tolist() == [[2], [4]]
    assert read_csv(put(tmp_path / "d", "7\n")).tolist() == [[7]]


@pytest.mark.parametrize(
    "text, message",
    [
        ("h\n1,2\n\n3,x\n", "line 4, field 1: expected float32, found 'x'"),
        ("h\n1,2\n3\n", "line 3 has 1 fields, those before have 2"),
        ("h\n1,\n", "line 2, field 1: expected float32, found ''"),
    ],
)
def test_csv_faults_name_file_line_and_field(tmp_path, text, message):
    path = put(tmp_path / "a.csv", text)
    with pytest.raises(ValueError, match=message) as caught:
        read_csv(path, skip_header=1)
    assert str(path) in str(caught.value)


def test_csv_data_set_splits_off_the_label(tmp_path):
    path = put(tmp_path / "a.csv", "1.5,0,2\n2.5,1,3\n")
    x, y = CSVDataset(path, label=1).take([1, 0])
    assert x.tolist() == [[2.5, 3], [1.5, 2]] and x.dtype == np.float32 and y.tolist() == [1, 0] and y.dtype == np.int64
    assert CSVDataset(path).labels.tolist() == [2, 3]
    assert CSVDataset(path, label=0, label_dtype=np.float32).take([0])[1].tolist() == [1.5]
    assert CSVDataset(path, label=None, transform=lambda x: -x).take([0])[0].tolist() == [[-1.5, 0, -2]]
    with pytest.raises(ValueError, match=r"label 1\.5 in row 0 is not a class"):
        CSVDataset(path, label=0)
    with pytest.raises(ValueError, match="has 3 columns, none of which is number 3"):
        CSVDataset(path, label=3)


SPARSE = "1 0:1.5 3:2\n# nothing\n-1\n2 2:-3 # four\n\n0 1:1 2:2 3:3\n"
DENSE = [[1.5, 0, 0, 2], [0, 0, 0, 0], [0, 0, -3, 0], [0, 1, 2, 3]]


def test_libsvm_dense_and_sparse(tmp_path):
    matrix, labels = read_libsvm(put(tmp_path / "a", SPARSE))
    assert matrix.shape == (4, 4) and matrix.toarray().tolist() == DENSE and labels.tolist() == [1, -1, 2, 0]
    assert matrix.indptr.tolist() == [0, 2, 2, 3, 6] and matrix.indices.tolist() == [0, 3, 2, 1, 2, 3]
    order = [3, 1, 1, 0]
    assert matrix.rows(order).tolist() == matrix.take(order).toarray().tolist() == [DENSE[i] for i in order]
    assert matrix.rows([]).shape == (0, 4)
    with pytest.raises(IndexError):
        matrix.rows([4])
    data = LibSVMDataset(tmp_path / "a", features=6, label_dtype=np.int64)
    assert data[3][0].tolist() == [0, 1, 2, 3, 0, 0] and data.labels.tolist() == [1, -1, 2, 0]
    one = put(tmp_path / "b", "1,2 1:5\n3 4 2:6\n")
    matrix, labels = read_libsvm(one, zero_based=False)
    assert matrix.toarray().tolist() == [[5, 0], [0, 6]] and labels.tolist() == [[1, 2], [3, 4]]


@pytest.mark.parametrize(
    "text, options, message",
    [
        ("1 0:1\n1 a:2\n", {}, "line 2: expected 'label index:value ...', found '1 a:2'"),
        ("1 0:1\nx 1:2\n", {}, "line 2: expected"),
        ("1 0:1\n", {"zero_based": False}, "line 1: index 0 is out of range .* from 1"),
        ("1 0:1\n2 7:1", {"features": 7}, "line 2: index 7 is out of range for 7 features"),
        ("1 0:1\n1 2 0:1\n", {}, "line 2: 2 labels, lines before have 1"),
    ],
)
def test_libsvm_faults_name_file_and_line(tmp_path, text, options, message):
    path = put(tmp_path / "a", text)
    with pytest.raises(ValueError, match=message) as caught:
        read_libsvm(path, **options)
    assert str(path) in str(caught.value)


ARRAYS = {
    "x": np.arange(60, dtype=np.int16).reshape(20, 3),
    "y": np.arange(20.0),
    "f": np.asfortranarray(TABLE),
    "none": np.zeros((0, 3)),
}


def test_npy_is_mapped_and_travels_by_name(tmp_path):
    for name in "xy":
        np.save(tmp_path / f"{name}.npy", ARRAYS[name])
    assert isinstance(open_npy(tmp_path / "x.npy"), np.memmap)
    data = NpyDataset(tmp_path / "x.npy", tmp_path / "y.npy")
    x, y = data.take([19, 4])
    np.testing.assert_array_equal(x, ARRAYS["x"][[19, 4]])
    assert y.tolist() == [19, 4] and type(x) is np.ndarray
    packed = pickle.dumps(data)
    assert len(packed) < 1000
    np.testing.assert_array_equal(pickle.loads(packed).take([7])[0], ARRAYS["x"][7:8])
    (tmp_path / "x.npy").write_bytes((tmp_path / "x.npy").read_bytes()[:-1])
    with pytest.raises(ValueError, match=r"x\.npy: "):
        open_npy(tmp_path / "x.npy")
    with pytest.raises(FileNotFoundError):
        open_npy(tmp_path / "z.npy")


def test_workers_map_the_file_themselves(tmp_path):
    np.save(tmp_path / "x.npy", np.arange(60).reshape(20, 3))
    loader = DataLoader(NpyDataset(tmp_path / "x.npy"), 4, num_workers=2)
    np.testing.assert_array_equal(np.concatenate([x.numpy() for (x,) in loader]), np.arange(60).reshape(20, 3))


@pytest.mark.parametrize("save, mapped", [(np.savez, True), (np.savez_compressed, False)])
def test_npz_members_are_mapped_where_they_are_stored(tmp_path, save, mapped):
    save(tmp_path / "a.npz", **ARRAYS)
    arrays = open_npz(tmp_path / "a.npz")
    assert list(arrays) == list(ARRAYS)
    for name, array in ARRAYS.items():
        np.testing.assert_array_equal(arrays[name], array)
        assert isinstance(arrays[name], np.memmap) is (mapped and array.size > 0) and arrays[name].dtype == array.dtype
    data = NpzDataset(tmp_path / "a.npz", "y", "x")
    y, x = pickle.loads(pickle.dumps(data)).take([3])
    assert y.tolist() == [3] and x.tolist() == [[9, 10, 11]]
    with pytest.raises(KeyError, match="no array 'z' among x, y, f, none"):
        NpzDataset(tmp_path / "a.npz", "z")
    (tmp_path / "b.npz").write_bytes(b"nothing")
    with pytest.raises(ValueError, match=r"b\.npz: .*not a zip"):
        open_npz(tmp_path / "b.npz")
