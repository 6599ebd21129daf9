"""The data set that travels inside the package, so that a first training run needs no file and no network."""

import gzip
from pathlib import Path

import numpy as np

from ringtrain.data.dataset import ArrayDataset, Transform
from ringtrain.data.partition import split

TRAIN, TEST = 1437, 360


class Digits(ArrayDataset):
    """UCI handwritten digits: 1,797 grey images of 8x8 pixels, ten classes.

    Samples are (image, label): uint8 of shape (1, 8, 8) with values 0..16, and int64 0..9. Pass
    `transform=ToFloat(Digits.max_value)` to train on them.

    train: the 1,437 training samples, or else the 360 test samples. The source has no such parts; they are
        `split(all, [1437, 360], seed=0)`, stratified by class, the same ones for ever.

    Source: "Optical Recognition of Handwritten Digits" (test set), E. Alpaydin and C. Kaynak, UCI Machine
    Learning Repository, 1998, https://doi.org/10.24432/C50P49, licence CC BY 4.0; the file is the copy in
    scikit-learn (sklearn/datasets/data/digits.csv.gz), unchanged. A row is 64 pixels and the label.
    """

    max_value = 16
    classes = tuple("0123456789")

    def __init__(self, train: bool = True, transform: Transform | None = None):
        packed = Path(__file__).with_name("digits.csv.gz").read_bytes()
        table = np.loadtxt(gzip.decompress(packed).decode("ascii").splitlines(), np.uint8, delimiter=",")
        everything = ArrayDataset(table[:, :64].reshape(-1, 1, 8, 8), table[:, 64].astype(np.int64))
        part = split(everything, [TRAIN, TEST], seed=0)[0 if train else 1]
        super().__init__(*everything.take(part.indices), transform=transform)
