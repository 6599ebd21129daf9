"""A token for each character."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path

import numpy as np

FORMAT = "ringtrain-characters-1"


class CharTokenizer:
    """Tokens are the characters of a text, numbered in the order of their code points: `CharTokenizer.train(text)`.

    unknown: the character that others are read as; None makes them an error.
    """

    def __init__(self, characters: str, unknown: str | None = None):
        self.characters = "".join(sorted(set(characters) | set(unknown or "")))
        self.unknown = unknown
        self._codes = np.array([ord(c) for c in self.characters], np.uint32)

    @classmethod
    def train(cls, text: str, unknown: str | None = None) -> CharTokenizer:
        return cls(text, unknown)

    def __len__(self) -> int:
        """Number of tokens."""
        return len(self.characters)

    @property
    def vocab_size(self) -> int:
        return len(self)

    def encode(self, text: str) -> np.ndarray:
        """Token numbers, int32. Raises ValueError, naming the first, for characters it does not know."""
        codes = np.frombuffer(text.encode("utf-32-le", "surrogatepass"), "<u4")
        if not len(self):
            if text:
                raise ValueError("CharTokenizer: it was trained on no text, so it knows no character")
            return np.zeros(0, np.int32)
        places = np.minimum(np.searchsorted(self._codes, codes), len(self) - 1)
        strange = np.flatnonzero(self._codes[places] != codes)
        if strange.size:
            if self.unknown is None:
                raise ValueError(
                    f"CharTokenizer: no token for {text[strange[0]]!r} (character {strange[0]} of the text); "
                    f"train on it, or name a character for all `unknown` ones"
                )
            places[strange] = self.characters.index(self.unknown)
        return places.astype(np.int32)

    def decode(self, tokens: Iterable[int]) -> str:
        """The text. Raises ValueError for a number that is no token."""
        numbers = np.asarray(tokens).ravel()
        if numbers.size and not 0 <= numbers.min() <= numbers.max() < len(self):
            raise ValueError(f"CharTokenizer: tokens are 0..{len(self) - 1}, got {numbers.min()}..{numbers.max()}")
        return "".join(map(self.characters.__getitem__, numbers.tolist()))

    def save(self, path: str | Path) -> None:
        """Writes a JSON file."""
        content = {"format": FORMAT, "characters": self.characters, "unknown": self.unknown}
        Path(path).write_text(json.dumps(content))

    @classmethod
    def load(cls, path: str | Path) -> CharTokenizer:
        """Reads what `save` has written."""
        try:
            content = json.loads(Path(path).read_text())
            if content["format"] != FORMAT:
                raise ValueError(f"format {content['format']!r}")
            return cls(content["characters"], content["unknown"])
        except (ValueError, KeyError, TypeError) as error:
            raise ValueError(f"{path}: not a tokenizer of {FORMAT}: {error}") from error
