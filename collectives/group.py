"""A group of ranks and what they can do together.

Every verb is collective over the group (all its ranks call it, in the same order, with arguments
that fit) except `send` and `recv`. Ranks in arguments (`root`, `to`, `source`) count within the
group; ranks in errors count within the world.
"""

import pickle
from collections.abc import Callable, Sequence

import numpy as np

from . import joining, routes
from .header import Call
from .ledger import Stats, slowest
from .link import Link
from .membership import Membership
from .moves import Moves
from .reductions import Reductions
from .verbs import Work


class Group(Reductions, Moves):
    """Some ranks of a parent group, the world unless told otherwise, in a new order.

    ranks: distinct ranks of the parent. Creating a group is collective over the parent: ranks that
    are not in it create it too, and then have a group in which `included` is false.

    Data is copied from arguments before a call returns unless a verb ends in an underscore: those
    work in place, on an array that must not be touched until an async call's handle has been waited
    for. Results are the same bits on every rank and, of NumPy arrays, in every run.

    CuPy arrays give CuPy arrays. A call takes what the array's current stream has been given to compute, and
    its results are ready on every stream when it returns or its handle has been waited for. They travel by
    NCCL where every rank has a GPU of its own (see `nccl` for what that changes in rounding), and through
    page-locked host memory otherwise. An array is of one kind on all ranks, NumPy's or CuPy's, else
    MismatchError; `send` and `recv` may differ. A rank keeps to one GPU in a group.
    """

    def __init__(self, ranks: Sequence[int], parent: "Group | None" = None):
        parent = world if parent is None else parent
        link, members = parent._form("Group", tuple(ranks), lambda link: [tuple(ranks)])
        self._attach(link, members, parent._status)
        parent._children.append(self)

    @classmethod
    def _unattached(cls) -> "Group":
        group = cls.__new__(cls)
        Membership.__init__(group)
        return group

    def __repr__(self) -> str:
        return f"Group(ranks={list(self.ranks)})"

    def split(self, color: int | None, key: int = 0) -> "Group | None":
        """This rank's part of the group divided by color, its ranks ordered by key, then rank.

        Collective. color and key: integers; a rank that passes color None gets None. A group takes some megabytes of
        shared memory, until `shutdown`: form the groups that a program needs once.
        """

        def check() -> None:
            if not all(isinstance(number, (int, np.integer)) for number in (0 if color is None else color, key)):
                raise TypeError(f"split(color={color!r}, key={key!r}): both are integers, or color is None")

        def plan(link: Link) -> list[tuple[int, ...]]:
            mine = pickle.dumps((color, key))
            said = [pickle.loads(data) for data in routes.allgather_bytes(link, mine)]
            colors = sorted({theirs for theirs, _ in said if theirs is not None})
            parts = [[rank for rank, (theirs, _) in enumerate(said) if theirs == part] for part in colors]
            return [tuple(sorted(part, key=lambda rank: (said[rank][1], rank))) for part in parts]

        link, ranks = self._form("split", None, plan, check)
        if link is None:
            return None
        part = Group._unattached()
        part._attach(link, ranks, self._status)
        self._children.append(part)
        return part

    def _form(
        self,
        verb: str,
        ranks: tuple[int, ...] | None,
        plan: Callable[[Link], list[tuple[int, ...]]],
        check: Callable[[], None] = lambda: None,
    ) -> tuple[Link | None, tuple[int, ...]]:
        """The link of this rank's part among the disjoint parts that `plan` names, and its world ranks.

        check: raises for arguments that are wrong on this rank.
        """

        def build() -> Work:
            check()
            if ranks is not None and (len({*ranks}) != len(ranks) or not {*ranks} <= {*range(self.size)}):
                raise ValueError(f"ranks={list(ranks)} must be distinct ranks of a group of {self.size}")
            return Work(Call(verb, detail=ranks), move)

        def move(link: Link) -> tuple[Link | None, tuple[int, ...]]:
            parts = plan(link)
            mine = next((part for part in parts if link.rank in part), None)
            named = mine if mine is not None or ranks is None else ranks
            return link.sub(mine), tuple(self.ranks[rank] for rank in named or ())

        return self._run(verb, build)

    def stats(self) -> dict[str, Stats]:
        """What this rank has done in this group and in those formed from it, by verb.

        Any rank may ask, alone and at any time. Seconds include the wait for the slowest rank; exposed ones
        are what the program itself has spent: see `Stats`. `slowest` is the rank, of the world, whose calls in
        this group (without those formed from it) took the least time on average, as those of the rank do that
        comes last and that the others wait for. The figures for that are asked of the other ranks, which answer
        in the background, within a fraction of a second; it is None with one rank, where a rank does not answer
        in 2 s, or where one has not called the verb. Messages (`send`, `recv`) and collectives that failed are
        not counted.
        """
        waited_for: dict[str, int] = {}
        if self._status is not None and self._agreement is not None and self.size > 1:
            waited_for = slowest(self._status.figures(self._agreement))
        return {verb: stats._replace(slowest=waited_for.get(verb)) for verb, stats in self._totals().items()}

    def barrier(self, timeout: float | None = None) -> None:
        """Return when every rank has come. `timeout` in seconds, if given, replaces that of `init`."""
        self._run("barrier", lambda: Work(Call("barrier"), lambda link: None, timeout=timeout))

    def join(self) -> int:
        """For a rank that has no more data: stand in for it until every rank joins.

        Meanwhile the others' `allreduce` and `grouped_allreduce` find the neutral element here (an
        Average divides by the ranks that are left), their `allgather` no rows, `broadcast` and
        `barrier` a listener. Other verbs raise MismatchError on every rank. Returns the last rank to
        join, the highest of several, which has seen the most of the data.
        """
        while not self._run("join", joining.request):
            pass
        agreement = self._agreement
        assert agreement is not None
        last, agreement.live = max(agreement.live), tuple(range(self.size))
        return last


#: all ranks; it speaks from `collectives.init()` to `collectives.shutdown()`
world = Group._unattached()
