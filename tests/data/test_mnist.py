import gzip
import struct

import numpy as np
import pytest

from ringtrain.data import MNIST, FashionMNIST
from ringtrain.data.transforms import Compose, Flatten, Normalize, ToFloat

IMAGES = np.random.default_rng(0).integers(0, 256, (13, 28, 28), np.uint8)
LABELS = (np.arange(13) * 7 % 10).astype(np.uint8)


@pytest.fixture(autouse=True)
def no_default_root(monkeypatch):
    monkeypatch.delenv("RINGTRAIN_DATA", raising=False)


def write(folder, images=IMAGES, labels=LABELS, split="train", names="{}-{}-idx{}-ubyte", gz=True):
    folder.mkdir(parents=True, exist_ok=True)
    for kind, array in (("images", images), ("labels", labels)):
        content = struct.pack(f">BBBB{array.ndim}I", 0, 0, 8, array.ndim, *array.shape) + array.tobytes()
        name = names.format(split, kind, array.ndim) + (".gz" if gz else "")
        (folder / name).write_bytes(gzip.compress(content, 1) if gz else content)


@pytest.mark.parametrize("gz", [True, False])
@pytest.mark.parametrize("names", ["{}-{}-idx{}-ubyte", "{}-{}.idx{}-ubyte"])
@pytest.mark.parametrize("folder", [".", "mnist", "MNIST/raw"])
def test_files_are_found_where_people_keep_them(tmp_path, folder, names, gz):
    write(tmp_path / folder, names=names, gz=gz)
    write(tmp_path / folder, IMAGES[:5], LABELS[:5], "t10k", names, gz)
    train, test = MNIST(tmp_path), MNIST(str(tmp_path), train=False)
    assert (len(train), len(test)) == (13, 5)
    x, y = train.take([12, 3])
    np.testing.assert_array_equal(x, IMAGES[[12, 3], None])
    assert x.dtype == np.uint8 and y.dtype == np.int64 and y.tolist() == LABELS[[12, 3]].tolist()


def test_a_sub_folder_of_its_own_name_comes_first(tmp_path):
    write(tmp_path, labels=np.zeros(13, np.uint8))
    write(tmp_path / "mnist", labels=np.full(13, 1, np.uint8))
    write(tmp_path / "fashion-mnist", labels=np.full(13, 2, np.uint8))
    assert set(MNIST(tmp_path).labels) == {1} and set(FashionMNIST(tmp_path).labels) == {2}


def test_the_environment_names_the_default_root(tmp_path, monkeypatch):
    write(tmp_path / "FashionMNIST" / "raw")
    monkeypatch.setenv("RINGTRAIN_DATA", str(tmp_path))
    assert len(FashionMNIST()) == 13
    with pytest.raises(FileNotFoundError, match="elsewhere"):
        FashionMNIST(tmp_path / "elsewhere")


def test_transform_makes_batches_to_train_on(tmp_path):
    write(tmp_path)
    data = MNIST(tmp_path, transform=Compose(ToFloat(), Normalize(MNIST.mean, MNIST.std), Flatten()))
    x, _ = data.take(np.arange(13))
    assert x.shape == (13, 784) and x.dtype == np.float32
    np.testing.assert_allclose(x, (IMAGES.reshape(13, -1) / 255 - 0.1307) / 0.3081, atol=1e-5)


def test_missing_files_list_the_places_and_the_remedies(tmp_path):
    (tmp_path / "mnist").mkdir()
    with pytest.raises(FileNotFoundError) as caught:
        MNIST(tmp_path, train=False)
    message = str(caught.value)
    for part in (
        "MNIST: t10k-images-idx3-ubyte and t10k-labels-idx1-ubyte",
        f"{tmp_path / 'mnist'}\n",
        f"{tmp_path / 'MNIST/raw'}  (no such folder)",
        "RINGTRAIN_DATA",
        "download=True",
        "https://",
    ):
        assert part in message


def test_half_of_the_files_are_not_enough(tmp_path):
    write(tmp_path)
    (tmp_path / "train-labels-idx1-ubyte.gz").rename(tmp_path / "labels.gz")
    with pytest.raises(FileNotFoundError, match="are not together in any of"):
        MNIST(tmp_path)


def test_no_root_at_all():
    with pytest.raises(FileNotFoundError, match=r"FashionMNIST: .* pass root= or set .* RINGTRAIN_DATA"):
        FashionMNIST()


@pytest.mark.parametrize(
    "images, labels, message",
    [
        (IMAGES, LABELS[:12], r"train-images.* has 13 images, but .*train-labels.* has 12 labels"),
        (IMAGES[:, :, :27], LABELS, r"train-images.*28x28 pixels, found shape \(13, 28, 27\)"),
        (IMAGES, LABELS + 1, r"train-labels.*label 10 is out of range, MNIST has classes 0\.\.9"),
        (IMAGES[:, 0], LABELS, r"train-images.*expected uint8 with 3 axes.*0x00000802"),
    ],
)
def test_files_that_are_not_mnist(tmp_path, images, labels, message):
    write(tmp_path, images, labels)
    for wrong in tmp_path.glob("train-images-idx2*"):
        wrong.rename(tmp_path / "train-images-idx3-ubyte.gz")
    with pytest.raises(ValueError, match=message):
        MNIST(tmp_path)


def test_damaged_file_is_named(tmp_path):
    write(tmp_path)
    path = tmp_path / "train-images-idx3-ubyte.gz"
    path.write_bytes(path.read_bytes()[:-1000])
    with pytest.raises(ValueError, match=r"train-images-idx3-ubyte\.gz: truncated.*fetch the file again"):
        MNIST(tmp_path)


@pytest.mark.parametrize("kind", [MNIST, FashionMNIST])
def test_real_files(real_data, kind):
    train, test = kind(real_data), kind(real_data, train=False)
    assert (len(train), len(test)) == (60000, 10000)
    assert len(kind.classes) == 10 == len(np.unique(train.labels)) == len(np.unique(test.labels))
    counts = sum(np.bincount(part.ravel(), minlength=256) for part in np.array_split(train.arrays[0], 20))
    values = np.arange(256) / 255
    mean = (values * counts).sum() / counts.sum()
    std = np.sqrt(((values - mean) ** 2 * counts).sum() / counts.sum())
    assert abs(mean - kind.mean) < 5e-5 and abs(std - kind.std) < 5e-5  # four decimals are given


def test_first_labels_of_the_real_files(real_data):
    assert MNIST(real_data).labels[:10].tolist() == [5, 0, 4, 1, 9, 2, 1, 3, 1, 4]
    assert FashionMNIST.classes[FashionMNIST(real_data).labels[0]] == "Ankle boot"


@pytest.mark.parametrize("kind, other", [(MNIST, "fashion-mnist"), (FashionMNIST, "mnist")])
@pytest.mark.parametrize("train", [True, False])
def test_files_of_the_sibling_are_recognised(real_data, kind, other, train):
    with pytest.raises(ValueError, match=f"these are the files of {other}, not of {kind.folder}"):
        kind(real_data / other, train=train)
