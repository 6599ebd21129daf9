"""What a rank's collectives have cost: calls, bytes, seconds, and who was waited for."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

from .link import BYTES, CALLS, NANOSECONDS, Books


class Stats(NamedTuple):
    """What one verb has cost this rank.

    seconds: in collectives of the verb, from the beginning of a call's turn to its end. exposed: how much of
    its own time the program has spent on them, waiting in blocking calls and in `Handle.wait`; what async
    calls take beyond that was hidden behind computation. slowest: the rank that the others wait for.
    """

    calls: int = 0
    #: put in by this rank
    bytes: int = 0
    seconds: float = 0.0
    exposed: float = 0.0
    slowest: int | None = None

    def __add__(self, more: "Stats") -> "Stats":  # type: ignore[override]
        """Both together; whom they wait for is another question."""
        return Stats(
            self.calls + more.calls, self.bytes + more.bytes, self.seconds + more.seconds, self.exposed + more.exposed
        )


@dataclass(slots=True)
class Tally:
    """`Stats` that are still being added to."""

    calls: int = 0
    bytes: int = 0
    nanoseconds: int = 0
    exposed: int = 0


class Ledger:
    """The books of one group at one rank, by verb."""

    def __init__(self) -> None:
        self._tallies: dict[str, Tally] = {}

    def of(self, verb: str) -> Tally:
        """The tally to add to."""
        tally = self._tallies.get(verb)
        if tally is None:
            tally = self._tallies[verb] = Tally()
        return tally

    def stats(self, counted: Books) -> dict[str, Stats]:
        """All of them, and the blocking calls of allreduce that compiled code has counted."""
        total = {
            verb: Stats(tally.calls, tally.bytes, tally.nanoseconds / 1e9, tally.exposed / 1e9)
            for verb, tally in list(self._tallies.items())
        }
        calls, nbytes, nanoseconds = (counted.view[word] for word in (CALLS, BYTES, NANOSECONDS))
        if calls:
            seconds = nanoseconds / 1e9
            total["allreduce"] = total.get("allreduce", Stats()) + Stats(calls, nbytes, seconds, seconds)
        return total


def slowest(figures: Mapping[int, Mapping[str, Stats]]) -> dict[str, int]:
    """For each verb the rank that the others waited for, by what each rank has in its books.

    Whoever comes last to a collective waits least in it, so that is the rank whose calls took the least
    time on average. Verbs that some rank has not called are left out.
    """
    first = next(iter(figures.values()), {})
    common = [verb for verb in first if len(figures) > 1 and all(verb in theirs for theirs in figures.values())]
    return {verb: min(figures, key=lambda rank: _average(figures[rank][verb])) for verb in common}


def _average(stats: Stats) -> float:
    return stats.seconds / stats.calls if stats.calls else float("inf")
