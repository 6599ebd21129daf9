"""Work that goes on beside its caller's: one thread, one piece after another, until one fails."""

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any


class Overlap:
    """A context whose `start` queues work for its thread; it is left when that has ended.

    After a failure, in the thread or in the block, what has not begun never does: whoever fails together
    with others must not leave them a deadline for each piece.
    """

    def __enter__(self) -> "Overlap":
        self._failed = False
        self._thread = ThreadPoolExecutor(1, "collectives overlap")
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self._failed |= kind is not None
        self._thread.shutdown()

    def start(self, work: Callable[..., None], *args: Any) -> "Future[None]":
        """The future of work(*args), whose `result` raises what it raised."""
        return self._thread.submit(self._do, work, args)

    def _do(self, work: Callable[..., None], args: tuple[Any, ...]) -> None:
        if not self._failed:
            try:
                work(*args)
            except BaseException:
                self._failed = True
                raise
