"""Optimizer: what all optimisers share. Each family says in `update` how a stretch of flat memory changes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from .. import random
from ..tensor import Leaf, Tensor, describe
from .flat import MASTER, Allocator, Bucket, cut
from .stretch import Stretch

__all__ = ["Optimizer"]

_CARRIED = ("initial_lr",)  # what a schedule leaves in the groups


class Optimizer:
    """Changes parameters by their gradients.

    params    parameters, or groups: dicts with "params" and options that differ from the defaults
    defaults  the options, by name

    Every optimiser has the option `maximize`, which turns the gradients round.

    A subclass names in `slots` the arrays it keeps for each parameter, and defines `check` and `update`. A parameter
    without a gradient is left alone, its state too. Parameters of 16 bits are updated through a float32 copy, their
    slot "master"; one that somebody wrote since the last step is taken as it is.
    """

    slots: tuple[str, ...] = ()

    def __init__(self, params: Iterable[Any], defaults: dict[str, Any]) -> None:
        self.defaults = {"maximize": False, **defaults}
        self.param_groups: list[dict[str, Any]] = []
        self.buckets: list[Bucket] = []
        self._extend(_groups(params))

    def add_param_group(self, group: dict[str, Any]) -> None:
        """Adds a group: a dict with "params" and options that differ from the defaults.

        Before the optimiser is wrapped in a DistributedOptimizer, which sends the buckets that it found.
        """
        self._extend(_groups([group]))

    def _extend(self, groups: list[dict[str, Any]]) -> None:
        made = []
        for group in groups:
            unknown = set(group) - set(self.defaults) - {"params"}
            if unknown:
                raise ValueError(
                    f"{type(self).__name__} has no option {sorted(unknown)}; it has {sorted(self.defaults)}"
                )
            made.append({**self.defaults, **group})
            self.check(made[-1])
        _check([p for group in [*self.param_groups, *made] for p in group["params"]])
        self.param_groups += made
        self.rebucket()

    def check(self, options: dict[str, Any]) -> None:
        """Raises ValueError for a group's options that make no sense."""

    def keeps(self, options: Mapping[str, Any]) -> tuple[str, ...]:
        """Which of `slots` a group with these options needs."""
        return self.slots

    def slot_shape(self, slot: str, shape: tuple[int, ...], options: Mapping[str, Any]) -> tuple[int, ...]:
        """The shape of a slot for a parameter of that shape; (0,) where it needs none."""
        return shape

    def rebucket(self, bucket_bytes: int | None = None, allocate: Allocator | None = None, order: Any = None) -> None:
        """Lays parameters, gradients and state into buckets anew, keeping all values.

        order  the parameters in the order of registration; None is that of the groups
        """
        kept = {id(p): (step, slots) for bucket in self.buckets for p, step, slots in bucket.kept()}
        group_of = {id(p): group for group in self.param_groups for p in group["params"]}
        listed = [p for group in self.param_groups for p in group["params"]]
        self.buckets = cut([(p, group_of[id(p)]) for p in order or listed], bucket_bytes, allocate)
        for bucket in self.buckets:
            bucket.keep(self._wanted(bucket.params, bucket.options))
            for i, p in enumerate(bucket.params):
                if id(p) in kept:
                    bucket.steps[i], state = kept[id(p)]
                    for slot, view in bucket.part(i).items():
                        if slot in state:
                            view[...] = state[slot]

    def _wanted(self, params: Iterable[Tensor], options: Mapping[str, Any]) -> dict[str, list[tuple[int, ...]]]:
        """The slots that parameters with these options have, and their shapes."""
        params = list(params)
        wanted = {slot: [self.slot_shape(slot, p.shape, options) for p in params] for slot in self.keeps(options)}
        if params[0].dtype.itemsize < 4:
            wanted[MASTER] = [p.shape for p in params]
        return wanted

    def update(self, stretch: Stretch) -> None:
        """Updates neighbouring parameters and their state in place (see `Stretch`)."""
        raise NotImplementedError(f"{type(self).__name__} has no update")

    def step(self) -> None:
        """Updates every parameter that has a gradient, and advances the training step that randomness depends on."""
        for bucket in self.buckets:
            bucket.adopt()  # of all before the first is updated: it raises where a parameter does not fit any more
        self._settle()
        for bucket in self.buckets:
            for first, last, count in bucket.runs():
                stretch = Stretch.of(bucket, first, last, count)
                self.update(stretch)
                stretch.done()
            bucket.written()
        random.state.step += 1

    def _settle(self) -> None:
        """Makes the state what the options want, which may change: it follows from `keeps` and switches."""
        for bucket in self.buckets:
            switches = [value for value in bucket.options.values() if value is True or value is False]
            key = (self.keeps(bucket.options), switches)
            if bucket.settled != key:
                bucket.keep(self._wanted(bucket.params, bucket.options))
                bucket.settled = key

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Drops the gradients: the next backward starts them anew, in the same memory.

        set_to_none=False makes zeros of those there are, which an update then goes by: momentum moves parameters on.
        """
        for bucket in self.buckets:
            for p in bucket.params:
                if type(p._node) is Leaf:
                    p._node.clear(set_to_none)

    # --- state --------------------------------------------------------------------------------------------
    def _numbered(self) -> dict[int, int]:
        """id of each parameter -> its number in the order of the groups."""
        listed = [p for group in self.param_groups for p in group["params"]]
        return {id(p): i for i, p in enumerate(listed)}

    def state_dict(self) -> dict[str, Any]:
        """{"state": {number: {"step": n, slot: array, ...}}, "param_groups": [{option: value, "params": numbers}]}.

        Numbers count parameters in the order of the groups. The arrays are copies.
        """
        self._settle()
        numbers = self._numbered()
        state: dict[int, dict[str, Any]] = {}
        for bucket in self.buckets:
            for p, step, arrays in bucket.kept():
                state[numbers[id(p)]] = {"step": step, **arrays}
        groups = [{**g, "params": [numbers[id(p)] for p in g["params"]]} for g in self.param_groups]
        return {"state": dict(sorted(state.items())), "param_groups": groups}

    def load_state_dict(self, saved: Mapping[str, Any]) -> None:
        """Takes over what `state_dict` gave. Raises ValueError naming what does not fit; then nothing has changed."""
        groups, state = saved["param_groups"], saved["state"]
        sizes = [len(g["params"]) for g in self.param_groups]
        if [len(g["params"]) for g in groups] != sizes:
            raise ValueError(
                f"the saved state has groups of {[len(g['params']) for g in groups]} parameters, "
                f"this {type(self).__name__} of {sizes}"
            )
        numbers = self._numbered()
        problems = self._misfits(groups, state, numbers)
        if problems:
            raise ValueError(f"the saved state does not fit {type(self).__name__}:\n  " + "\n  ".join(problems))
        for own, group in zip(self.param_groups, groups, strict=True):
            for name in _CARRIED:
                own.pop(name, None)  # of a schedule made before, which a state without one knows nothing of
            for name in (*self.defaults, *(name for name in _CARRIED if name in group)):  # a file knows lists only
                own[name] = tuple(group[name]) if isinstance(group[name], list) else group[name]
        self._settle()
        for bucket in self.buckets:
            for i, p in enumerate(bucket.params):
                entry = state[numbers[id(p)]]
                bucket.steps[i] = int(entry["step"])
                for slot, view in bucket.part(i).items():
                    view[...] = bucket.backend.asarray(entry[slot])

    def __repr__(self) -> str:
        options = ", ".join(f"{k}={v}" for k, v in self.param_groups[0].items() if k != "params")
        return f"{type(self).__name__}({options})"

    def _misfits(self, groups: Any, state: Any, numbers: Mapping[int, int]) -> list[str]:
        """What of a saved state does not fit, one line each."""
        problems = []
        for i, (own, group) in enumerate(zip(self.param_groups, groups, strict=True)):
            problems += _differing(f"group {i}", set(group) - {"params", *_CARRIED}, set(self.defaults))
            for p in own["params"]:
                number = numbers[id(p)]
                entry = state.get(number, {})
                wanted = {slot: shapes[0] for slot, shapes in self._wanted([p], {**own, **group}).items()}
                problems += _differing(f"parameter {number}", set(entry), {"step", *wanted})
                problems += [
                    f"parameter {number}: {slot} is {describe(entry[slot])}, wanted {list(shape)}"
                    for slot, shape in wanted.items()
                    if slot in entry and entry[slot].shape != shape
                ]
        return problems


def _groups(params: Iterable[Any]) -> list[dict[str, Any]]:
    """The groups as dicts with a list of parameters each."""
    if isinstance(params, Tensor):
        raise TypeError("an optimiser wants an iterable of parameters; got one tensor, put it into a list")
    items = list(params)
    if items and all(isinstance(item, dict) for item in items):
        groups = [dict(item) for item in items]
        for g in groups:
            if "params" not in g:
                raise ValueError(f"a parameter group needs the key 'params'; got {sorted(g)}")
            g["params"] = [g["params"]] if isinstance(g["params"], Tensor) else list(g["params"])
        return groups
    return [{"params": items}]


def _differing(where: str, saved: set[str], own: set[str]) -> list[str]:
    return [f"{where}: {'unexpected' if name in saved else 'missing'} {name}" for name in sorted(saved ^ own)]


def _check(params: list[Any]) -> None:
    if not params:
        raise ValueError("an optimiser needs at least one parameter; got none")
    for i, p in enumerate(params):
        if not isinstance(p, Tensor) or type(p._node) is not Leaf:
            what = describe(p) if isinstance(p, Tensor) else type(p).__name__
            raise TypeError(
                f"parameter {i} ({what}) is no leaf that requires a gradient; leave frozen ones out: "
                "[p for p in model.parameters() if p.requires_grad]"
            )
    if len({id(p) for p in params}) != len(params):
        raise ValueError("a parameter is listed twice, in one group or in two")


def positive(name: str, options: Mapping[str, Any], *which: str) -> None:
    """Raises ValueError where one of these options is negative or no number."""
    for option in which:
        value = options[option]
        if not isinstance(value, (int, float, np.number)) or not value >= 0:
            raise ValueError(f"{name}: {option} must be a number >= 0; got {value!r}")


def fraction(name: str, option: str, value: Any) -> None:
    """Raises ValueError for a value outside [0, 1)."""
    if not 0.0 <= value < 1.0:
        raise ValueError(f"{name}: {option} must lie in [0, 1); got {value!r}")
