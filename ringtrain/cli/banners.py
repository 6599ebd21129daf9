"""What mpiexec prints once a rank has failed, told apart from everything else.

A failing rank prints a traceback; mpiexec then buries it under paragraphs that say no more than that a rank
failed. Only paragraphs that are recognised are taken out. Everything else passes byte for byte, and without
delay unless it may yet turn out to be the start of such a paragraph.
"""

import re
from collections.abc import Callable

# Open MPI frames its paragraphs with rules of "-", Hydra with rules of "=".
RULE = re.compile(rb"[ ]?(-{60,}|={60,})\s*")
FAILURE = re.compile(
    rb"""
      MPI_ABORT\ was\ invoked\ on\ rank
    | \w+\ has\ exited\ due\ to\ process\ rank
    | \w+\ detected\ that\ one\ or\ more\ processes\ exited\ with\ non-zero\ status
    | \w+\ noticed\ that\ process\ rank
    | Primary\ job\s+terminated\ normally,\ but
    | =\s+BAD\ TERMINATION\ OF\ ONE\ OF\ YOUR\ APPLICATION\ PROCESSES
    """,
    re.VERBOSE,
)
# Single lines of the same meaning.
FAILURE_LINE = re.compile(
    rb"""
      YOUR\ APPLICATION\ TERMINATED\ WITH\ THE\ EXIT\ STRING:
    | This\ typically\ refers\ to\ a\ problem\ with\ your\ application
    | Please\ see\ the\ FAQ\ page\ for\ debugging\ suggestions
    | \[mpiexec@[^\]]*\]\ (Sending\ Ctrl-C\ to\ processes|Press\ Ctrl-C\ again)
    | \[warn\]\ Epoll\ (MOD|DEL|ADD)
    | \[[^\]]+\]\ pmix_ptl_base:\ send_msg:\ write\ failed
    | \[[^\]]+\]\ \[\[\d+,\d+\],\d+\]\ ORTE_ERROR_LOG:\ Data\ unpack\ would\ read\ past\ end\ of\ buffer
    """,
    re.VERBOSE,
)
# How each of them may begin: an incomplete line that agrees with one of these is held back until it is
# complete.
BEGINNINGS = (b" -", b" =", b"-----", b"=====", b"YOUR APPL", b"This typically", b"Please see", b"[")
NOTHING = b" \n\0"  # Open MPI 5 ends its paragraphs with a stray NUL
LONGEST = 40  # lines; a paragraph that has not closed by then is none of these


class BannerFilter:
    """Bytes in, the same bytes less failure paragraphs out.

    write: called with what passes. on_failure: called with the text of each paragraph or line taken out.
    """

    def __init__(self, write: Callable[[bytes], None], on_failure: Callable[[bytes], None]):
        self.write, self.on_failure = write, on_failure
        self.incomplete = b""  # the last line so far, held back
        self.midline = False  # the beginning of the last line has passed already
        self.block: list[bytes] = []  # the lines of a paragraph that has not closed yet
        self.blank = b""  # a blank line: Hydra puts some before and after its paragraphs
        self.after_failure = False

    def feed(self, data: bytes) -> None:
        *lines, self.incomplete = (self.incomplete + data).split(b"\n")
        for line in lines:
            self._line(line + b"\n")
        if self.incomplete and not self.block and (self.midline or not _may_be_failure(self.incomplete)):
            self._pass(self.incomplete)
            self.incomplete, self.midline = b"", True

    def close(self) -> None:
        """The stream has ended: let go of what was held back."""
        held = b"".join(self.block) + self.incomplete
        self.block, self.incomplete = [], b""
        if held.strip(NOTHING) or (self.blank and not self.after_failure):
            self._pass(held)

    def _line(self, line: bytes) -> None:
        if self.midline:
            self.midline = False
            self._pass(line)
        elif self.block:
            self._block_line(line)
        elif RULE.fullmatch(line):
            self.block = [line]
        elif FAILURE_LINE.match(line):
            self._failure(line)
        elif not line.strip(NOTHING):
            self.blank += b"" if self.after_failure else line
        else:
            self._pass(line)

    def _block_line(self, line: bytes) -> None:
        self.block.append(line)
        closed = RULE.fullmatch(line) is not None
        if closed and FAILURE.match(b"".join(self.block[1:])):
            self._failure(b"".join(self.block[1:-1]))
            self.block = []
        elif closed or len(self.block) > LONGEST:
            block, self.block = self.block, []
            self._pass(b"".join(block))

    def _failure(self, text: bytes) -> None:
        self.blank, self.after_failure = b"", True
        self.on_failure(text)

    def _pass(self, data: bytes) -> None:
        self.write(self.blank + data)
        self.blank, self.after_failure = b"", False


def _may_be_failure(line: bytes) -> bool:
    agrees = any(line.startswith(start) or start.startswith(line) for start in BEGINNINGS)
    return agrees or not line.strip(NOTHING)


def killed_by(failures: bytes) -> tuple[int | None, int] | None:
    """(rank, signal) of the rank that a signal ended, as the paragraphs tell it; rank None where they do not.

    Intel MPI's tell nothing certain: they list every rank, also those that mpiexec ended itself.
    """
    found = re.search(rb"process rank (\d+)[^.]*?exited\s+on\s+signal\s+(\d+)", failures)
    if found:
        return int(found[1]), int(found[2])
    found = re.search(rb"EXIT STRING: [^(\n]*\(signal (\d+)\)", failures)
    return (None, int(found[1])) if found else None
