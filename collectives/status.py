"""Where is every rank? A thread of each answers, so that a collective can say whom it waits for.

Questions and answers are MPI messages on a communicator of their own: they reach every rank that the
payload reaches, and there is no port to open and nobody else to let in. The thread answers while the
program runs Python, sleeps, or waits in a library that releases the interpreter; a rank that is
stopped or dead does not answer, and that is told too. A collective pays two attribute stores.
"""

import sys
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from itertools import count
from typing import Any, NamedTuple

from .farewell import next_message
from .header import Agreement, name_ranks
from .ledger import Stats
from .lines import place

Key = tuple[tuple[int, ...], int]  # a group: its ranks, and how many groups of those were formed before it

Figures = Callable[[], dict[str, Stats]]

BETWEEN_LOOKS = 0.1  # seconds between two looks for questions
NAP = 2e-3  # seconds between two looks for an answer
PATIENCE = 2.0  # seconds for an answer: many looks, on a machine that is busy
SHOWN = 8  # missing ranks that a message describes one by one


class Report(NamedTuple):
    """What one rank says of itself to a question about one group."""

    #: how many of the group's collectives it has begun, and whether it is in the last of them
    begun: int
    within: bool
    #: why it cannot take part in any more of them, if so
    abandoned: str
    #: collectives of other groups that it is in
    elsewhere: str
    #: the line of the program that its main thread is at
    place: str


class Question(NamedTuple):
    """What is asked of a rank: its `Report` of a group, or of none, or its figures of that group."""

    key: Key | None
    figures: bool = False


class Waiting(NamedTuple):
    """A collective that the thread has seen this rank in: its number, and when to look again."""

    sequence: int
    since: float
    look: float


class StatusService:
    """One rank's end, over an mpi4py communicator of all ranks that nobody else uses.

    warn_after: seconds in a collective after which the lowest rank that waits in it says on stderr
    who is missing; 0 for never.
    """

    def __init__(self, comm: Any, warn_after: float):
        self._comm, self._warn_after = comm, warn_after
        self._rank = comm.Get_rank()
        self._groups: dict[Key, Agreement] = {}
        self._figures: dict[Key, Figures] = {}
        self._waiting: dict[Key, Waiting] = {}
        self._lock = threading.Lock()  # one thread at a time receives
        self._sends: list[Any] = []
        self._numbers = count()
        self._answers: dict[int, dict[int, Any]] = {}
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._run, name="collectives status", daemon=True)
        self._thread.start()

    def register(self, agreement: Agreement, figures: Figures = dict) -> None:
        """Answer for a group. All its ranks form it together, which gives it one key everywhere.

        figures: this rank's books of the group.
        """
        earlier = sum(ranks == agreement.ranks for ranks, _ in list(self._groups))
        self._figures[agreement.ranks, earlier] = figures
        self._groups[agreement.ranks, earlier] = agreement

    def close(self, check: Callable[[], None] = lambda: None) -> None:
        """Stop answering; collective, when no rank is in a collective any more.

        check: raises an error if not all ranks can come.
        """
        self._closing.set()
        self._thread.join()
        last = self._comm.Ibarrier()
        while not last.Test():
            self._serve()
            check()
            time.sleep(NAP)
        self._serve()
        self._comm.Free()

    def explain(self, agreement: Agreement) -> tuple[str, tuple[int, ...]]:
        """Who keeps this rank waiting in the group's present collective: a text, and those ranks."""
        reports = self._ask(Question(self._key(agreement)), agreement.ranks)
        return describe(agreement.label(), agreement.sequence, agreement.ranks, reports)

    def figures(self, agreement: Agreement) -> dict[int, dict[str, Stats]]:
        """The books of a group at each of its ranks; nothing unless all of them answer."""
        told = self._ask(Question(self._key(agreement), figures=True), agreement.ranks)
        return {rank: told[rank] for rank in agreement.ranks} if len(told) == len(agreement.ranks) else {}

    def where(self, rank: int) -> str:
        """One rank's place, as a clause."""
        report = self._ask(Question(None), [rank]).get(rank)
        return whereabouts(report) if report else "it does not answer (stopped or dead?)"

    # -- questions and answers ------------------------------------------------------------------

    def _key(self, agreement: Agreement) -> Key:
        return next(key for key, known in list(self._groups.items()) if known is agreement)

    def _ask(self, question: Question, ranks: Sequence[int]) -> dict[int, Any]:
        """What those of these ranks say that answer in time."""
        number = next(self._numbers)
        answers = self._answers[number] = {}
        with self._lock:
            for rank in ranks:
                self._send((number, self._rank, question), rank)
        deadline = time.monotonic() + PATIENCE
        while len(answers) < len(ranks) and time.monotonic() < deadline:
            self._serve()
            time.sleep(NAP)
        return self._answers.pop(number)

    def _serve(self) -> None:
        with self._lock:
            while (message := next_message(self._comm)) is not None:
                number, sender, said = message
                if isinstance(said, Question):
                    self._send((number, self._rank, self._answer(said)), sender)
                elif number in self._answers:  # else it comes too late
                    self._answers[number][sender] = said
            self._sends = [send for send in self._sends if not _is_over(send)]

    def _send(self, message: Any, rank: int) -> None:
        with suppress(RuntimeError):  # an MPI that has noticed that the rank is dead
            self._sends.append(self._comm.isend(message, rank))

    def _answer(self, question: Question) -> Any:
        if question.figures:
            return self._figures[question.key]() if question.key in self._figures else {}
        return self._report(question.key)

    def _report(self, key: Key | None) -> Report:
        others = [group for other, group in list(self._groups.items()) if other != key and group.current]
        elsewhere = " and ".join(f"{group.label()} of {name_ranks(group.ranks)}" for group in others)
        group = self._groups.get(key) if key else None
        if group is None:  # a group that this rank is still about to form
            return Report(0, False, "", elsewhere, place())
        return Report(group.sequence, group.current is not None, group.abandoned, elsewhere, place())

    # -- the thread -----------------------------------------------------------------------------

    def _run(self) -> None:
        while not self._closing.wait(BETWEEN_LOOKS):
            self._serve()
            if self._warn_after:
                self._watch()

    def _watch(self) -> None:
        now = time.monotonic()
        for key, group in list(self._groups.items()):
            seen = self._waiting.get(key)
            if group.current is None or group.abandoned:
                self._waiting.pop(key, None)
            elif seen is None or seen.sequence != group.sequence:
                self._waiting[key] = Waiting(group.sequence, now, now + self._warn_after)
            elif now >= seen.look:
                told = self._warn(key, group, seen)
                look = float("inf") if told else now + self._warn_after
                self._waiting[key] = seen._replace(look=look)

    def _warn(self, key: Key, group: Agreement, seen: Waiting) -> bool:
        """Say who is missing, if somebody is; False to look again later."""
        reports = self._ask(Question(key), group.ranks)
        if group.current is None or group.sequence != seen.sequence:
            return False  # it has gone on meanwhile
        text, missing = describe(group.label(), seen.sequence, group.ranks, reports)
        waiting = [rank for rank, report in reports.items() if report.within and report.begun == seen.sequence]
        if missing and self._rank == min(waiting, default=self._rank):
            waited = time.monotonic() - seen.since
            print(f"rank {self._rank} has waited for {waited:.0f} s: {text}", file=sys.stderr, flush=True)
        return bool(missing)


def describe(
    label: str, sequence: int, ranks: Sequence[int], reports: dict[int, Report]
) -> tuple[str, tuple[int, ...]]:
    """Who of `ranks` keeps the others waiting in their collective number `sequence`, by their reports.

    A rank that came, waited and gave up is described, but it is missing only where nobody else is.
    """
    lines = {}
    came = set()
    for rank in ranks:
        report = reports.get(rank)
        if report is None:
            lines[rank] = f"rank {rank} does not answer (stopped or dead?) in {label}"
        elif report.abandoned and report.begun <= sequence:
            lines[rank] = f"rank {rank} takes no part in {label} any more: {report.abandoned}"
            if report.begun == sequence:
                came.add(rank)
        elif report.begun < sequence:
            lines[rank] = f"rank {rank} has not joined {label}; {whereabouts(report)}"
    if not lines:
        return f"all ranks have joined {label}, and its data does not arrive", ()
    missing = tuple(rank for rank in lines if rank not in came) or tuple(lines)
    if len(lines) == 1:
        return next(iter(lines.values())), missing
    shown = [f"\n  {line}" for line in list(lines.values())[:SHOWN]]
    more = f"\n  and {len(lines) - SHOWN} more ranks" if len(lines) > SHOWN else ""
    return "".join(shown) + more, missing


def _is_over(send: Any) -> bool:
    try:
        return bool(send.Test())
    except RuntimeError:  # the rank that it was meant for is dead
        return True


def whereabouts(report: Report) -> str:
    return f"it is at {report.place}" + (f", in {report.elsewhere}" if report.elsewhere else "")
