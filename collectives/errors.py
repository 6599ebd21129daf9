"""What can go wrong in a collective, by who has to act on it.

Ranks in messages and attributes are ranks of the world (`collectives.rank()`), also for a
collective of a smaller group, so that one number means one process everywhere.
"""

from collections.abc import Iterable, Mapping


class CollectiveError(RuntimeError):
    """A collective could not be carried out."""


class MismatchError(CollectiveError):
    """Ranks called different collectives, or the same one with arguments that do not fit.

    Raised on every rank of the group before any payload moves; the group stays usable.
    `by_rank` maps each rank to what it called, as text.
    """

    def __init__(self, message: str, by_rank: Mapping[int, str]):
        super().__init__(message)
        self.by_rank = dict(by_rank)


class StallError(CollectiveError):
    """Nothing moved for longer than the timeout.

    `missing` holds the ranks known to be waited for; it is empty where the link cannot tell.
    """

    def __init__(self, message: str, missing: Iterable[int] = ()):
        super().__init__(message)
        self.missing = tuple(missing)


class PeerFailedError(CollectiveError):
    """A rank that this collective needs has left the job; `ranks` names it."""

    def __init__(self, message: str, ranks: Iterable[int]):
        super().__init__(message)
        self.ranks = tuple(ranks)
