"""Worker processes of a loader on every rank of a job: the ranks' batches together are those of one rank."""

import numpy as np
import pytest

import ringtrain as rt
from ringtrain.data import ArrayDataset, DataLoader, DistributedSampler, SequentialSampler
from ringtrain.data import transforms as tf

pytestmark = [pytest.mark.mpi, pytest.mark.usefixtures("together")]


def test_ranks_with_workers_read_what_one_rank_reads_alone():
    x = np.random.default_rng(0).integers(0, 256, (48, 3, 8, 8), np.uint8)
    data = ArrayDataset(x, np.arange(48), transform=tf.Compose(tf.RandomCrop(6), tf.ColorJitter(0.4, 0.4, 0.4)))
    mine = {}
    loader = DataLoader(data, 5, sampler=DistributedSampler(data, seed=3), num_workers=2)
    for images, labels in loader:
        rt.allreduce(images.numpy().sum(dtype=np.float64), op=rt.Sum)  # collectives go on beside the workers
        mine |= {int(i): image.tobytes() for i, image in zip(labels.numpy(), images.numpy(), strict=True)}
    together = {k: v for part in rt.allgather_object(mine) for k, v in part.items()}
    whole, labels = next(iter(DataLoader(data, 48, sampler=SequentialSampler(data))))
    assert together == {int(i): image.tobytes() for i, image in zip(labels.numpy(), whole.numpy(), strict=True)}
