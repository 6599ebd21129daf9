"""Host lists: ``--hosts a:2,b:2`` and the host files of Open MPI and MPICH."""

import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

from ringtrain.cli.errors import UsageError


class Host(NamedTuple):
    """A host and the number of ranks it takes."""

    name: str
    slots: int


NAME_AND_SLOTS = re.compile(r"(?P<name>[A-Za-z0-9_.-]+)(?::(?P<slots>\d+))?")


def parse_hosts(text: str) -> list[Host]:
    """``a:2,b:2`` as hosts; a name without a number takes one rank.

    >>> parse_hosts("a:2,b")
    [Host(name='a', slots=2), Host(name='b', slots=1)]
    """
    return _merged(_host(entry.strip(), f"--hosts {text}") for entry in text.split(","))


def read_hostfile(path: str) -> list[Host]:
    """One host a line: ``name``, ``name:4`` (MPICH), ``name slots=4`` (Open MPI); ``#`` starts a comment."""
    try:
        lines = Path(path).read_text().splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"--hostfile {path}: {error}; give a text file of one host a line") from None
    found = []
    for number, line in enumerate(lines, 1):
        entry = line.partition("#")[0].strip()
        if entry:
            entry = re.sub(r"\s+slots\s*=\s*(\d+)(\s+max[-_]slots\s*=\s*\d+)?$", r":\1", entry)
            found.append(_host(entry, f"{path} line {number}"))
    if not found:
        raise UsageError(f"--hostfile {path}: names no host; write one a line, e.g. `node1 slots=4`")
    return _merged(found)


def slots(hosts: Iterable[Host]) -> int:
    return sum(host.slots for host in hosts)


def place(ranks: int, hosts: Sequence[Host]) -> list[tuple[str, int]]:
    """How many ranks each host gets when each is filled before the next; hosts that get none are left out."""
    placed = []
    for host in hosts:
        here = min(ranks, host.slots)
        ranks -= here
        if here:
            placed.append((host.name, here))
    return placed


def _host(entry: str, origin: str) -> Host:
    found = NAME_AND_SLOTS.fullmatch(entry)
    if not found:
        raise UsageError(f"{origin}: {entry!r} is not a host; write name:slots, e.g. node1:4")
    number = int(found["slots"] or 1)
    if number < 1:
        raise UsageError(f"{origin}: {entry!r} has no slots; give at least one, or leave the host out")
    return Host(found["name"], number)


def _merged(found: Iterable[Host]) -> list[Host]:
    """A host named twice has the slots of both."""
    merged: dict[str, int] = {}
    for host in found:
        merged[host.name] = merged.get(host.name, 0) + host.slots
    return [Host(*pair) for pair in merged.items()]
