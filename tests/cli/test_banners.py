"""Failure paragraphs of mpiexec are taken out, wherever the bytes are cut; all else passes unchanged."""

import pytest

from ringtrain.cli.banners import BannerFilter, killed_by

RULE = b"-" * 74 + b"\n"
ABORT = (
    RULE
    + b"""MPI_ABORT was invoked on rank 1 in communicator MPI_COMM_WORLD
  Proc: [[54816,1],1]
  Errorcode: 3

NOTE: invoking MPI_ABORT causes Open MPI to kill all MPI processes.
"""
    + RULE
)
EXITED = (
    RULE
    + b"""prterun has exited due to process rank 1 with PID 0 on node vm calling
"abort". This may have caused other processes in the application to be
terminated by signals sent by prterun (as reported here).
"""
    + RULE
    + b"\0"
)
KILLED = (
    RULE
    + b"""prterun noticed that process rank 13 with PID 4295 on node vm exited on
signal 9 (Killed).
"""
    + RULE
)
HYDRA = (
    b"\n"
    + b"=" * 83
    + b"""
=   BAD TERMINATION OF ONE OF YOUR APPLICATION PROCESSES
=   PID 4430 RUNNING AT vm
=   EXIT CODE: 11
=   CLEANING UP REMAINING PROCESSES
=   YOU CAN IGNORE THE BELOW CLEANUP MESSAGES
"""
    + b"=" * 83
    + b"""
YOUR APPLICATION TERMINATED WITH THE EXIT STRING: Segmentation fault (signal 11)
This typically refers to a problem with your application.
Please see the FAQ page for debugging suggestions
"""
)
NOISE = b"""[vm:09192] pmix_ptl_base: send_msg: write failed: Bad file descriptor (9) [sd = -1]
[warn] Epoll MOD(1) on fd 19 failed. Old events were 6; read change was 0 (none): Bad file descriptor
[vm:04328] [[31766,0],0] ORTE_ERROR_LOG: Data unpack would read past end of buffer in file show_help.c at line 501
[mpiexec@vm] Sending Ctrl-C to processes as requested
[mpiexec@vm] Press Ctrl-C again to force abort
"""
OTHER = RULE + b"There are not enough slots available in the system to satisfy the 9\nslots\n" + RULE
TABLE = b"=" * 70 + b"\n| rank | loss |\n" + b"-" * 70 + b"\n|  3 | 0.5 |\n"
ANY = bytes(range(256))


class Sink:
    def __init__(self):
        self.passed, self.failures = b"", b""
        self.filter = BannerFilter(self.write, self.fail)

    def write(self, data):
        self.passed += data

    def fail(self, paragraph):
        self.failures += paragraph


@pytest.mark.parametrize("size", [1, 2, 7, 100, 10_000])
@pytest.mark.parametrize("banner", [ABORT, EXITED, KILLED, HYDRA, NOISE, ABORT + EXITED], ids=range(6))
def test_known_paragraphs_go_and_the_rest_stays(banner, size):
    text = b"before\n\n - a list\n" + banner + b"after\nlast, without a newline"
    sink = Sink()
    for start in range(0, len(text), size):
        sink.filter.feed(text[start : start + size])
    sink.filter.close()
    assert sink.passed.replace(b"\0", b"") == b"before\n\n - a list\nafter\nlast, without a newline"
    assert sink.failures


@pytest.mark.parametrize("size", [1, 13, 10_000])
@pytest.mark.parametrize("text", [OTHER, TABLE, RULE, RULE * 2, b"[rank 1] x\n", b"\n\n\n\0x\ry", b"x\n\n", ANY])
def test_everything_else_passes_byte_for_byte(text, size):
    sink = Sink()
    for start in range(0, len(text), size):
        sink.filter.feed(text[start : start + size])
    sink.filter.close()
    assert sink.passed == text
    assert not sink.failures


def test_a_progress_bar_is_not_held_back():
    sink = Sink()
    sink.filter.feed(b"\repoch 1 ")
    assert sink.passed == b"\repoch 1 "
    sink.filter.feed(b"------")
    assert sink.passed == b"\repoch 1 ------"


def test_a_paragraph_that_never_closes_is_let_go():
    sink = Sink()
    sink.filter.feed(RULE + b"line\n" * 50)
    assert sink.passed == RULE + b"line\n" * 50


def test_who_was_killed_is_read_from_the_paragraphs():
    assert killed_by(KILLED) == (13, 9)
    assert killed_by(HYDRA) == (None, 11)
    assert killed_by(ABORT + EXITED) is None
    four = b"mpiexec noticed that process rank 1 with PID 0 on node vm exited on signal 9 (Killed).\n"
    assert killed_by(four) == (1, 9)
