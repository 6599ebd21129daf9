"""Stretch: neighbouring parameters that one pass updates, and the pass itself.

A rule is an update written once, for arrays and for numbers alike:

    def heavy_ball(p, g, v, lr, momentum):
        v = momentum * v + g
        return p - lr * v, v

It takes parameters, gradients, slots and then numbers, and returns the new parameters and slots. With arrays it is the
composed form, over whatever array library they belong to. A backend that can compile it (the kernel "elementwise") runs
it element by element in one loop: every array is read once and written once, and the result is the same bit for bit,
but for numbers below the smallest normal one, which a loop may be told to take for zeros (`flush`).
For that a rule has no numbers of its own (a literal would be float64 in the loop), no branches, and calls nothing but
NumPy's elementwise functions.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

from ..backend import of
from .flat import MASTER, Bucket

__all__ = ["Stretch", "apply"]


def apply(rule: Callable, p: Any, g: Any, slots: Sequence[Any], numbers: Sequence[float], flush: bool = False) -> None:
    """p and slots by the rule, in place; all flat arrays of one length and dtype."""
    for array in (g, *slots):
        if array.size != p.size:  # a compiled loop would write beyond the end
            raise ValueError(f"{p.size} parameters, but arrays of {[array.size for array in (g, *slots)]}")
    kernel = of(p).kernel("elementwise")
    if kernel and kernel.accepts(p):
        kernel(rule, p, g, slots, numbers, flush)
        return
    for array, new in zip((p, *slots), rule(p, g, *slots, *numbers), strict=True):
        array[...] = new


class Stretch:
    """Parameters first to last - 1 of a bucket, which have all had step - 1 updates before this one.

    p, g       their values and gradients: flat, of the dtype that updates are computed in
    options    of their group
    shape      that of the parameter, where there is only one
    """

    def __init__(self, bucket: Bucket, first: int, last: int, step: int, p: Any, g: Any) -> None:
        self.bucket, self.first, self.last, self.step = bucket, first, last, step
        self.p, self.g = p, g
        self.options = bucket.options

    @classmethod
    def of(cls, bucket: Bucket, first: int, last: int, step: int) -> Stretch:
        """With what the optimiser computes on: for 16 bits the master copy, and widened gradients."""
        span = slice(bucket.spans[first][0], bucket.spans[last - 1][1])
        p, g = bucket.data[span], bucket.grad[span]
        if bucket.narrow:
            master = bucket.state[MASTER][span]
            elsewhere = p != master.astype(p.dtype)  # written by somebody else since: that is their value now
            of(p).xp.copyto(master, p, where=elsewhere)
            p, g = master, g.astype(bucket.wide)
        if bucket.options["maximize"]:
            g = -g
        return cls(bucket, first, last, step, p, g)

    def done(self) -> None:
        """Rounds the master copy into parameters of 16 bits."""
        if self.bucket.narrow:
            self.bucket.data[self.bucket.spans[self.first][0] : self.bucket.spans[self.last - 1][1]] = self.p

    def __getitem__(self, slot: str) -> Any:
        """The state of that name, flat."""
        spans = self.bucket.cuts[slot].spans
        return self.bucket.state[slot][spans[self.first][0] : spans[self.last - 1][1]]

    @property
    def shape(self) -> tuple[int, ...]:
        (shape,) = self.bucket.cut.shapes[self.first : self.last]
        return shape

    def parts(self) -> Iterator[Stretch]:
        """Each parameter by itself."""
        start = self.bucket.spans[self.first][0]
        for i in range(self.first, self.last):
            a, b = self.bucket.spans[i]
            span = slice(a - start, b - start)
            yield Stretch(self.bucket, i, i + 1, self.step, self.p[span], self.g[span])

    def apply(self, rule: Callable, slots: Sequence[str], *numbers: float, flush: bool = False) -> None:
        """The rule over all elements, with the slots of these names.

        flush: a compiled loop may take numbers below the smallest normal one for zeros. Means of gradients that have
        become 0 stay such numbers for good, and are slow; but a rule that compares, takes signs or divides by what may
        be as small must not lose them.
        """
        apply(rule, self.p, self.g, [self[slot] for slot in slots], numbers, flush)
