import numpy as np
import pytest

from ringtrain.data import DataLoader, ImageFolder, imread, split
from ringtrain.data import transforms as tf
from ringtrain.data.formats import images

Image = pytest.importorskip("PIL.Image")
PIXELS = np.random.default_rng(0).integers(0, 256, (7, 13, 17, 3), np.uint8)


@pytest.fixture
def folder(tmp_path):
    for number, name in enumerate(
        ("dog/a.png", "dog/deep/b.PNG", "cat/z.png", "cat/y.bmp", "ant/only.ppm", "dog/c.png")
    ):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(PIXELS[number][: 13 - number]).save(tmp_path / name)
    (tmp_path / "cat/notes.txt").write_text("not a picture")
    (tmp_path / "file").write_text("not a folder")
    return tmp_path


def test_folders_are_classes_in_the_order_of_their_names(folder):
    data = ImageFolder(folder)
    assert data.classes == ["ant", "cat", "dog"] and data.class_to_idx["dog"] == 2
    assert [path.name for path, _ in data.samples] == ["only.ppm", "y.bmp", "z.png", "a.png", "c.png", "b.PNG"]
    assert data.labels.tolist() == [0, 1, 1, 2, 2, 2] and len(data) == 6
    image, label = data[3]
    np.testing.assert_array_equal(image, np.moveaxis(PIXELS[0], -1, 0))
    assert label == 2 and image.dtype == np.uint8
    assert [len(p) for p in split(data, [3, 3])] == [3, 3]


@pytest.mark.parametrize("workers", [0, 2])
def test_pictures_of_all_sizes_make_batches_through_a_transform(folder, workers):
    work = tf.Compose(tf.RandomResizedCrop(8), tf.RandomFlipLeftRight(), tf.ToFloat())
    loader = DataLoader(ImageFolder(folder, work), 4, shuffle=True, num_workers=workers)
    (x, y), _ = loader
    assert x.shape == (4, 3, 8, 8) and x.dtype == np.float32 and y.dtype == np.int64
    first = DataLoader(ImageFolder(folder).transform_first(work), 4, shuffle=True)
    np.testing.assert_array_equal(next(iter(first))[1].numpy(), y.numpy())
    with pytest.raises(ValueError, match=r"ImageFolder: cannot stack samples of different shapes: sample 0 has \(3, "):
        ImageFolder(folder).take([0, 1])


def test_modes(folder, tmp_path):
    grey = imread(folder / "dog/a.png", "L")
    assert grey.shape == (1, 13, 17)
    alpha = np.dstack([PIXELS[0], PIXELS[1][..., :1]])
    Image.fromarray(alpha).save(tmp_path / "alpha.png")
    np.testing.assert_array_equal(imread(tmp_path / "alpha.png"), np.moveaxis(PIXELS[0], -1, 0))
    Image.fromarray(PIXELS[0][..., 0]).save(tmp_path / "grey.png")
    assert imread(tmp_path / "grey.png").shape == (3, 13, 17) and imread(tmp_path / "grey.png", None).shape == (
        1,
        13,
        17,
    )
    assert ImageFolder(folder, mode="L")[0][0].shape[0] == 1


def test_faults_name_the_file(folder, monkeypatch):
    (folder / "cat/y.bmp").write_bytes(b"broken")
    with pytest.raises(ValueError, match=r"cat/y\.bmp: 6 bytes that Pillow cannot decode"):
        ImageFolder(folder)[1]
    whole = (folder / "dog/a.png").read_bytes()
    (folder / "dog/a.png").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ValueError, match=r"dog/a\.png: .*Pillow cannot decode"):
        ImageFolder(folder)[3]
    with pytest.raises(FileNotFoundError, match=r"no folder .*/nowhere"):
        ImageFolder(folder / "nowhere")
    with pytest.raises(FileNotFoundError, match="has no sub-folders"):
        ImageFolder(folder / "ant")
    (folder / "bat").mkdir()
    with pytest.raises(FileNotFoundError, match=r"/bat has no file that ends in \.jpg"):
        ImageFolder(folder)
    monkeypatch.setitem(__import__("sys").modules, "PIL", None)
    with pytest.raises(ImportError, match=r"pip install 'ringtrain\[images\]'"):
        images.pillow()
