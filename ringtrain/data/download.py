"""Fetching files of known content: mirrors tried in turn, digest checked, nothing half-written."""

import contextlib
import fcntl
import hashlib
import os
import uuid
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

TIMEOUT = 30.0  # seconds without an answer, or without a byte, before a mirror is given up
CHUNK = 1 << 20


class DownloadError(OSError):
    """No mirror delivered a file with the right content."""


def download(files: Mapping[str, str], mirrors: Sequence[str], folder: Path, hint: str) -> None:
    """Bring `files` (name -> MD5 in hex) from the first of `mirrors` (URLs ending in /) that has them.

    A file that `folder` has is left alone. Each is written beside its place and renamed when its digest is
    right, so that no other process ever sees a part of one. Processes that share the folder take turns and
    find what the first has fetched.

    hint: ends the error's message, to say how to use files that were brought by hand.
    Raises DownloadError, with what each mirror said and the URLs, if a file cannot be had.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with _turn(folder):
        for name, md5 in files.items():
            if not (folder / name).exists():
                _fetch_one(name, md5, mirrors, folder, _by_hand(files, mirrors, folder, hint))


def _fetch_one(name: str, md5: str, mirrors: Sequence[str], folder: Path, by_hand: str) -> None:
    from http.client import HTTPException  # here and below: half of `import ringtrain.data` otherwise

    failures = []
    for mirror in mirrors:
        try:
            return _fetch(mirror + name, md5, folder / name)
        except (OSError, HTTPException) as error:
            failures.append(f"  {mirror + name}: {error or type(error).__name__}")
    raise DownloadError("\n".join([f"could not download {name}:", *failures, by_hand]))


def _fetch(url: str, md5: str, target: Path) -> None:
    from urllib.request import urlopen

    # A name of our own, even among processes of several hosts on one file system.
    part = target.with_name(f".{target.name}.{uuid.uuid4().hex}.part")
    digest = hashlib.md5(usedforsecurity=False)
    try:
        with urlopen(url, timeout=TIMEOUT) as response, open(part, "xb") as out:
            while chunk := response.read(CHUNK):
                digest.update(chunk)
                out.write(chunk)
            out.flush()
            os.fsync(out.fileno())
        if digest.hexdigest() != md5:
            raise DownloadError(f"{part.stat().st_size} bytes with MD5 {digest.hexdigest()}, expected {md5}")
        part.rename(target)
    finally:
        part.unlink(missing_ok=True)


@contextlib.contextmanager
def _turn(folder: Path) -> Iterator[None]:
    with open(folder / ".download.lock", "a") as lock:
        # Some network file systems have no locks. Then processes fetch the same file: slower, not wrong.
        with contextlib.suppress(OSError):
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _by_hand(files: Mapping[str, str], mirrors: Sequence[str], folder: Path, hint: str) -> str:
    urls = "\n".join(f"  {mirrors[0]}{name}" for name in files)
    return (
        f"Without a network here, fetch these files on a machine that has one\n{urls}\n"
        f"and put them into {folder}; {hint}"
    )
