"""Sequences, which are lists here, and optionals, which are None where they are empty."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from ...ops import shape
from ...tensor import Tensor
from ..registry import handler
from ..values import array, ints, made, number
from .shaping import pieces


@handler("SequenceEmpty")
def sequence_empty(*, dtype: int = 1) -> list:
    return []


@handler("SequenceConstruct")
def sequence_construct(*xs: Any) -> list:
    return list(xs)


@handler("SequenceInsert")
def sequence_insert(xs: list, x: Any, place: Tensor | None = None) -> list:
    at = len(xs) if place is None else number(place)
    if not -len(xs) <= at <= len(xs):
        raise IndexError(f"SequenceInsert: place {at} of a sequence of {len(xs)}")
    at = at + len(xs) if at < 0 else at
    return [*xs[:at], x, *xs[at:]]


@handler("SequenceErase")
def sequence_erase(xs: list, place: Tensor | None = None) -> list:
    at = (len(xs) - 1 if place is None else number(place)) % max(len(xs), 1)
    return [*xs[:at], *xs[at + 1 :]]


@handler("SequenceAt")
def sequence_at(xs: list, place: Tensor) -> Any:
    return xs[number(place)]


@handler("SequenceLength")
def sequence_length(xs: list) -> Tensor:
    return made(np.array(len(xs), np.int64))


@handler("SequenceMap")
def sequence_map(first: list, *others: Any, body: Callable, n_outputs: int) -> tuple:
    """body over the elements side by side; what is no sequence goes to each."""
    rows = [body(x, *[o[i] if isinstance(o, list) else o for o in others]) for i, x in enumerate(first)]
    return tuple([row[k] for row in rows] for k in range(n_outputs))


@handler("SplitToSequence")
def split_to_sequence(x: Tensor, given: Tensor | None = None, *, axis: int = 0, keepdims: int = 1) -> list:
    n = x.shape[axis]
    if given is None:
        parts = pieces(x, [1] * n, axis)
        return parts if keepdims else [shape.squeeze(p, axis) for p in parts]
    if array(given).ndim:
        return pieces(x, ints(given), axis)
    size = number(given)
    return pieces(x, [min(size, n - i) for i in range(0, n, size)], axis)


@handler("ConcatFromSequence")
def concat_from_sequence(xs: list, *, axis: int, new_axis: int = 0) -> Tensor:
    return shape.stack(xs, axis) if new_axis else shape.concatenate(xs, axis)


@handler("Optional")
def optional(x: Any = None, *, type: Any = None) -> Any:
    return x


@handler("OptionalHasElement")
def optional_has_element(x: Any = None) -> Tensor:
    return made(np.array(x is not None))


@handler("OptionalGetElement")
def optional_get_element(x: Any) -> Any:
    if x is None:
        raise ValueError("OptionalGetElement of an empty optional")
    return x
