"""The verbs that move data and compute nothing: collectives, Python objects, and messages from one rank to another."""

import pickle
from collections.abc import Sequence
from typing import Any

import numpy as np

from . import p2p, verbs
from .device import is_gpu, to_gpu, to_host
from .membership import Membership
from .progress import Handle


class Moves(Membership):
    """What a `Group` can move."""

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
