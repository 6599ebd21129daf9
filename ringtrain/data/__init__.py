"""Data sets, file formats, samplers, transforms, and the loader that turns them into batches of tensors."""

from ringtrain.data import drawing, transforms
from ringtrain.data.collate import default_collate
from ringtrain.data.dataset import ArrayDataset, Dataset, Subset
from ringtrain.data.digits import Digits
from ringtrain.data.download import DownloadError
from ringtrain.data.formats.imagerecord import (
    ImageRecordDataset,
    IRHeader,
    RecordFileDataset,
    pack,
    pack_img,
    unpack,
    unpack_img,
)
from ringtrain.data.formats.images import ImageFolder, imread
from ringtrain.data.formats.npy import NpyDataset, NpzDataset, open_npy, open_npz
from ringtrain.data.formats.recordio import RecordError, RecordReader, RecordWriter
from ringtrain.data.formats.tables import CSR, CSVDataset, LibSVMDataset, read_csv, read_libsvm
from ringtrain.data.idx import read_idx
from ringtrain.data.iterators import (
    CSVIter,
    DataBatch,
    DataDesc,
    DataIter,
    ImageRecordIter,
    LibSVMIter,
    MNISTIter,
    NDArrayIter,
)
from ringtrain.data.loader import DataLoader
from ringtrain.data.mnist import MNIST, FashionMNIST
from ringtrain.data.partition import split
from ringtrain.data.sampler import DistributedSampler, RandomSampler, Sampler, SequentialSampler
from ringtrain.data.text import BPETokenizer, CharTokenizer, SequenceWindows, TextCorpus, read_text
from ringtrain.data.weighted import BatchSampler, SubsetRandomSampler, WeightedRandomSampler
from ringtrain.data.workers import WorkerError, WorkerInfo, get_worker_info
from ringtrain.data.wrappers import (
    ConcatDataset,
    FakeData,
    IterableDataset,
    SimpleDataset,
    Stream,
    TensorDataset,
    random_split,
)
