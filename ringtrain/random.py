"""Random numbers as functions: a value is decided by (seed, name, step, global index) and by nothing else.

Philox4x32-10 (Salmon et al. 2011, "Parallel random numbers: as easy as 1, 2, 3") turns a key, made from the seed
and the name, and a counter, made from the step and the element's index, into four 32-bit words. So the same weights
and dropout masks come out on any number of ranks and in any order of drawing, and there is no state to save but the
seed and the step.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np

__all__ = [
    "bernoulli",
    "bits",
    "integers",
    "next_draw",
    "next_name",
    "normal",
    "philox",
    "recorded",
    "replayed",
    "row_bits",
    "seed",
    "state",
    "turn",
    "uniform",
]

_M0, _M1 = np.uint64(0xD2511F53), np.uint64(0xCD9E8D57)
_W0, _W1 = 0x9E3779B9, 0xBB67AE85
_LOW = np.uint64(0xFFFFFFFF)
_HALF = np.uint64(32)


@dataclass
class State:
    """What randomness depends on besides names and indices.

    seed     given by the user, the same on every rank
    step     of training; optimisers advance it
    drawn    how many names `next_name` has given out since the seed was set
    draws    the last `turn` of `next_draw`
    records  lists that get every `turn` (see `recorded`); replay: where turns come from instead (see `replayed`)
    offset, stride  where this rank's rows lie in the global batch: its row j is row offset + j * stride
    """

    seed: int = 0
    step: int = 0
    drawn: int = 0
    draws: tuple[int, int] = (-1, 0)
    offset: int = 0
    stride: int = 1
    records: list[list] = field(default_factory=list)
    replay: Iterator | None = None


state = State()


def seed(value: int) -> None:
    """Starts all randomness anew from a seed: initial weights, dropout masks, the step."""
    state.seed, state.step, state.drawn, state.draws = int(value), 0, 0, (-1, 0)


def next_name(kind: str) -> str:
    """A name for the next thing that draws, by the order of construction: "Linear:0", "Linear:1", ...

    Programs that build the same modules in the same order get the same names, on every rank.
    """
    state.drawn += 1
    return f"{kind}:{state.drawn - 1}"


def next_draw(kind: str) -> str:
    """A name for the next values drawn in this step: the same in a run that goes on from a checkpoint."""
    replaying, now = state.replay is not None, turn(state.draws)
    if not replaying:
        state.draws = now
    return f"{kind}/{now[1]}"


def turn(last: tuple[int, int]) -> tuple[int, int]:
    """(step, call): the step of training, and which draw of that step it is for one whose last turn was `last`."""
    if state.replay is not None:
        now = next(state.replay)
    else:
        now = (state.step, last[1] + 1 if last[0] == state.step else 0)
    for record in state.records:
        record.append(now)
    return now


@contextmanager
def recorded() -> Iterator[list]:
    """Within it all turns are noted in the list that it gives."""
    turns: list = []
    state.records.append(turns)
    try:
        yield turns
    finally:
        state.records = [record for record in state.records if record is not turns]


@contextmanager
def replayed(turns: list) -> Iterator[None]:
    """Within it turns are those that were recorded, and nothing else that is counted moves on."""
    before, state.replay = state.replay, iter(turns)
    try:
        yield
    finally:
        state.replay = before


def philox(counter: Any, key: tuple[int, int]) -> Any:
    """Philox4x32-10: counter (4, n) and key, of 32-bit words -> (4, n) uint32."""
    c0, c1, c2, c3 = (np.asarray(c, np.uint64) for c in counter)
    k0, k1 = key
    for _ in range(10):
        p0, p1 = _M0 * c0, _M1 * c2
        c0, c2 = (p1 >> _HALF) ^ c1 ^ np.uint64(k0), (p0 >> _HALF) ^ c3 ^ np.uint64(k1)
        c1, c3 = p1 & _LOW, p0 & _LOW
        k0, k1 = (k0 + _W0) & 0xFFFFFFFF, (k1 + _W1) & 0xFFFFFFFF
    return np.stack([c0, c1, c2, c3]).astype(np.uint32)


def _key(name: str) -> tuple[int, int]:
    digest = hashlib.blake2b(f"{state.seed}/{name}".encode(), digest_size=8).digest()
    return int.from_bytes(digest[:4], "little"), int.from_bytes(digest[4:], "little")


def bits(shape: tuple[int, ...], name: str, step: int = 0, rows: bool = False) -> np.ndarray:
    """Uniform uint32 of that shape.

    rows: the first axis is this rank's part of a global batch; elements are numbered in the whole of it.
    """
    count = math.prod(shape)
    if not count:
        return np.zeros(shape, np.uint32)
    if rows and shape and (state.offset, state.stride) != (0, 1):
        mine = np.arange(shape[0], dtype=np.uint64) * np.uint64(state.stride) + np.uint64(state.offset)
        return row_bits(mine, count // shape[0], name, step).reshape(shape)
    blocks = np.arange((count + 3) // 4, dtype=np.uint64)
    return np.ascontiguousarray(_words(blocks, _key(name), step).T).reshape(-1)[:count].reshape(shape)


def row_bits(rows: np.ndarray, width: int, name: str, step: int = 0) -> np.ndarray:
    """Uniform uint32 of shape (len(rows), width): the rows of these numbers of an endless array of `width` columns."""
    starts = rows.astype(np.uint64) * np.uint64(width)
    index: Any = (starts[:, None] + np.arange(width, dtype=np.uint64)).reshape(-1)
    blocks, place = np.unique(index >> np.uint64(2), return_inverse=True)
    words = _words(blocks, _key(name), step)
    return words[(index & np.uint64(3)).astype(np.intp), place].reshape(len(rows), width)


def _words(blocks: np.ndarray, key: tuple[int, int], step: int) -> np.ndarray:
    return philox((blocks & _LOW, blocks >> _HALF, np.uint64(step & 0xFFFFFFFF), np.uint64(step >> 32)), key)


def uniform(
    shape: tuple[int, ...],
    low: float,
    high: float,
    name: str,
    step: int = 0,
    dtype: Any = np.float32,
    rows: bool = False,
) -> np.ndarray:
    """Uniform in [low, high): 24 random bits each, the same for every dtype up to rounding; rows: see `bits`."""
    unit = (bits(shape, name, step, rows) >> np.uint32(8)).astype(np.float64) * 2.0**-24
    return (low + (high - low) * unit).astype(dtype)


def normal(
    shape: tuple[int, ...], mean: float, std: float, name: str, step: int = 0, dtype: Any = np.float32
) -> np.ndarray:
    """Normal, by Box and Muller: element i comes from words 2i and 2i + 1."""
    words = bits((*shape, 2), name, step).astype(np.float64)
    radius = np.sqrt(-2.0 * np.log((words[..., 0] + 1.0) * 2.0**-32))
    return (mean + std * radius * np.cos(words[..., 1] * (2.0 * math.pi * 2.0**-32))).astype(dtype)


def integers(shape: tuple[int, ...], low: int, high: int, name: str, step: int = 0) -> np.ndarray:
    """Integers of low .. high - 1, int64, by 64 bits each: no value is likelier by more than (high - low) / 2^64."""
    if not low < high:
        raise ValueError(f"random integers need low < high; got {low} and {high}")
    words = bits((*shape, 2), name, step).astype(np.uint64)
    span = np.uint64(high - low)
    return ((words[..., 0] << _HALF | words[..., 1]) % span).astype(np.int64) + low


def bernoulli(shape: tuple[int, ...], p: float, name: str, step: int, rows: bool = True) -> np.ndarray:
    """True with probability p, by element; the first axis is the batch (see `bits`)."""
    return bits(shape, name, step, rows) < np.uint64(round(p * 2**32))
