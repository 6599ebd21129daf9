"""One rank's membership of a group: its link, the order of its work, and how a verb runs.

A verb is built by a function of `verbs` (its arguments are checked and copied), takes its turn among
the group's work, is agreed on by all ranks, and moves its data.
"""

import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple, NoReturn

from . import joining
from .device import device_of
from .errors import CollectiveError, MismatchError, PeerFailedError, StallError
from .gpu import gpu_of
from .header import REFUSED, Agreement, Call, Repeat, name_ranks
from .ledger import Ledger, Stats
from .lines import Line, calling
from .link import Link
from .progress import Handle, Progress
from .status import StatusService
from .timeline import Lane, Span, bus_share, thread_lane, timeline
from .verbs import Work


class Failure(NamedTuple):
    """What stopped a group while messages were under way.

    The frames of the error's traceback own the buffers and requests of those messages. They must
    outlive the group, because a message that arrives late is still written there.
    """

    reason: str
    error: BaseException


class Membership:
    """What a group needs to run verbs. `ranks` are its members, as ranks of the world."""

    ranks: tuple[int, ...]

    def __init__(self) -> None:
        self._attach(None, ())

    def _attach(self, link: Link | None, ranks: Sequence[int], status: StatusService | None = None) -> None:
        """Speak over `link`, whose ranks are `ranks` of the world; over nothing with None.

        status: knows where those ranks are, for when one does not come.
        """
        self._link = link
        self.ranks = tuple(ranks)
        self._agreement = Agreement(link, self.ranks) if link else None
        self._repeats: dict[Any, Repeat] = {}
        self._status = status
        if status and self._agreement and len(self.ranks) > 1:
            status.register(self._agreement, self._own)
        self._progress = Progress(self._waited)
        self._failure: Failure | None = None
        self._children: list[Membership] = []
        self._ledger = Ledger()

    def _close(self) -> "Failure | None":
        """Finish queued work here and in every group formed from this one, and speak no more.

        Returns what had failed, which is to be kept: see `Failure`.
        """
        failures = [child._close() for child in self._children]
        self._progress.close()
        failures.append(self._failure)
        if self._link is not None and self._link.gpu is not None:
            self._link.gpu.close(self._failure is not None)
        self._attach(None, ())
        return next((failure for failure in failures if failure), None)

    def _forget(self) -> None:
        """In a process forked from this rank, which is none: speak no more, here and in groups formed from this one."""
        for child in self._children:
            child._forget()
        self._attach(None, ())

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

    def _here(self, verb: str) -> Link:
        if self._link is None:
            if self.ranks:
                raise CollectiveError(f"{verb}: this rank is not in the group of {name_ranks(self.ranks)}")
            raise CollectiveError(
                f"{verb}: call ringtrain.init() first, or collectives.init() without ringtrain; "
                "a group lasts until shutdown()"
            )
        return self._link

    def _run(self, verb: str, build: Callable[..., Work], *args: Any) -> Any:
        self._here(verb)
        work = self._work(verb, build, args)
        return self._progress.run(work.call, partial(self._perform, work))

    def _submit(self, verb: str, build: Callable[..., Work], *args: Any) -> Handle:
        self._here(verb)
        work = self._work(verb, build, args)
        return self._progress.submit(work.call, partial(self._perform, work, calling()))

    def _work(self, verb: str, build: Callable[..., Work], args: tuple) -> Work:
        """What build makes of the arguments; if that is an error the other ranks must still be told."""
        try:
            device = device_of(args)
            work = build(*args) if device is None else gpu_of(self._here(verb), device).prepare(build, args)
            if not isinstance(work.call.name, str | None):
                raise TypeError(f"name={work.call.name!r} must be a text, the same on all ranks")
            return work
        except Exception as problem:
            call = Call(verb, detail=f"{REFUSED}{problem}")
            return Work(call, lambda link: None, problem)

    def _perform(self, work: Work, line: Line | None = None) -> Any:
        """Agree on the call, then do it. line: where the program asked for it, if not in this thread."""
        agreement = self._agreement
        assert agreement is not None

        def action() -> Any:
            common = agreement.check(work.call, work.timeout, work.offer, line)
            part = work if common is None else joining.adapted(work, common, agreement.ranks, agreement.live)
            return part.move(agreement.link)

        result = self._booked(work.call, work.nbytes, action)
        if work.problem is not None:
            raise work.problem
        return result

    def _booked(self, call: Call, nbytes: int, action: Callable[[], Any]) -> Any:
        """Do a collective's part on the link, and enter it in the books."""
        agreement = self._agreement
        assert agreement is not None
        start = time.monotonic_ns()
        try:
            result = self._guarded(call, action)
        finally:
            agreement.current = None
        end = time.monotonic_ns()
        tally = self._ledger.of(call.verb)
        tally.calls += 1
        tally.bytes += nbytes
        tally.nanoseconds += end - start
        if timeline.active:
            lane = Lane(f"collectives of {name_ranks(self.ranks)}", id(agreement))
            timeline.add(Span(lane, call.title, start, end, str(call), nbytes, bus_share(call.verb, self.size)))
        if not self._progress.here:  # else whoever waits for it enters that
            self._waited(call, start, end)
        return result

    def _waited(self, call: object, start: int, end: int) -> None:
        """Enter in the books that the program has waited for a call that is done in the background."""
        assert isinstance(call, Call)
        self._ledger.of(call.verb).exposed += end - start
        if timeline.active:
            timeline.add(Span(thread_lane(), f"wait for {call.title}", start, end))

    def _own(self) -> dict[str, Stats]:
        """What this rank has done in this group."""
        return self._ledger.stats(self._link.books) if self._link is not None else {}

    def _totals(self) -> dict[str, Stats]:
        """What this rank has done in this group and in those formed from it."""
        total = self._own()
        for child in self._children:
            for verb, more in child._totals().items():
                total[verb] = total.get(verb, Stats()) + more
        return total

    def _guarded(self, label: object, action: Callable[[], Any], peer: int | None = None) -> Any:
        """Do something on the link, which an error that leaves messages under way makes unusable.

        peer: the one rank of the group that it concerns; None for all.
        """
        if self._failure:
            self._refuse(label, self._failure)
        try:
            return action()
        except MismatchError:
            raise  # found before anything moved
        except StallError as error:
            reason, missing = self._explained(label, error, peer)
            self._fail(reason, error)
            raise StallError(reason, missing) from None
        except BaseException as error:
            known = self._here(str(label)).understood(error, peer)
            if isinstance(known, PeerFailedError):
                self._fail(f"{label}: {known}", error)
                raise PeerFailedError(f"{label}: {known}", known.ranks) from None
            self._fail(f"{label}: {type(known).__name__}: {known}", error)
            if known is error:
                raise
            raise known from error

    def _refuse(self, label: object, failure: Failure) -> NoReturn:
        raise CollectiveError(f"{label}: this group cannot communicate any more: {failure.reason}")

    def _explained(self, label: object, error: StallError, peer: int | None) -> tuple[str, Sequence[int]]:
        """What a stall is to say, and the ranks waited for."""
        if self._status is None:
            return f"{label}: {error}", [self.ranks[rank] for rank in error.missing]
        if peer is not None:
            rank = self.ranks[peer]
            return f"{label}: {error}: rank {rank}: {self._status.where(rank)}", (rank,)
        assert self._agreement is not None
        text, missing = self._status.explain(self._agreement)
        return f"{error}: {text}", missing

    def _fail(self, reason: str, error: BaseException) -> None:
        """Speak no more to this group, and let those who ask know why."""
        self._failure = Failure(reason, error)
        self._repeats.clear()
        if self._agreement is not None:
            self._agreement.abandoned = reason
