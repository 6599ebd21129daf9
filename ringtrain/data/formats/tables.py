"""Tables as text: CSV and LibSVM."""

from __future__ import annotations

import gzip
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import DTypeLike

from ringtrain.data.dataset import ArrayDataset, Dataset, Transform, as_indices


def open_text(path: str | Path) -> Any:
    """A text file, gzip or not (told by its content)."""
    with open(path, "rb") as raw:
        packed = raw.read(2) == b"\x1f\x8b"
    return gzip.open(path, "rt", encoding="utf-8") if packed else open(path, encoding="utf-8")


def read_csv(
    path: str | Path, dtype: DTypeLike = np.float32, delimiter: str = ",", skip_header: int = 0, columns: Any = None
) -> np.ndarray:
    """The numbers of a CSV file (gzip or not), shape (rows, columns).

    skip_header: lines at the top that are not read. columns: which to read, by number; None for all.
    Raises ValueError that names file, line and what was found, where a field is no number or a row has another length.
    """
    with open_text(path) as lines:
        try:
            return np.loadtxt(
                lines, dtype, delimiter=delimiter, skiprows=skip_header, usecols=columns, ndmin=2, comments=None
            )
        except ValueError as error:
            # loadtxt counts data rows, without the skipped and the empty ones; find the line itself.
            raise ValueError(f"{path}: {_fault(path, dtype, delimiter, skip_header) or error}") from error


def _fault(path: str | Path, dtype: DTypeLike, delimiter: str, skip_header: int) -> str | None:
    width, kind = None, np.dtype(dtype).type
    with open_text(path) as lines:
        for number, line in enumerate(lines, 1):
            if number <= skip_header or not line.strip():
                continue
            fields = line.rstrip("\r\n").split(delimiter)
            width = width or len(fields)
            if len(fields) != width:
                return f"line {number} has {len(fields)} fields, those before have {width}"
            for place, field in enumerate(fields):
                try:
                    kind(field)
                except (ValueError, OverflowError):
                    return f"line {number}, field {place}: expected {np.dtype(dtype)}, found {field!r}"
    return None


class CSVDataset(ArrayDataset):
    """Samples are the rows of a CSV file: (features, label), or (features,) with label=None.

    label: the column that holds the label, -1 for the last; read as `label_dtype` (int64: classes; float32: targets).
    The rest is as in `read_csv`.
    """

    def __init__(
        self,
        path: str | Path,
        label: int | None = -1,
        dtype: DTypeLike = np.float32,
        label_dtype: DTypeLike = np.int64,
        delimiter: str = ",",
        skip_header: int = 0,
        transform: Transform | None = None,
    ):
        # float64 holds every class number and every float32 exactly.
        table = read_csv(path, np.float64, delimiter, skip_header)
        if label is None:
            super().__init__(table.astype(dtype), transform=transform)
            return
        if not -table.shape[1] <= label < table.shape[1]:
            raise ValueError(f"{path}: has {table.shape[1]} columns, none of which is number {label}")
        labels = table[:, label].astype(label_dtype)
        if not np.array_equal(labels, table[:, label]) and np.dtype(label_dtype).kind in "iu":
            row = int(np.flatnonzero(labels != table[:, label])[0])
            raise ValueError(f"{path}: label {table[row, label]:g} in row {row} is not a class; label_dtype=float32?")
        super().__init__(np.delete(table, label, axis=1).astype(dtype), labels, transform=transform)


@dataclass(frozen=True)
class CSR:
    """A sparse matrix by rows, with SciPy's names: row i has data[indptr[i]:indptr[i+1]] in columns indices[...]."""

    data: np.ndarray
    indices: np.ndarray
    indptr: np.ndarray
    shape: tuple[int, int]

    def __len__(self) -> int:
        return self.shape[0]

    def toarray(self) -> np.ndarray:
        """All of it, zeros too."""
        return self.rows(np.arange(len(self)))

    def rows(self, numbers: Sequence[int] | np.ndarray) -> np.ndarray:
        """These rows, zeros too, shape (n, columns)."""
        numbers = as_indices(numbers)
        if numbers.size and not 0 <= numbers.min() <= numbers.max() < len(self):
            raise IndexError(f"rows {numbers.min()}..{numbers.max()} of a matrix that has {len(self)}")
        counts = self.indptr[numbers + 1] - self.indptr[numbers]
        target = np.repeat(np.arange(len(numbers)), counts)
        ends = np.cumsum(counts)
        source = np.repeat(self.indptr[numbers] - (ends - counts), counts) + np.arange(counts.sum())
        out = np.zeros((len(numbers), self.shape[1]), self.data.dtype)
        out[target, self.indices[source]] = self.data[source]
        return out

    def take(self, numbers: Sequence[int] | np.ndarray) -> CSR:
        """These rows as a matrix of their own."""
        numbers = as_indices(numbers)
        counts = self.indptr[numbers + 1] - self.indptr[numbers]
        indptr = np.concatenate([[0], np.cumsum(counts)])
        source = np.repeat(self.indptr[numbers] - indptr[:-1], counts) + np.arange(indptr[-1])
        return CSR(self.data[source], self.indices[source], indptr, (len(numbers), self.shape[1]))


def read_libsvm(
    path: str | Path, features: int | None = None, zero_based: bool = True, dtype: DTypeLike = np.float32
) -> tuple[CSR, np.ndarray]:
    """(features, labels) of a LibSVM file: lines `label index:value index:value ...`, gzip or not.

    features: number of columns; None takes the largest index. Labels are float32, (rows,), or (rows, k) where
    each line begins with k numbers that commas or blanks separate.
    zero_based: indices begin at 0, as MXNet has them; False for 1, as LibSVM's own files have them.
    """
    labels: list[list[float]] = []
    values: list[float] = []
    columns: list[int] = []
    indptr = [0]
    with open_text(path) as lines:
        for number, line in enumerate(lines, 1):
            fields = line.split("#", 1)[0].split()
            if not fields:
                continue
            try:
                pairs = [field.split(":") for field in fields if ":" in field]
                labels.append([float(x) for field in fields if ":" not in field for x in field.split(",")])
                columns += [int(index) - (not zero_based) for index, _ in pairs]
                values += [float(value) for _, value in pairs]
            except ValueError:
                raise ValueError(
                    f"{path}, line {number}: expected 'label index:value ...', found {line.strip()[:80]!r}"
                ) from None
            indptr.append(len(values))
            mine = columns[indptr[-2] :]
            if mine and (min(mine) < 0 or (features is not None and max(mine) >= features)):
                raise ValueError(
                    f"{path}, line {number}: index {(min(mine) if min(mine) < 0 else max(mine)) + (not zero_based)} "
                    f"is out of range for {features} features {'from 0' if zero_based else 'from 1'}; see zero_based"
                )
            if len(labels[-1]) != len(labels[0]):
                raise ValueError(f"{path}, line {number}: {len(labels[-1])} labels, lines before have {len(labels[0])}")
    width = max(columns, default=-1) + 1 if features is None else features
    matrix = CSR(np.array(values, dtype), np.array(columns, np.int64), np.array(indptr), (len(labels), width))
    table = np.array(labels, np.float32).reshape(len(labels), -1)
    return matrix, table[:, 0] if table.shape[1] == 1 else table


class LibSVMDataset(Dataset):
    """Samples are the lines of a LibSVM file: (features, label), features dense, float32; see `read_libsvm`.

    In memory they stay sparse: `matrix` is the CSR. label_dtype: int64 for classes.
    """

    def __init__(
        self,
        path: str | Path,
        features: int | None = None,
        zero_based: bool = True,
        label_dtype: DTypeLike = np.float32,
    ):
        self.matrix, labels = read_libsvm(path, features, zero_based)
        self.targets = labels.astype(label_dtype)

    def __len__(self) -> int:
        return len(self.matrix)

    def __getitem__(self, index: int) -> Any:
        return tuple(field[0] for field in self.take([index]))

    def take(self, indices: Sequence[int] | np.ndarray) -> Any:
        return self.matrix.rows(indices), self.targets[as_indices(indices)]

    @property
    def labels(self) -> np.ndarray | None:
        return self.targets if self.targets.dtype.kind in "iu" and self.targets.ndim == 1 else None
