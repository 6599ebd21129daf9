"""Byte-pair encoding on bytes (Sennrich et al. 2016, as GPT-2 has it): any text, any bytes, no unknown token.

Text is cut into words (a word takes the blank before it), and within words the most frequent pair of neighbours is
made one token, over and over. Tokens 0..255 are the bytes, the next ones the merges in the order in which they were
learned, and after them the special ones.
"""

from __future__ import annotations

import heapq
import itertools
import json
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

# Letters (with all bytes beyond ASCII), digits or other signs, each with at most one blank before them; else white
# space, of which the last one goes to the word that follows. Everything matches, so that nothing is lost.
WORDS = re.compile(rb"'(?:[sdmt]|ll|ve|re)| ?[A-Za-z\x80-\xff]+| ?[0-9]+| ?[^\sA-Za-z0-9\x80-\xff]+|\s+(?!\S)|\s+")
FORMAT = "ringtrain-bpe-1"
CACHE = 1 << 18  # words whose tokens are remembered
Pair = tuple[int, int]


class BPETokenizer:
    """Tokens of text: `tokenizer = BPETokenizer.train(text, 4096)`, `tokenizer.encode(text)`, `tokenizer.decode(ids)`.

    merges: pairs of tokens, of which pair i makes token 256 + i.
    special: names of further tokens, such as "<|endoftext|>"; found in text only where `encode` is told so.
    """

    def __init__(self, merges: Sequence[Pair] = (), special: Sequence[str] = ()):
        self.merges = [(int(a), int(b)) for a, b in merges]
        self.special = {name: 256 + len(self.merges) + i for i, name in enumerate(special)}
        self._bytes = [bytes([b]) for b in range(256)]
        for number, (a, b) in enumerate(self.merges):
            if not 0 <= min(a, b) <= max(a, b) < 256 + number:
                raise ValueError(f"BPETokenizer: merge {number} joins {(a, b)}, tokens that it does not come after")
            self._bytes.append(self._bytes[a] + self._bytes[b])
        self._bytes += [name.encode() for name in special]
        self._rank = {pair: 256 + i for i, pair in enumerate(self.merges)}
        self._known: dict[bytes, list[int]] = {}

    def __len__(self) -> int:
        """Number of tokens."""
        return len(self._bytes)

    @property
    def vocab_size(self) -> int:
        return len(self)

    def encode(self, text: str | bytes, special: bool = False) -> np.ndarray:
        """Token numbers, int32. special: names of special tokens within the text become those."""
        data = text.encode("utf-8", "surrogateescape") if isinstance(text, str) else bytes(text)
        if special and self.special:
            cut = re.split(b"(" + b"|".join(re.escape(name.encode()) for name in self.special) + b")", data)
            parts: list[np.ndarray] = [
                np.array([self.special[part.decode()]], np.int32) if place % 2 else self.encode(part)
                for place, part in enumerate(cut)
            ]
            return np.concatenate(parts)
        known, out = self._known, list[int]()
        for word in WORDS.findall(data):
            tokens = known.get(word)
            if tokens is None:
                tokens = self._word(word)
                if len(known) < CACHE:
                    known[word] = tokens
            out += tokens
        return np.array(out, np.int32)

    def _word(self, word: bytes) -> list[int]:
        tokens, rank = list(word), self._rank
        while len(tokens) > 1:
            best = min(itertools.pairwise(tokens), key=lambda pair: rank.get(pair, len(self) + 1))
            if best not in rank:
                break
            tokens = _merged(tokens, best, rank[best])
        return tokens

    def decode_bytes(self, tokens: Iterable[int]) -> bytes:
        """Exactly the bytes that were encoded. Raises ValueError for a number that is no token."""
        numbers = np.asarray(tokens).ravel()
        if numbers.size and not 0 <= numbers.min() <= numbers.max() < len(self):
            raise ValueError(f"BPETokenizer: tokens are 0..{len(self) - 1}, got {numbers.min()}..{numbers.max()}")
        return b"".join(map(self._bytes.__getitem__, numbers.tolist()))

    def decode(self, tokens: Iterable[int]) -> str:
        """The text; bytes that are no UTF-8, as where a character was cut, show as U+FFFD."""
        return self.decode_bytes(tokens).decode("utf-8", "replace")

    def save(self, path: str | Path) -> None:
        """Writes a JSON file."""
        content = {"format": FORMAT, "merges": self.merges, "special": list(self.special)}
        Path(path).write_text(json.dumps(content))

    @classmethod
    def load(cls, path: str | Path) -> BPETokenizer:
        """Reads what `save` has written."""
        try:
            content = json.loads(Path(path).read_text())
            if content["format"] != FORMAT:
                raise ValueError(f"format {content['format']!r}")
            return cls(content["merges"], content["special"])
        except (ValueError, KeyError, TypeError) as error:
            raise ValueError(f"{path}: not a tokenizer of {FORMAT}: {error}") from error

    @classmethod
    def train(
        cls, text: str | bytes | Iterable[str | bytes], vocab_size: int, special: Sequence[str] = ()
    ) -> BPETokenizer:
        """Learns from a text, or from many, until there are `vocab_size` tokens, special ones included.

        There are fewer where no pair comes twice any more. Of pairs that are as frequent the smaller one is first,
        so that the same text makes the same tokenizer everywhere.
        """
        if vocab_size < 256 + len(special):
            raise ValueError(
                f"BPETokenizer: 256 bytes and {len(special)} special tokens exceed vocab_size={vocab_size}"
            )
        words: Counter[bytes] = Counter()
        for part in [text] if isinstance(text, str | bytes) else text:
            data = part.encode("utf-8", "surrogateescape") if isinstance(part, str) else part
            words.update(WORDS.findall(data))
        return cls(_learn(words, vocab_size - 256 - len(special)), special)


def _learn(words: Counter[bytes], count: int) -> list[Pair]:
    """The merges: only words that hold a pair are touched when it is merged."""
    spelled, weights = [list(word) for word in words], list(words.values())
    frequency: Counter[Pair] = Counter()
    where: defaultdict[Pair, set[int]] = defaultdict(set)
    for number, tokens in enumerate(spelled):
        for pair in itertools.pairwise(tokens):
            frequency[pair] += weights[number]
            where[pair].add(number)
    heap = [(-n, pair) for pair, n in frequency.items()]
    heapq.heapify(heap)
    merges: list[Pair] = []
    while heap and len(merges) < count:
        n, pair = heapq.heappop(heap)
        if frequency[pair] != -n:  # an old entry: where counts have fallen, it comes again with the right one
            if 0 < frequency[pair] < -n:
                heapq.heappush(heap, (-frequency[pair], pair))
            continue
        if -n < 2:
            break
        merges.append(pair)
        changed = set()
        for number in where.pop(pair):
            old, weight = spelled[number], weights[number]
            new = _merged(old, pair, 255 + len(merges))
            if len(new) == len(old):
                continue
            for gone in itertools.pairwise(old):
                frequency[gone] -= weight
            for come in itertools.pairwise(new):
                frequency[come] += weight
                where[come].add(number)
                changed.add(come)
            spelled[number] = new
        for come in changed:
            if frequency[come] > 0:
                heapq.heappush(heap, (-frequency[come], come))
    return merges


def _merged(tokens: list[int], pair: Pair, into: int) -> list[int]:
    out, at, last = [], 0, len(tokens) - 1
    while at <= last:
        if at < last and tokens[at] == pair[0] and tokens[at + 1] == pair[1]:
            out.append(into)
            at += 2
        else:
            out.append(tokens[at])
            at += 1
    return out
