"""Messages from one rank to another.

An envelope with the array's dtype and shape goes first, so that a receiver which expects something
else gets an error that says what came. The message itself is then taken off the wire, and the next
one arrives intact.
"""

from collections.abc import Sequence

import numpy as np

from . import exchange
from .errors import MismatchError
from .link import Link
from .routes import as_bytes

TAGS = 32767  # the least upper bound that MPI guarantees, less the tag of collectives
TEXT = 248  # bytes of an envelope that describe the array; 8 more hold the payload's size


def send(link: Link, array: np.ndarray, to: int, tag: int) -> None:
    """Return when `array` may be changed again, which may be when the receiver has it."""
    payload = as_bytes(np.ascontiguousarray(array))
    envelope = _envelope(array)
    requests = [link.isend(envelope, to, _wire(tag))]
    link.wait(requests + exchange.send_all(link, payload, to, _wire(tag)), peer=to)


def recv(link: Link, like: np.ndarray, source: int, tag: int, ranks: Sequence[int]) -> np.ndarray:
    """A new array of the dtype and shape of `like`. `ranks` are the group's in the world."""
    envelope = np.empty(TEXT + 8, np.uint8)
    link.wait([link.irecv(envelope, source, _wire(tag))], peer=source)
    expected = _envelope(like)
    if (envelope == expected).all():
        out = np.empty(like.shape, like.dtype)
        link.wait(exchange.recv_all(link, as_bytes(out), source, _wire(tag)), peer=source)
        return out
    payload = np.empty(int(envelope[TEXT:].view(np.int64)[0]), np.uint8)
    link.wait(exchange.recv_all(link, payload, source, _wire(tag)), peer=source)
    by_rank = {ranks[source]: _text(envelope), ranks[link.rank]: _text(expected)}
    raise MismatchError(
        f"rank {ranks[source]} sent {_text(envelope)} with tag {tag}, and rank {ranks[link.rank]} "
        f"expected {_text(expected)}: pass an array like the one that is sent as `like`",
        by_rank,
    )


def check(link: Link, peer: int, tag: int) -> None:
    """Raise ValueError unless a message with this tag can go between this rank and `peer`."""
    if not 0 <= peer < link.size or peer == link.rank:
        raise ValueError(f"rank {link.rank} of {link.size} cannot exchange messages with rank {peer}")
    if not 0 <= tag < TAGS:
        raise ValueError(f"tag={tag} must be in 0..{TAGS - 1}")


def _wire(tag: int) -> int:
    return tag + 1  # 0 belongs to the collectives


def _envelope(array: np.ndarray) -> np.ndarray:
    out = np.zeros(TEXT + 8, np.uint8)
    text = f"{array.dtype}{list(array.shape)}".encode()[:TEXT]
    out[: len(text)] = np.frombuffer(text, np.uint8)
    out[TEXT:] = np.array([array.nbytes], np.int64).view(np.uint8)
    return out


def _text(envelope: np.ndarray) -> str:
    return envelope[:TEXT].tobytes().rstrip(b"\0").decode()
