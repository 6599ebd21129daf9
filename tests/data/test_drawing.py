"""Augmentation does not depend on how samples are batched, whatever data sets are around them."""

import numpy as np
import pytest

from ringtrain.data import ArrayDataset, ConcatDataset, DataLoader, Dataset, Subset, drawing
from ringtrain.data import transforms as tf

BYTES = np.random.default_rng(3).integers(0, 256, (1, 3, 17, 13), np.uint8)


class OneByOne(Dataset):
    """Draws in __getitem__, twice, around a data set that draws too."""

    def __init__(self, inner):
        self.inner = inner

    def __len__(self):
        return len(self.inner)

    def __getitem__(self, index):
        first = drawing.uniform(1)[0, 0]
        x = self.inner[index][0]
        return x, np.float64(first), drawing.uniform(1)[0, 0]


def augmented(n=23):
    x = np.repeat(BYTES[:1], n, 0)
    return ArrayDataset(x, np.arange(n), transform=tf.Compose(tf.RandomCrop(9), tf.RandomBrightness(0.5)))


NESTS = {
    "array": augmented,
    "subset": lambda: Subset(augmented(40), np.arange(30)[::-1]),
    "transformed": lambda: augmented().transform_first(tf.RandomFlipLeftRight()),
    "twice": lambda: augmented().transform_first(tf.RandomGray()).transform_first(tf.RandomFlipLeftRight()),
    "concat": lambda: ConcatDataset([augmented(11), augmented(12).transform_first(tf.RandomGray())]),
    "concat, then": lambda: ConcatDataset(
        [augmented(11), ArrayDataset(np.zeros((9, 3, 9, 9), np.uint8) + 50, np.arange(9))]
    ).transform_first(tf.RandomBrightness(0.5)),
    "by fields": lambda: augmented().transform(lambda x, y: (tf.RandomBrightness(0.5)(x), y)),
    "own": lambda: OneByOne(augmented().transform_first(tf.RandomGray())),
}


@pytest.mark.parametrize("nest", NESTS)
def test_batches_of_any_size_are_augmented_alike(nest):
    def epoch(size, number=1):
        loader = DataLoader(NESTS[nest](), size, shuffle=True, seed=5)
        loader.set_epoch(number)
        return [
            np.concatenate(column) for column in zip(*([t.numpy() for t in batch] for batch in loader), strict=True)
        ]

    one = epoch(1)
    for size in (3, 7, 50):
        for a, b in zip(one, epoch(size), strict=True):
            np.testing.assert_array_equal(a, b)
    assert any((a != b).any() for a, b in zip(one, epoch(7, 2), strict=True))


def test_samples_made_of_several_draw_for_each():
    class Mosaic(Dataset):
        inner = augmented()

        def __len__(self):
            return 6

        def __getitem__(self, index):
            tiles, _ = self.inner.take([index, index, index + 1, index + 2])
            return (np.concatenate(list(tiles), axis=-1),)

    small, large = ([b[0].numpy() for b in DataLoader(Mosaic(), n)] for n in (1, 6))
    np.testing.assert_array_equal(np.concatenate(small), large[0])
    assert len({image.tobytes() for image in large[0]}) == 6
