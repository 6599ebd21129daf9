"""A group of ranks and what they can do together.

Every verb is collective over the group (all its ranks call it, in the same order, with arguments
that fit) except `send` and `recv`. Ranks in arguments (`root`, `to`, `source`) count within the
group; ranks in errors count within the world.
"""

import pickle
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from . import p2p, routes, verbs
from .errors import CollectiveError, MismatchError, PeerFailedError, StallError
from .header import Agreement, Call, name_ranks
from .link import Link
from .progress import Handle, Progress
from .reduce import Op
from .verbs import Work


class Failure(NamedTuple):
    """What stopped a group while messages were under way.

    The frames of the error's traceback own the buffers and requests of those messages. They must
    outlive the group, because a message that arrives late is still written there.
    """

    reason: str
    error: BaseException


class Group:
    """Some ranks of a parent group, the world unless told otherwise, in a new order.

    ranks: distinct ranks of the parent. Creating a group is collective over the parent: ranks that
    are not in it create it too, and then have a group in which `included` is false.

    Data is copied from arguments before a call returns unless a verb ends in an underscore: those
    work in place, on an array that must not be touched until an async call's handle has been waited
    for. Results are the same bits on every rank and in every run.
    """

    def __init__(self, ranks: Sequence[int], parent: "Group | None" = None):
        parent = world if parent is None else parent
        self._attach(*parent._form("Group", tuple(ranks), lambda link: [tuple(ranks)]))
        parent._children.append(self)

    @classmethod
    def _unattached(cls) -> "Group":
        group = cls.__new__(cls)
        group._attach(None, ())
        return group

    def _attach(self, link: Link | None, ranks: Sequence[int]) -> None:
        """Speak over `link`, whose ranks are `ranks` of the world; over nothing with None."""
        self._link = link
        self.ranks = tuple(ranks)
        self._agreement = Agreement(link, self.ranks) if link else None
        self._progress = Progress()
        self._failure: Failure | None = None
        self._children: list[Group] = []

    def _close(self) -> "Failure | None":
        """Finish queued work here and in every group formed from this one, and speak no more.

        Returns what had failed, which is to be kept: see `Failure`.
        """
        failures = [child._close() for child in self._children]
        self._progress.close()
        failures.append(self._failure)
        self._attach(None, ())
        return next((failure for failure in failures if failure), None)

    @property
    def included(self) -> bool:
        """Whether this rank is in the group."""
        return self._link is not None

    @property
    def rank(self) -> int:
        """This rank's number within the group."""
        return self._here("rank").rank

    @property
    def size(self) -> int:
        """How many ranks the group has."""
        return len(self.ranks)

    def __repr__(self) -> str:
        return f"Group(ranks={list(self.ranks)})"

    def split(self, color: int | None, key: int = 0) -> "Group | None":
        """This rank's part of the group divided by color, its ranks ordered by key, then rank.

        Collective. A rank that passes None gets None.
        """

        def plan(link: Link) -> list[tuple[int, ...]]:
            mine = pickle.dumps((color, key))
            said = [pickle.loads(data) for data in routes.allgather_bytes(link, mine)]
            colors = sorted({theirs for theirs, _ in said if theirs is not None})
            parts = [[rank for rank, (theirs, _) in enumerate(said) if theirs == part] for part in colors]
            return [tuple(sorted(part, key=lambda rank: (said[rank][1], rank))) for part in parts]

        link, ranks = self._form("split", None, plan)
        if link is None:
            return None
        part = Group._unattached()
        part._attach(link, ranks)
        self._children.append(part)
        return part

    def _form(
        self, verb: str, ranks: tuple[int, ...] | None, plan: Callable[[Link], list[tuple[int, ...]]]
    ) -> tuple[Link | None, tuple[int, ...]]:
        """The link of this rank's part among the disjoint parts that `plan` names, and its world ranks."""

        def build() -> Work:
            if ranks is not None and (len({*ranks}) != len(ranks) or not {*ranks} <= {*range(self.size)}):
                raise ValueError(f"ranks={list(ranks)} must be distinct ranks of a group of {self.size}")
            return Work(Call(verb, detail=ranks), move)

        def move(link: Link) -> tuple[Link | None, tuple[int, ...]]:
            parts = plan(link)
            mine = next((part for part in parts if link.rank in part), None)
            named = mine if mine is not None or ranks is None else ranks
            return link.sub(mine), tuple(self.ranks[rank] for rank in named or ())

        return self._run(verb, build)

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
        return self._run("allreduce", verbs.allreduce, self.size, x, op, name, prescale, postscale, True)

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
        return self._submit("reduce_scatter", verbs.reduce_scatter, self.size, x, op, name, prescale, postscale)

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
        """xs[rank] of root, of any shape and dtype, as a new array; the others' xs is not looked at."""
        return self._run("scatter", lambda: verbs.scatter(self.size, self.rank, xs, root, name))

    def broadcast_object(self, obj: Any, root: int, *, name: str | None = None) -> Any:
        """Root's picklable object; the others' is not looked at."""
        data = self._run("broadcast_object", lambda: verbs.broadcast_object(self.size, self.rank, obj, root, name))
        return pickle.loads(data)

    def allgather_object(self, obj: Any, *, name: str | None = None) -> list[Any]:
        """A list of every rank's picklable object."""
        everyone = self._run("allgather_object", verbs.allgather_object, obj, name)
        return [pickle.loads(data) for data in everyone]

    def barrier(self, timeout: float | None = None) -> None:
        """Return when every rank has come. `timeout` in seconds, if given, replaces that of `init`."""
        self._run("barrier", lambda: Work(Call("barrier"), lambda link: None, timeout=timeout))

    # -- one rank to another --------------------------------------------------------------------

    def send(self, x: Any, to: int, tag: int = 0) -> None:
        """Send an array to a rank that calls `recv` with the same tag. Not ordered with collectives.

        Returns when x may be changed; for a large x that is when the receiver has it.
        """
        link = self._here("send")
        p2p.check(link, to, tag)
        self._guarded(f"send to rank {self.ranks[to]}", lambda: p2p.send(link, verbs.as_array(x), to, tag))

    def recv(self, like: Any, source: int, tag: int = 0) -> np.ndarray:
        """A new array from a rank that calls `send`, of the shape and dtype of `like`.

        Raises MismatchError, on this rank, when something else arrives.
        """
        link = self._here("recv")
        p2p.check(link, source, tag)
        return self._guarded(
            f"recv from rank {self.ranks[source]}",
            lambda: p2p.recv(link, verbs.as_array(like), source, tag, self.ranks),
        )

    # -- how a verb runs ------------------------------------------------------------------------

    def _here(self, verb: str) -> Link:
        if self._link is None:
            if self.ranks:
                raise CollectiveError(f"{verb}: this rank is not in the group of {name_ranks(self.ranks)}")
            raise CollectiveError(f"{verb}: call collectives.init() first; a group lasts until shutdown()")
        return self._link

    def _run(self, verb: str, build: Callable[..., Work], *args: Any) -> Any:
        self._here(verb)
        work = self._work(verb, build, args)
        return self._progress.run(work.call, partial(self._perform, work))

    def _submit(self, verb: str, build: Callable[..., Work], *args: Any) -> Handle:
        self._here(verb)
        work = self._work(verb, build, args)
        return self._progress.submit(work.call, partial(self._perform, work))

    def _work(self, verb: str, build: Callable[..., Work], args: tuple) -> Work:
        """What build makes of the arguments; if that is an error the other ranks must still be told."""
        try:
            return build(*args)
        except Exception as problem:
            call = Call(verb, detail=f"refused: {problem}")
            return Work(call, lambda link: None, problem)

    def _perform(self, work: Work) -> Any:
        """Agree on the call, then do it."""
        agreement = self._agreement
        assert agreement is not None

        def action() -> Any:
            agreement.check(work.call, work.timeout)
            return work.move(agreement.link)

        result = self._guarded(work.call, action)
        if work.problem is not None:
            raise work.problem
        return result

    def _guarded(self, label: object, action: Callable[[], Any]) -> Any:
        """Do something on the link, which an error that leaves messages under way makes unusable."""
        if self._failure:
            raise CollectiveError(f"{label}: this group cannot communicate any more: {self._failure.reason}")
        try:
            return action()
        except MismatchError:
            raise  # found before anything moved
        except StallError as error:
            self._failure = Failure(f"{label}: {error}", error)
            raise StallError(self._failure.reason, [self.ranks[rank] for rank in error.missing]) from None
        except PeerFailedError as error:
            self._failure = Failure(f"{label}: {error}", error)
            raise PeerFailedError(self._failure.reason, error.ranks) from None
        except BaseException as error:
            self._failure = Failure(f"{label}: {type(error).__name__}: {error}", error)
            raise


#: all ranks; it speaks from `collectives.init()` to `collectives.shutdown()`
world = Group._unattached()
