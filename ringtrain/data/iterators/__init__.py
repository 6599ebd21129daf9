"""MXNet's iterators, with its parameter names: for programs that come from there, and for its file formats.

They yield `DataBatch`es: lists of tensors `data` and `label`, and `pad`, how many rows at the end of the last batch
are there only to fill it. An epoch ends with StopIteration; `reset` begins the next one.
"""

from ringtrain.data.iterators.arrays import CSVIter, LibSVMIter, MNISTIter, NDArrayIter
from ringtrain.data.iterators.base import DataBatch, DataDesc, DataIter
from ringtrain.data.iterators.images import ImageRecordIter

__all__ = ["CSVIter", "DataBatch", "DataDesc", "DataIter", "ImageRecordIter", "LibSVMIter", "MNISTIter", "NDArrayIter"]
