"""What every rank says before a payload moves.

Each rank describes its call; the description becomes a 64-bit number h, and one reduction of
[h, ~h] by minimum, 16 bytes, tells every rank the least and the greatest h and so whether all are
equal. Only when they are not are the descriptions themselves exchanged, for the error message.
Because every collective of a group begins this way, ranks can never be in different collectives:
an error found here is found by all of them, at the same point, and the next call starts afresh.
"""

import hashlib
import pickle
from collections import defaultdict
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from . import routes
from .errors import MismatchError
from .lines import Line, calling
from .link import SEQUENCE, Link, Offer
from .reduce import Op
from .shared import SharedLink, signed
from .shared_plan import DIFFERENT, Plan

MASK = 0xFFFF_FFFF_FFFF_FFFF
STRIDE = 0x9E37_79B9_7F4A_7C15  # odd, so that each sequence number changes the fingerprint
REMEMBERED = 4096  # fingerprints kept; programs repeat their calls
#: what a verb calls the rest of its arguments
DETAILS = {"grouped_allreduce": "arrays", "alltoall": "splits", "Group": "ranks"}


REFUSED = "refused: "  # how the detail of a call with wrong arguments begins


class Arrays(tuple):
    """The dtypes and shapes of several arrays."""

    def __str__(self) -> str:
        return ", ".join(_array(dtype, shape) for dtype, shape in self)


def _array(dtype: np.dtype | None, shape: Sequence[int | None]) -> str:
    axes = ", ".join("any" if axis is None else str(axis) for axis in shape)
    return f"{dtype}[{axes}]"


class Call(NamedTuple):
    """One rank's view of a collective: everything in it must be the same on all ranks."""

    verb: str
    name: str | None = None
    dtype: np.dtype | None = None
    #: sizes that must agree; None stands for an axis that may differ
    shape: tuple | None = None
    op: Op | None = None
    prescale: float = 1.0
    postscale: float = 1.0
    root: int | None = None
    #: what else must agree, for instance the shapes of a group of arrays
    detail: tuple | str | None = None
    #: whose arrays they are, if not NumPy's
    memory: str | None = None

    @property
    def refused(self) -> bool:
        """Whether it tells the others of arguments that are wrong on this rank."""
        return isinstance(self.detail, str) and self.detail.startswith(REFUSED)

    @property
    def title(self) -> str:
        """The verb, and its name if it has one."""
        return f"{self.verb} {self.name}" if self.name else self.verb

    def numbered(self, sequence: int) -> str:
        """The call as one of a sequence: "allreduce #814 'grad bucket 3' (float32[1048576])"."""
        text = f"{self.verb} #{sequence}" + (f" {self.name!r}" if self.name else "")
        return text + (f" ({self.array})" if self.dtype is not None else "")

    @property
    def array(self) -> str:
        """Its dtype and shape, if it has a dtype."""
        return str(self.dtype) if self.shape is None else _array(self.dtype, self.shape)

    def __str__(self) -> str:
        text = self.verb + (f" {self.name!r}" if self.name else "")
        if self.dtype is not None:
            text += f" {self.array}"
        if self.memory is not None:
            text += f" of {self.memory}"
        if self.op is not None:
            text += f" op={self.op!r}"
        if self.prescale != 1 or self.postscale != 1:
            text += f" prescale={self.prescale} postscale={self.postscale}"
        if self.root is not None:
            text += f" root={self.root}"
        return text + (f" ({self.detail})" if self.detail is not None else "")


#: the call of a rank that has no more data
JOIN = Call("join")


class Agreement:
    """The headers of one group, numbered, and how far this rank has come with what follows them."""

    def __init__(self, link: Link, ranks: Sequence[int]):
        self.link, self.ranks = link, tuple(ranks)
        self._counts = link.books.view
        #: the collective that this rank is in
        self.current: Call | None = None
        #: why this rank can take part in no more of them, if so
        self.abandoned = ""
        #: ranks of the group that had not joined when a collective last found that some had
        self.live = tuple(range(len(self.ranks)))
        self._fingerprints: dict[Call, int] = {}

    @property
    def sequence(self) -> int:
        """How many collectives this rank has begun."""
        return self._counts[SEQUENCE]

    @sequence.setter
    def sequence(self, number: int) -> None:
        self._counts[SEQUENCE] = number

    def check(
        self, call: Call, timeout: float | None = None, offer: Offer | None = None, line: Line | None = None
    ) -> Call | None:
        """Return once every rank has made this call; MismatchError on all if one makes another.

        The result is None, or the call of the live ranks where the others have joined. offer: see
        `Link.agree`. line: where the program asked for it, if not in this thread.
        """
        self.sequence += 1
        self.current = call
        if self.link.size == 1:
            return None
        fingerprint = (self._fingerprint(call) + self.sequence * STRIDE) & MASK
        if not self.link.agree(fingerprint, timeout, offer):
            return self.resolve(call, line)
        return None

    def resolve(self, call: Call, line: Line | None = None) -> Call:
        """What the ranks that have not joined agree on, after all have found that they differ. Collective."""
        said = routes.allgather_bytes(self.link, pickle.dumps((tuple(call), str(line or calling()))))
        fields, places = zip(*map(pickle.loads, said), strict=True)
        calls = [Call(*theirs) for theirs in fields]
        live = tuple(rank for rank, call in enumerate(calls) if call != JOIN)
        if len(live) == len(calls) or len({calls[rank] for rank in live}) > 1:
            raise self._mismatch(calls, places)
        self.live = live
        return calls[live[0]]

    def repeat(self, call: Call, offer: Offer | None) -> "Repeat | None":
        """An allreduce in place ready to be made again, where the link has a quick way to do that."""
        if offer is None or self.link.size == 1 or not isinstance(self.link, SharedLink):
            return None
        flat, reduction = offer
        if reduction.size != self.link.size:  # some ranks have joined; the next time others may have
            return None
        plan = self.link.plan(flat.dtype, flat.size, reduction)
        return Repeat(self, self.link, call, plan, signed(self._fingerprint(call)))

    def label(self) -> str:
        """What this rank is in or, between collectives, how many it has been in."""
        call = self.current
        return call.numbered(self.sequence) if call else f"collective #{self.sequence}"

    def _fingerprint(self, call: Call) -> int:
        known = self._fingerprints.get(call)
        if known is None:
            if len(self._fingerprints) >= REMEMBERED:
                self._fingerprints.clear()
            text = repr((*call, self.ranks)).encode()
            known = int.from_bytes(hashlib.blake2b(text, digest_size=8).digest(), "little")
            self._fingerprints[call] = known
        return known

    def _mismatch(self, calls: Sequence[Call], places: Sequence[str]) -> MismatchError:
        by_rank = dict(zip(self.ranks, map(str, calls), strict=True))
        ranks_saying = defaultdict(list)
        for rank, place in zip(self.ranks, places, strict=True):
            ranks_saying[by_rank[rank], place].append(rank)
        lines = [f"  {name_ranks(ranks)}: {text}, at {place}" for (text, place), ranks in ranks_saying.items()]
        return MismatchError(
            f"ranks disagree on collective #{self.sequence}, in {', '.join(_differing(calls))}:\n"
            + "\n".join(lines)
            + "\nEvery rank of a group must make the same calls, in the same order, with arguments that fit.",
            by_rank,
        )


def _differing(calls: Sequence[Call]) -> list[str]:
    """What differs between calls, by the names of arguments."""
    fields = [field for field in Call._fields if len({repr(getattr(call, field)) for call in calls}) > 1]
    if fields[0] != "verb" and any(call.refused for call in calls):
        return ["arguments"]
    return [
        DETAILS.get(calls[0].verb, field) if field == "detail" and "verb" not in fields else field for field in fields
    ]


class Repeat:
    """An allreduce in place whose arguments have been checked and described before."""

    __slots__ = ("address", "agreement", "call", "fingerprint", "kernel", "link", "plan")

    def __init__(self, agreement: Agreement, link: SharedLink, call: Call, plan: Plan, fingerprint: int):
        self.agreement, self.link, self.call, self.plan = agreement, link, call, plan
        #: the kernel that makes the call again, and what it takes beside the address of the array object
        self.kernel, self.address, self.fingerprint = link.again, plan.address, fingerprint

    def complete(self, found: int, x: np.ndarray) -> Call | None:
        """Do what the kernel, which has found this, left to do with contiguous x.

        Where some ranks have joined nothing is reduced yet, and the result is the others' call.
        """
        self.agreement.current = self.call
        found = self.link.go_on(found, self.plan, x)
        if found == DIFFERENT:
            return self.agreement.resolve(self.call)
        self.link.complete(found, self.plan, x)
        return None


def name_ranks(ranks: Sequence[int]) -> str:
    """'rank 3' or 'ranks 0, 1, 5'."""
    return ("rank " if len(ranks) == 1 else "ranks ") + ", ".join(map(str, ranks))
