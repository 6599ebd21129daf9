"""Long texts as samples for language models."""

from __future__ import annotations

import gzip
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ringtrain.data.dataset import Arrays, Dataset, as_indices
from ringtrain.data.text.characters import CharTokenizer


def read_text(path: str | Path) -> str:
    """A text file, UTF-8, gzip or not (told by its content); line ends as they are."""
    content = Path(path).read_bytes()
    if content[:2] == b"\x1f\x8b":
        content = gzip.decompress(content)
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError as error:
        raise ValueError(
            f"{path}, offset {error.start}: not UTF-8, found {content[error.start : error.end]!r}"
        ) from None


class SequenceWindows(Dataset):
    """Samples are windows of a long row of tokens: (x, y), int64 (length,), where y is x one token later.

    stride: how far the next window begins; None for `length`, so that every token is predicted once. What does not
    fill a window at the end is left out.
    Raises ValueError where there are too few tokens for one window.
    """

    def __init__(self, tokens: Any, length: int, stride: int | None = None):
        self.tokens = np.asarray(tokens)
        self.length, self.stride = length, length if stride is None else stride
        if self.tokens.ndim != 1 or self.tokens.dtype.kind not in "iu":
            raise TypeError(f"SequenceWindows: needs a row of tokens, got {self.tokens.dtype} {self.tokens.shape}")
        if length < 1 or self.stride < 1:
            raise ValueError(f"SequenceWindows: length and stride are at least 1, got {length=}, {stride=}")
        if len(self.tokens) <= length:
            raise ValueError(f"SequenceWindows: {len(self.tokens)} tokens are too few for {length} and the next one")

    def __len__(self) -> int:
        return (len(self.tokens) - 1 - self.length) // self.stride + 1

    def __getitem__(self, index: int) -> Arrays:
        x, y = self.take([index])
        return x[0], y[0]

    def take(self, indices: Sequence[int] | np.ndarray) -> Arrays:
        rows = as_indices(indices)
        rows = np.where(rows < 0, rows + len(self), rows)
        if rows.size and not 0 <= rows.min() <= rows.max() < len(self):
            raise IndexError(f"SequenceWindows: windows are 0..{len(self) - 1}, got {rows.min()}..{rows.max()}")
        both = self.tokens[rows[:, None] * self.stride + np.arange(self.length + 1)].astype(np.int64)
        return both[:, :-1], both[:, 1:]


class TextCorpus(SequenceWindows):
    """A text file as windows of tokens: `TextCorpus("kjv.txt.gz", tokenizer, length=128)`.

    tokenizer: a `BPETokenizer` or `CharTokenizer`, or anything with `encode(text)`; None trains a CharTokenizer on
        the file.
    part: (from, to), shares of the text's characters to take: (0, 0.9) to train, (0.9, 1) to test.
    """

    def __init__(
        self,
        path: str | Path,
        tokenizer: Any = None,
        length: int = 128,
        stride: int | None = None,
        part: tuple[float, float] = (0.0, 1.0),
    ):
        if not 0 <= part[0] < part[1] <= 1:
            raise ValueError(f"TextCorpus: part is (from, to) with 0 <= from < to <= 1, got {part}")
        text = read_text(path)
        self.tokenizer = CharTokenizer.train(text) if tokenizer is None else tokenizer
        piece = text[round(part[0] * len(text)) : round(part[1] * len(text))]
        super().__init__(self.tokenizer.encode(piece), length, stride)
