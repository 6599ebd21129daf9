import zlib

import numpy as np

from ringtrain.data import Digits


def test_digits_are_whole_and_stratified():
    train, test = Digits(), Digits(train=False)
    assert (len(train), len(test)) == (1437, 360)
    for part in (train, test):
        x, y = part.arrays
        assert x.shape == (len(part), 1, 8, 8) and x.dtype == np.uint8
        assert x.min() == 0 and x.max() == Digits.max_value == 16
        assert y.shape == (len(part),) and y.dtype == np.int64
    # Counts of each class as the source's description gives them.
    classes = np.array([178, 182, 177, 183, 181, 182, 181, 179, 174, 180])
    counts = np.bincount(test.labels)
    np.testing.assert_array_equal(np.bincount(train.labels) + counts, classes)
    assert np.all(np.abs(counts - classes * 360 / 1797) < 1)


def test_the_parts_share_no_sample():
    train, test = (Digits(part).arrays[0].reshape(-1, 64) for part in (True, False))
    assert len(np.unique(np.concatenate([train, test]), axis=0)) == 1797  # no two images are equal


def test_the_parts_never_change():
    train, test = Digits(), Digits(train=False)
    assert train.labels[:12].tolist() == TRAIN_STARTS
    assert [zlib.crc32(part.arrays[0].tobytes()) for part in (train, test)] == CHECKSUMS


def test_an_image_looks_like_its_label():
    # Nearest class mean in pixel space is right for about nine images in ten; a wrong order of pixels would
    # not matter, labels that are off by a row would.
    (x, y), (tx, ty) = Digits().arrays, Digits(train=False).arrays
    means = np.stack([x[y == c].mean(axis=0) for c in range(10)])
    nearest = ((tx[:, None] - means) ** 2).sum(axis=(2, 3, 4)).argmin(axis=1)
    assert (nearest == ty).mean() > 0.85


def test_transform_sees_images_only():
    x, y = Digits(transform=lambda x: x * 0.5).take([0, 1])
    assert x.max() <= 8 and x.dtype == np.float64 and y.dtype == np.int64


TRAIN_STARTS = [2, 4, 5, 6, 7, 8, 9, 0, 1, 2, 3, 4]
CHECKSUMS = [478757481, 3158276450]
