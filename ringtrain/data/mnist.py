"""MNIST and the data sets that share its format: four IDX files, 28x28 grey images, ten classes."""

import hashlib
import os
from collections.abc import Iterable, Mapping, Sequence
from itertools import product
from pathlib import Path
from typing import ClassVar

import numpy as np

from ringtrain.data.dataset import ArrayDataset, Transform
from ringtrain.data.download import download as fetch
from ringtrain.data.idx import read_idx

# Files of the family share names and sizes; the labels' bytes tell whose they are (MD5 -> folder).
LABELS_OF = {
    "e86ee40d66677c011a9abda399ec8c4d": "mnist",
    "073c3904dfbd3e141ff8aa01cfde6b15": "mnist",
    "3236f6424fc25388b2834cb19942cf7e": "fashion-mnist",
    "8dea97a4e78c1bd1b5a6e8efbb870b6e": "fashion-mnist",
}


class MNIST(ArrayDataset):
    """MNIST handwritten digits: 60,000 training and 10,000 test images (LeCun, Cortes and Burges, 1998).

    Samples are (image, label): uint8 of shape (1, 28, 28) with values 0..255, and int64 0..9. Pass
    `transform=Compose(ToFloat(), Normalize(MNIST.mean, MNIST.std))` to train on them.

    root: where the files are; by default the environment variable RINGTRAIN_DATA. Looked for in `root/mnist`,
        `root/MNIST/raw` (torchvision's layout) and `root` itself, gzip or not, under the names
        `train-images-idx3-ubyte` and `train-images.idx3-ubyte`, and so on.
    train: the training set, or else the test set.
    download: where the files are not there, fetch all four into `root/mnist` (into `root` if it has that
        name) from the official mirrors and check their digests. Safe under several processes.

    Raises FileNotFoundError (with the places looked at), ValueError (damaged files, or files of another data
    set) or DownloadError; each says what to do.
    """

    folder: ClassVar[str] = "mnist"
    max_value: ClassVar[int] = 255
    mean: ClassVar[float] = 0.1307  # of the training pixels divided by 255, and their standard deviation
    std: ClassVar[float] = 0.3081
    classes: ClassVar[tuple[str, ...]] = tuple("0123456789")
    mirrors: ClassVar[Sequence[str]] = (
        "https://ossci-datasets.s3.amazonaws.com/mnist/",
        "https://storage.googleapis.com/cvdf-datasets/mnist/",
    )
    # MD5 of the official gzip files, as published.
    files: ClassVar[Mapping[str, str]] = {
        "train-images-idx3-ubyte.gz": "f68b3c2dcbeaaa9fbdd348bbdeb94873",
        "train-labels-idx1-ubyte.gz": "d53e105ee54ea40749a09fcbcd1e9432",
        "t10k-images-idx3-ubyte.gz": "9fb629c4189551a2d022fa330f9573f3",
        "t10k-labels-idx1-ubyte.gz": "ec29112dd5afa0611ce80d1b7f02629c",
    }

    def __init__(
        self,
        root: str | Path | None = None,
        train: bool = True,
        download: bool = False,
        transform: Transform | None = None,
    ):
        name, home = type(self).__name__, self._home(root)
        stem = "train" if train else "t10k"
        parts = [f"{stem}-images-idx3-ubyte", f"{stem}-labels-idx1-ubyte"]
        places = [home / self.folder, home / name / "raw", home]
        found = _find(places, parts)
        if found is None and download:
            target = home if home.name == self.folder else home / self.folder
            fetch(self.files, self.mirrors, target, f"then call {name}({str(home)!r})")
            found = _find([target], parts)
        if found is None:
            raise FileNotFoundError(self._missing(places, parts))
        images, labels = read_idx(found[0], 3, np.uint8), read_idx(found[1], 1, np.uint8)
        self._check(images, labels, *found)
        super().__init__(images[:, None], labels.astype(np.int64), transform=transform)

    def _home(self, root: str | Path | None) -> Path:
        root = root or os.environ.get("RINGTRAIN_DATA")
        if not root:
            raise FileNotFoundError(
                f"{type(self).__name__}: no folder to look in: pass root= or set the "
                f"environment variable RINGTRAIN_DATA (download=True fetches the files)"
            )
        return Path(root).expanduser()

    def _missing(self, places: Iterable[Path], parts: Iterable[str]) -> str:
        name = type(self).__name__
        looked = "\n".join(f"  {place}{'' if place.is_dir() else '  (no such folder)'}" for place in places)
        return (
            f"{name}: {' and '.join(parts)} (or with .gz) are not together in any of\n{looked}\n"
            f"Pass the folder as root= or set RINGTRAIN_DATA, or let {name}(root, download=True) fetch "
            f"them from {self.mirrors[0]}"
        )

    def _check(self, images: np.ndarray, labels: np.ndarray, images_file: Path, labels_file: Path) -> None:
        name = type(self).__name__
        if images.shape[1:] != (28, 28):
            raise ValueError(f"{images_file}: {name} has images of 28x28 pixels, found shape {images.shape}")
        if len(images) != len(labels):
            raise ValueError(
                f"{images_file} has {len(images)} images, but {labels_file} has {len(labels)} "
                f"labels: they do not belong together; delete both and use download=True"
            )
        if labels.size and labels.max() >= len(self.classes):
            raise ValueError(
                f"{labels_file}: label {labels.max()} is out of range, {name} has classes 0..{len(self.classes) - 1}"
            )
        owner = LABELS_OF.get(hashlib.md5(labels.tobytes(), usedforsecurity=False).hexdigest(), self.folder)
        if owner != self.folder:
            raise ValueError(
                f"{labels_file}: these are the files of {owner}, not of {self.folder}, which "
                f"have the same names; put those of {name} into a sub-folder {self.folder!r} "
                f"of the root, or give another root"
            )


class FashionMNIST(MNIST):
    """Fashion-MNIST: articles of Zalando in MNIST's format and counts (Xiao, Rasul and Vollgraf, 2017).

    As `MNIST`, with sub-folders `fashion-mnist` and `FashionMNIST/raw`. Licence MIT.
    """

    folder = "fashion-mnist"
    mean = 0.2860
    std = 0.3530
    classes = (
        "T-shirt/top",
        "Trouser",
        "Pullover",
        "Dress",
        "Coat",
        "Sandal",
        "Shirt",
        "Sneaker",
        "Bag",
        "Ankle boot",
    )
    mirrors = ("http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",)
    files: ClassVar[Mapping[str, str]] = {
        "train-images-idx3-ubyte.gz": "8d4fb7e6c68d591d4c3dfef9ec88bf0d",
        "train-labels-idx1-ubyte.gz": "25c81989df183df01b3e8a0aad5dffbe",
        "t10k-images-idx3-ubyte.gz": "bef4ecab320f06d8554ea6380940ec79",
        "t10k-labels-idx1-ubyte.gz": "bb300cfdad3c16e7a12a480ee83cd310",
    }


def _find(places: Iterable[Path], parts: Sequence[str]) -> tuple[Path, ...] | None:
    """The files `parts` in the first place that has all of them, else None."""
    for place in places:
        found = [_one(place, part) for part in parts]
        if all(found):
            return tuple(path for path in found if path)
    return None


def _one(place: Path, part: str) -> Path | None:
    names = (part + end for part, end in product((part, part.replace("-idx", ".idx")), ("", ".gz")))
    return next((place / name for name in names if (place / name).is_file()), None)
