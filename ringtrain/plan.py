"""Plans: what an op saves in forward, and which of its vjps it calls in backward with what of that.

A plan is made once for each op and set of inputs that want gradients. A vjp's parameters name what it wants; here the
names become places in the list that a node saves.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from operator import itemgetter
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .autograd import Op

__all__ = ["Plan"]


class Plan:
    """How an op saves and goes backward when a given set of its inputs wants gradients.

    arrays  for each saved array the index of the input, or None for the output
    extras  what is saved after the arrays: an attribute's name, or an input's index for its shape
    run     (xp, g, saved) -> gradients of the inputs
    placed  whether run takes `places` as well, where to write gradients instead of into new memory
    """

    __slots__ = ("arrays", "extras", "placed", "run")

    def __init__(self, op: Op, needs: tuple[bool, ...]) -> None:
        vjps = [op.vjp_of(i) if need else None for i, need in enumerate(needs)]
        wanted = [[] if v is None else [op.source(name, len(needs)) for name in _wants(v)] for v in vjps]
        arrays = [k for w in wanted for kind, key in w if kind == "array" for k in key]
        extras = [key for w in wanted for kind, key in w if kind == "extra"]
        self.arrays = tuple(dict.fromkeys(arrays))
        self.extras = tuple(dict.fromkeys(extras))

        def place(kind: str, key: Any) -> Any:
            """Where in `saved` a vjp's argument lies; a tuple of places for the variadic inputs."""
            if kind == "extra":
                return len(self.arrays) + self.extras.index(key)
            places = tuple(self.arrays.index(k) for k in key)
            return places[0] if type(key) is list else places

        steps: list[Any] = [v and (v, [place(*w) for w in ws]) for v, ws in zip(vjps, wanted, strict=True)]
        self.placed = op.joint and "places" in inspect.signature(op.vjps[0]).parameters
        self.run = _joint_runner(steps, needs, self.placed) if op.joint else _runner(steps)


def _wants(vjp: Callable) -> list[str]:
    """What a vjp wants: its parameters after (xp, g), but for `needs` and `places`."""
    return [name for name in list(inspect.signature(vjp).parameters)[2:] if name not in ("needs", "places")]


def _runner(steps: list) -> Callable:
    """Calls one vjp for each input that needs it."""
    if len(steps) == 1:
        fn, places = steps[0]
        if places == [0]:
            return lambda xp, g, saved: (fn(xp, g, saved[0]),)
        pick = _picker(places)
        return lambda xp, g, saved: (fn(xp, g, *pick(saved)),)
    if len(steps) == 2 and all(s is None or (len(s[1]) == 1 and type(s[1][0]) is int) for s in steps):
        pair: list[Any] = [(s[0], s[1][0]) if s else (None, 0) for s in steps]
        (f, i), (h, j) = pair
        if f is None:
            return lambda xp, g, saved: (None, h(xp, g, saved[j]))
        if h is None:
            return lambda xp, g, saved: (f(xp, g, saved[i]), None)
        return lambda xp, g, saved: (f(xp, g, saved[i]), h(xp, g, saved[j]))
    picks = [s and (s[0], _picker(s[1])) for s in steps]
    return lambda xp, g, saved: [p and p[0](xp, g, *p[1](saved)) for p in picks]


def _joint_runner(steps: list, needs: tuple[bool, ...], placed: bool) -> Callable:
    """Calls the op's one vjp, which is told which inputs need gradients."""
    fn, sources = next(s for s in steps if s)
    nowhere, pick = (None,) * len(needs), _picker(sources)

    def run(xp: Any, g: Any, saved: Any, places: Sequence = nowhere) -> Any:
        picked = pick(saved)
        results = fn(xp, g, needs, places, *picked) if placed else fn(xp, g, needs, *picked)
        if len(results) != len(needs):
            raise RuntimeError(f"a vjp gave {len(results)} gradients for {len(needs)} inputs")
        return results

    return run


def _picker(places: list) -> Callable:
    """What takes the values at some places from `saved`, a list of them for a tuple of places."""
    if len(places) > 1 and all(type(p) is int for p in places):
        return itemgetter(*places)
    return lambda saved: [saved[p] if type(p) is int else [saved[k] for k in p] for p in places]
