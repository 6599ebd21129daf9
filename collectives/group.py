"""A group of ranks and what they can do together.

Every verb is collective over the group (all its ranks call it, in the same order, with arguments
that fit) except `send` and `recv`. Ranks in arguments (`root`, `to`, `source`) count within the
group; ranks in errors count within the world.
"""

import pickle
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from . import joining, p2p, routes, verbs
from .device import is_gpu, to_gpu, to_host
from .header import Call
from .ledger import Stats, slowest
from .link import Link
from .membership import Membership
from .progress import Handle
from .reduce import Op
from .shared_plan import DONE
from .timeline import timeline
from .verbs import Work


class Group(Membership):
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

    # -- reductions -----------------------------------------------------------------------------

    def allreduce(
        self,
        x: Any,
        op: Op = Op.Average,
        *,
        name: str | None = None,
        prescale: float = 1.0,
        postscale: float = 1.0,
    ) -> np.ndarray:
        """postscale * op(prescale * x over the ranks): a new array of the shape and dtype of x.

        dtypes: float16, bfloat16, float32, float64, integers (not Average), bool (Min, Max).
        Sixteen-bit floats are combined in float32 and rounded once.
        """
        return self._run("allreduce", verbs.allreduce, self.size, x, op, name, prescale, postscale, False)

    def allreduce_(
        self,
        x: np.ndarray,
        op: Op = Op.Average,
        *,
        name: str | None = None,
        prescale: float = 1.0,
        postscale: float = 1.0,
    ) -> np.ndarray:
        """`allreduce` in place; returns x. A C-contiguous x is reduced without a copy."""
        # For small arrays on one host, checking arguments and describing the call takes several times
        # as long as the data: what came of it is kept, and one compiled call does the rest.
        try:
            known = self._repeats.get((x.dtype, x.shape, op, name, prescale, postscale))
        except (AttributeError, TypeError):  # no array, or an argument that cannot be compared quickly
            known = None
        progress = self._progress
        if (
            known is not None
            and type(x) is np.ndarray
            and x.flags.carray
            and not progress.unfinished
            and not timeline.active
        ):
            progress.turn.acquire()  # with `with`, a tenth of a small call's time
            try:
                if self._failure is not None:  # since this thread began to wait for its turn
                    self._refuse(known.call, self._failure)
                found = known.kernel(known.address, known.fingerprint, id(x))
                if found != DONE:
                    self._complete(known, found, x, op, name, prescale, postscale)
            except BaseException as error:  # a signal's, perhaps, between the call's beginning and its end
                self._broken_off(known.call, error)
                raise
            finally:
                progress.turn.release()
            return x
        return self._reduce_in_place(x, op, name, prescale, postscale)

    def allreduce_async(
        self,
        x: Any,
        op: Op = Op.Average,
        *,
        name: str | None = None,
        prescale: float = 1.0,
        postscale: float = 1.0,
    ) -> Handle:
        """`allreduce` in the background; x may be changed at once."""
        return self._submit("allreduce", verbs.allreduce, self.size, x, op, name, prescale, postscale, False)

    def allreduce_async_(
        self,
        x: np.ndarray,
        op: Op = Op.Average,
        *,
        name: str | None = None,
        prescale: float = 1.0,
        postscale: float = 1.0,
    ) -> Handle:
        """`allreduce_` in the background; x must not be touched until the handle has been waited for."""
        return self._submit("allreduce", verbs.allreduce, self.size, x, op, name, prescale, postscale, True)

    def grouped_allreduce(
        self,
        xs: Sequence[Any],
        op: Op = Op.Average,
        *,
        name: str | None = None,
        prescale: float = 1.0,
        postscale: float = 1.0,
    ) -> list[np.ndarray]:
        """`allreduce` of many arrays as one operation: one header, one message a dtype."""
        return self._run(
            "grouped_allreduce", verbs.grouped_allreduce, self.size, xs, op, name, prescale, postscale, False
        )

    def grouped_allreduce_(
        self,
        xs: Sequence[np.ndarray],
        op: Op = Op.Average,
        *,
        name: str | None = None,
        prescale: float = 1.0,
        postscale: float = 1.0,
    ) -> list[np.ndarray]:
        """`grouped_allreduce` whose results replace the arrays; returns them."""
        return self._run(
            "grouped_allreduce", verbs.grouped_allreduce, self.size, xs, op, name, prescale, postscale, True
        )

    def grouped_allreduce_async(
        self,
        xs: Sequence[Any],
        op: Op = Op.Average,
        *,
        name: str | None = None,
        prescale: float = 1.0,
        postscale: float = 1.0,
    ) -> Handle:
        """`grouped_allreduce` in the background."""
        return self._submit(
            "grouped_allreduce", verbs.grouped_allreduce, self.size, xs, op, name, prescale, postscale, False
        )

    def grouped_allreduce_async_(
        self,
        xs: Sequence[np.ndarray],
        op: Op = Op.Average,
        *,
        name: str | None = None,
        prescale: float = 1.0,
        postscale: float = 1.0,
    ) -> Handle:
        """`grouped_allreduce_` in the background."""
        return self._submit(
            "grouped_allreduce", verbs.grouped_allreduce, self.size, xs, op, name, prescale, postscale, True
        )

    def reduce_scatter(
        self,
        x: Any,
        op: Op = Op.Average,
        *,
        name: str | None = None,
        prescale: float = 1.0,
        postscale: float = 1.0,
    ) -> np.ndarray:
        """This rank's rows of `allreduce(x)`: the first axis is divided, and the first ranks get one more."""
        return self._run("reduce_scatter", verbs.reduce_scatter, self.size, x, op, name, prescale, postscale)

    def reduce_scatter_async(
        self,
        x: Any,
        op: Op = Op.Average,
        *,
        name: str | None = None,
        prescale: float = 1.0,
        postscale: float = 1.0,
    ) -> Handle:
        """`reduce_scatter` in the background; x may be changed at once."""
        copied = verbs.snapshot(x)
        return self._submit("reduce_scatter", verbs.reduce_scatter, self.size, copied, op, name, prescale, postscale)

    # -- moving data ----------------------------------------------------------------------------

    def allgather(self, x: Any, *, name: str | None = None) -> np.ndarray:
        """x of every rank, concatenated along the first axis, which may differ in length."""
        return self._run("allgather", verbs.allgather, self.size, x, name)

    def allgather_async(self, x: Any, *, name: str | None = None) -> Handle:
        """`allgather` in the background; x may be changed at once."""
        return self._submit("allgather", verbs.allgather, self.size, verbs.snapshot(x), name)

    def allgather_into(self, out: np.ndarray, x: Any, *, name: str | None = None) -> np.ndarray:
        """`allgather` of x, of the same shape on all ranks, into `out`; returns out."""
        return self._run("allgather_into", verbs.allgather_into, self.size, out, x, name)

    def broadcast(self, x: Any, root: int, *, name: str | None = None) -> np.ndarray:
        """A new array with root's x. Every rank passes an array of that shape and dtype."""
        return self._run("broadcast", verbs.broadcast, self.size, x, root, name, False)

    def broadcast_(self, x: np.ndarray, root: int, *, name: str | None = None) -> np.ndarray:
        """Overwrite x with root's x; returns x."""
        return self._run("broadcast", verbs.broadcast, self.size, x, root, name, True)

    def broadcast_async(self, x: Any, root: int, *, name: str | None = None) -> Handle:
        """`broadcast` in the background; x may be changed at once."""
        return self._submit("broadcast", verbs.broadcast, self.size, x, root, name, False)

    def broadcast_async_(self, x: np.ndarray, root: int, *, name: str | None = None) -> Handle:
        """`broadcast_` in the background; x must not be touched until the handle has been waited for."""
        return self._submit("broadcast", verbs.broadcast, self.size, x, root, name, True)

    def alltoall(self, x: Any, splits: Sequence[int] | None = None, *, name: str | None = None) -> Any:
        """Rows of x to every rank, and theirs back in rank order.

        splits: rows for each rank, in order; None divides the first axis evenly and returns the
        received rows. With splits the result is a pair: the received rows, and how many of them
        came from each rank (int64[size]).
        """
        return self._run("alltoall", verbs.alltoall, self.size, x, splits, name)

    def alltoall_async(self, x: Any, splits: Sequence[int] | None = None, *, name: str | None = None) -> Handle:
        """`alltoall` in the background; x may be changed at once."""
        return self._submit("alltoall", verbs.alltoall, self.size, verbs.snapshot(x), splits, name)

    def gather(self, x: Any, root: int, *, name: str | None = None) -> list[np.ndarray] | None:
        """On root a list of every rank's x, of any shape and one dtype; None on the others."""
        return self._run("gather", verbs.gather, self.size, x, root, name)

    def scatter(self, xs: Sequence[Any] | None, root: int, *, name: str | None = None) -> np.ndarray:
        """xs[rank] of root, of any shape and dtype, as a new array; the others' xs is not looked at.

        It is a CuPy array, on the current GPU, where the root's is one.
        """
        own, from_gpu = self._run("scatter", lambda: verbs.scatter(self.size, self.rank, xs, root, name))
        return to_gpu(own) if from_gpu else own

    def broadcast_object(self, obj: Any, root: int, *, name: str | None = None) -> Any:
        """Root's picklable object; the others' is not looked at."""
        data = self._run("broadcast_object", lambda: verbs.broadcast_object(self.size, self.rank, obj, root, name))
        return pickle.loads(data)

    def allgather_object(self, obj: Any, *, name: str | None = None) -> list[Any]:
        """A list of every rank's picklable object."""
        everyone = self._run("allgather_object", lambda: verbs.allgather_object(obj, name))
        return [pickle.loads(data) for data in everyone]

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

    # -- one rank to another --------------------------------------------------------------------

    def send(self, x: Any, to: int, tag: int = 0) -> None:
        """Send an array to a rank that calls `recv` with the same tag. Not ordered with collectives.

        Returns when x may be changed; for a large x that is when the receiver has it.
        """
        link = self._here("send")
        p2p.check(link, to, tag)
        array = to_host(x) if is_gpu(x) else verbs.as_array(x)
        self._guarded(f"send to rank {self.ranks[to]}", lambda: p2p.send(link, array, to, tag), to)

    def recv(self, like: Any, source: int, tag: int = 0) -> np.ndarray:
        """A new array from a rank that calls `send`, of the shape and dtype of `like`.

        It is CuPy's if `like` is, whatever was sent; CuPy arrays travel through host memory. Raises
        MismatchError, on this rank, when something of another shape or dtype arrives.
        """
        link = self._here("recv")
        p2p.check(link, source, tag)
        model = verbs.as_array(like)
        received = self._guarded(
            f"recv from rank {self.ranks[source]}",
            lambda: p2p.recv(link, model, source, tag, self.ranks),
            source,
        )
        return to_gpu(received, like.device.id) if is_gpu(like) else received


#: all ranks; it speaks from `collectives.init()` to `collectives.shutdown()`
world = Group._unattached()
