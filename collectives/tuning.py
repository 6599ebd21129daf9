"""Where one way of moving data becomes quicker than another, on the machine at hand.

`ringtrain bench tune` measures it once and stores it in the user's cache folder; `collectives.init` takes it from there
on rank 0, which tells the others, so that ranks cannot differ. The file is never needed: what cannot be read, or is not
ours, is ignored with a warning.

Tuning changes no result, not by a bit. Everything here decides how bytes travel, never in which order they are
combined; the sizes up to which MPI combines arrays itself do that (`Link.small`), and are therefore not tuned.
"""

import json
import os
import platform
import socket
import warnings
from contextlib import suppress
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

KIB, MIB = 1 << 10, 1 << 20
VERSION = 1  # of the file

#: the values that each of them may have
RANGES = {
    "always_copied": (0, 64 * KIB),
    "read_whole": (0, 64 * MIB),
    "boxes": (64 * KIB, 4 * MIB),  # for which there is room
    "chunk": (4 * KIB, 64 * MIB),
    "moved_by_mpi": (0, 64 * MIB),
}


@dataclass(frozen=True)
class Tuning:
    """Sizes in bytes. Raises ValueError for what is out of RANGES.

    always_copied: up to here, copying an array costs ranks of one host less than another barrier
    read_whole: up to here, over all ranks of a host, each may as well combine everything for itself
    boxes: of all inboxes of a host together, which its last-level cache should hold
    chunk: of a ring, and of a chain: enough to hide what Python takes for a message, up to tens of gigabits a
        second, and few enough to be sent unasked. Over TCP, Open MPI asks before it sends 64 KiB, and the answer
        queues behind the data that flows the other way: a ring of longer messages uses half of a link
    moved_by_mpi: up to here MPI's own broadcast and allgather are quicker than a chain and a ring
    """

    always_copied: int = 2 * KIB
    read_whole: int = 128 * KIB
    boxes: int = 4 * MIB
    chunk: int = 60 * KIB
    moved_by_mpi: int = 128 * KIB

    def __post_init__(self) -> None:
        for name, (least, most) in RANGES.items():
            value = getattr(self, name)
            if type(value) is not int or not least <= value <= most:
                raise ValueError(f"{name}={value!r} must be a whole number of bytes from {least} to {most}")


DEFAULT = Tuning()


def machine(local_size: int, library: str) -> str:
    """What a tuning holds for: this host, its processor, so many ranks on it, and that MPI."""
    return " | ".join([socket.gethostname(), _processor(), f"{local_size} ranks", library])


def _processor() -> str:
    with suppress(OSError), open("/proc/cpuinfo", encoding="utf-8", errors="replace") as lines:
        for line in lines:  # one processor after another, of which the first will do
            name, _, value = line.partition(":")
            if name.strip() in ("model name", "CPU part"):
                return value.strip()
    return platform.processor() or platform.machine()


def path() -> Path:
    """The file that holds tunings, by XDG's convention for caches."""
    folder = os.environ.get("XDG_CACHE_HOME", "")
    if not os.path.isabs(folder):  # so the convention has it
        folder = os.path.expanduser("~/.cache")
    return Path(folder, "ringtrain", "tuning.json")


def load(where: str) -> Tuning:
    """What is stored for that machine, or the default."""
    try:
        return Tuning(**_machines(path()).get(where, {}))
    except FileNotFoundError:
        return DEFAULT
    except (OSError, ValueError, TypeError) as error:
        _warn(f"is ignored: {error}")
        return DEFAULT


def store(where: str, tuning: Tuning) -> bool:
    """Write it down for that machine beside those of others; whether that went well."""
    file = path()
    machines: dict[str, dict[str, Any]] = {}
    try:
        machines = _machines(file)
    except OSError:  # there is none, or writing will not work either
        pass
    except ValueError as error:
        _warn(f"is replaced: {error}")
    text = json.dumps({"version": VERSION, "machines": machines | {where: asdict(tuning)}}, indent=2)
    beside = file.with_name(f"{file.name}.{os.getpid()}")
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        beside.write_text(text + "\n", encoding="utf-8")
        beside.replace(file)
    except OSError as error:
        with suppress(OSError):
            beside.unlink()
        _warn(f"cannot be written: {error}")
        return False
    return True


def _machines(file: Path) -> dict[str, dict[str, Any]]:
    """What a file holds, by machine. Raises ValueError where it holds something else."""
    found = json.loads(file.read_text(encoding="utf-8"))
    if not isinstance(found, dict) or found.get("version") != VERSION or not isinstance(found.get("machines"), dict):
        raise ValueError(f"it is no file of version {VERSION} of `ringtrain bench tune`")
    known = {field.name for field in fields(Tuning)}
    for where, values in found["machines"].items():
        if not isinstance(values, dict) or not {*values} <= known:
            raise ValueError(f"its entry for {where!r} is not of this version")
    return found["machines"]


def _warn(what: str) -> None:
    warnings.warn(f"the tuning of this machine, {path()}, {what}", stacklevel=4)
