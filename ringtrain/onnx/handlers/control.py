"""Control flow: If, Loop, Scan. The graphs among a node's attributes arrive as functions."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from ...ops import shape
from ...tensor import Tensor
from ..registry import handler
from ..values import made, number


@handler("If")
def if_(condition: Tensor, *, then_branch: Callable, else_branch: Callable) -> tuple:
    return then_branch() if number(condition) else else_branch()


def _stacked(name: str, values: list, axis: int = 0) -> Tensor:
    if not values:
        raise NotImplementedError(f"{name} without a single iteration: what it would have stacked has no shape")
    return shape.stack(values, axis)


@handler("Loop")
def loop(most: Tensor | None, condition: Tensor | None, *state: Any, body: Callable, n_outputs: int) -> tuple:
    """body(iteration, condition, *state) -> condition, *state, *what is stacked over iterations."""
    carried: list[Any] = list(state)
    stacks: list[list] = [[] for _ in range(n_outputs - len(carried))]
    limit = None if most is None else number(most)
    going = True if condition is None else bool(number(condition))
    i = 0
    while going and (limit is None or i < limit):
        goes_on, *results = body(made(np.array(i, np.int64)), made(np.array(True)), *carried)
        going = bool(number(goes_on))
        carried = results[: len(carried)]
        for stack, value in zip(stacks, results[len(carried) :], strict=True):
            stack.append(value)
        i += 1
    return (*carried, *(_stacked("Loop", s) for s in stacks))


@handler("Scan", since=9)
def scan(
    *inputs: Tensor, body: Callable, num_scan_inputs: int, scan_input_axes: list[int] | None = None,
    scan_input_directions: list[int] | None = None, scan_output_axes: list[int] | None = None,
    scan_output_directions: list[int] | None = None, n_outputs: int,
) -> tuple:  # fmt: skip
    """body(*state, *slices) -> *state, *what is stacked, over the slices of the last inputs along an axis."""
    split = len(inputs) - num_scan_inputs
    state, sequences = list(inputs[:split]), inputs[split:]
    axes = [a % x.ndim for a, x in zip(scan_input_axes or [0] * num_scan_inputs, sequences, strict=True)]
    back = scan_input_directions or [0] * num_scan_inputs
    steps = sequences[0].shape[axes[0]]
    stacks: list[list] = [[] for _ in range(n_outputs - split)]
    for i in range(steps):
        places = [steps - 1 - i if b else i for b in back]
        slices = [x[(*(slice(None),) * a, p)] for x, a, p in zip(sequences, axes, places, strict=True)]
        results = body(*state, *slices)
        state = list(results[:split])
        for stack, value in zip(stacks, results[split:], strict=True):
            stack.append(value)
    ends = scan_output_axes or [0] * len(stacks)
    turned = scan_output_directions or [0] * len(stacks)
    made_of = [s[::-1] if t else s for s, t in zip(stacks, turned, strict=True)]
    return (*state, *(_stacked("Scan", s, a) for s, a in zip(made_of, ends, strict=True)))
