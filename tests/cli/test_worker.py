"""Before a rank becomes its script: thread counts, and the lines its relay forwards."""

import os
import select

import pytest

from ringtrain.cli.relay import Lines
from ringtrain.cli.worker import THREAD_VARIABLES, cores, rank_of, ranks_on_host, set_threads


@pytest.mark.parametrize(
    "environment, expected",
    [
        ({}, "13"),
        ({"OMPI_COMM_WORLD_LOCAL_SIZE": "4"}, "3"),
        ({"MPI_LOCALNRANKS": "4"}, "3"),
        ({"MPI_LOCALNRANKS": "64"}, "1"),
        ({"OMP_NUM_THREADS": "5", "MPI_LOCALNRANKS": "4"}, "5"),
        ({"OMP_NUM_THREADS": "6,2", "MPI_LOCALNRANKS": "4"}, "6"),
    ],
)
def test_ranks_share_the_cores_of_their_host_unless_told_otherwise(environment, expected):
    before = dict(environment)
    set_threads(environment, 13)
    for name in THREAD_VARIABLES:
        assert environment[name] == before.get(name, expected)


def test_a_thread_count_of_one_library_stays():
    environment = {"NUMBA_NUM_THREADS": "2"}
    set_threads(environment, 8)
    assert environment["NUMBA_NUM_THREADS"] == "2" and environment["OMP_NUM_THREADS"] == "8"


def test_rank_and_local_ranks_are_read_from_each_launcher():
    assert rank_of({"OMPI_COMM_WORLD_RANK": "3", "PMIX_RANK": "0"}) == 3
    assert rank_of({"PMI_RANK": "0"}) == 0
    assert rank_of({"PATH": "/bin"}) is None
    assert ranks_on_host({}) == 1


@pytest.mark.parametrize("quota, most", [("max 100000", 10**6), ("50000 100000", 1), ("100000 100000", 1)])
def test_a_quota_of_the_control_group_cuts_the_cores(tmp_path, monkeypatch, quota, most):
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(7)))
    (tmp_path / "cpu.max").write_text(quota + "\n")
    assert cores(tmp_path) == min(7, most)
    (tmp_path / "cpu.max").unlink()
    (tmp_path / "cpu").mkdir()
    (tmp_path / "cpu/cpu.cfs_quota_us").write_text("350000\n")
    (tmp_path / "cpu/cpu.cfs_period_us").write_text("100000\n")
    assert cores(tmp_path) == 3
    assert cores(tmp_path / "absent") == 7


NOTICE = b"Abort(3) on node 1 (rank 1 in comm 0): application called MPI_Abort(MPI_COMM_WORLD, 3) - process 1\n"


class Output:
    """Lines into a pipe, and what has come out of it."""

    def __init__(self, prefix=b""):
        self.read_end, self.write_end = os.pipe()
        os.set_blocking(self.read_end, False)
        self.lines = Lines(self.write_end, prefix)

    def text(self):
        try:
            return os.read(self.read_end, 1 << 16)
        except BlockingIOError:
            return b""

    def close(self):
        os.close(self.read_end)
        os.close(self.write_end)


@pytest.fixture
def output():
    made = Output(b"[rank 2] ")
    yield made
    made.close()


def test_each_line_is_marked_once_however_it_arrives(output):
    for piece in (b"one", b" line\n", b"two\n\nthr", b"ee", b"\n"):
        output.lines.feed(piece)
    assert output.text() == b"[rank 2] one line\n[rank 2] two\n\n[rank 2] three\n"


def test_an_incomplete_line_waits_for_a_flush_and_its_rest_is_not_marked_again(output):
    output.lines.feed(b"50%")
    assert output.text() == b""
    output.lines.flush()
    output.lines.feed(b" done\nnext\n")
    assert output.text() == b"[rank 2] 50% done\n[rank 2] next\n"


def test_a_progress_bar_keeps_its_carriage_returns(output):
    output.lines.feed(b"\r1/3\r2/3\r3/3\n")
    assert output.text() == b"\r[rank 2] 1/3\r[rank 2] 2/3\r[rank 2] 3/3\n"


def test_mpich_may_not_have_the_last_word_after_a_traceback(output):
    output.lines.feed(b"ZeroDivisionError: division by zero\n" + NOTICE)
    output.lines.feed(NOTICE)
    assert output.text() == b"[rank 2] ZeroDivisionError: division by zero\n"


def test_mpich_has_the_only_word_where_there_is_no_traceback(output):
    output.lines.feed(NOTICE)
    assert output.text() == b"[rank 2] " + NOTICE


def test_long_output_comes_whole_and_in_pieces_that_a_pipe_does_not_tear(monkeypatch):
    output, pieces, write = Output(), [], os.write
    monkeypatch.setattr(os, "write", lambda fd, data: pieces.append(data) or write(fd, data))
    text = b"".join(b"%d %s\n" % (i, b"x" * (i % 97)) for i in range(700)) + b"y" * 9000
    assert len(text) < 1 << 16
    output.lines.feed(text)
    output.lines.flush()
    assert output.text() == text
    assert max(map(len, pieces)) <= select.PIPE_BUF
    assert all(piece.endswith(b"\n") for piece in pieces[:-3])  # the last line is longer than a piece
    output.close()
