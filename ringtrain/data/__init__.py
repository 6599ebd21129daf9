"""Data sets, samplers, transforms and the loader that turns them into batches of tensors."""

from ringtrain.data import transforms
from ringtrain.data.dataset import ArrayDataset, Dataset, Subset
from ringtrain.data.digits import Digits
from ringtrain.data.download import DownloadError
from ringtrain.data.idx import read_idx
from ringtrain.data.loader import DataLoader
from ringtrain.data.mnist import MNIST, FashionMNIST
from ringtrain.data.partition import split
from ringtrain.data.sampler import DistributedSampler, RandomSampler, Sampler, SequentialSampler

__all__ = [
    "MNIST",
    "ArrayDataset",
    "DataLoader",
    "Dataset",
    "Digits",
    "DistributedSampler",
    "DownloadError",
    "FashionMNIST",
    "RandomSampler",
    "Sampler",
    "SequentialSampler",
    "Subset",
    "read_idx",
    "split",
    "transforms",
]
