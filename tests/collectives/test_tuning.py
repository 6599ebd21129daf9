"""Tunings: read and written in spite of everything, and without a trace in any result."""

import json
from dataclasses import replace

import ml_dtypes
import numpy as np
import pytest

from collectives import shared, shared_plan, tuning
from collectives.arena import Arena
from collectives.group import Group
from collectives.memory import empty
from collectives.reduce import Op
from collectives.tuning import DEFAULT, KIB, MIB, RANGES, Tuning

HERE = "host | processor | 2 ranks | an MPI"
OTHER = Tuning(always_copied=16, read_whole=24 * KIB, boxes=MIB, chunk=8 * KIB, moved_by_mpi=0)
EXTREMES = [OTHER, *(Tuning(**{name: limits[end] for name, limits in RANGES.items()}) for end in (0, 1))]


@pytest.fixture
def file(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert tuning.path() == tmp_path / "ringtrain" / "tuning.json"
    tuning.path().parent.mkdir()
    return tuning.path()


@pytest.fixture
def silent(recwarn):
    yield
    assert not recwarn.list


def test_without_a_file_everything_is_as_ever(file, silent):
    assert tuning.load(HERE) == DEFAULT


def test_what_is_stored_is_loaded_by_that_machine_alone(file, silent):
    assert tuning.store(HERE, OTHER) and tuning.store("another", replace(DEFAULT, chunk=MIB))
    assert tuning.load(HERE) == OTHER
    assert tuning.load("another") == replace(DEFAULT, chunk=MIB)
    assert tuning.load("a third") == DEFAULT
    assert [path.name for path in file.parent.iterdir()] == [file.name]


def test_a_first_file_makes_its_folder(file, silent):
    file.parent.rmdir()
    assert tuning.store(HERE, OTHER) and tuning.load(HERE) == OTHER


def entry(**values):
    return json.dumps({"version": 1, "machines": {HERE: values}})


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        "17",
        '{"machines": {}}',
        '{"version": 2, "machines": {}}',
        '{"version": 1, "machines": []}',
        '{"version": 1, "machines": {"host": 3}}',
        entry(chunk=-1),
        entry(chunk=1 << 40),
        entry(chunk=65536.0),
        entry(chunk="65536"),
        entry(chunk=True),
        entry(always_copied=64 * KIB + 1),
        entry(stride=3),
        b"\xff\xfe\x00",
    ],
)
def test_a_corrupt_or_foreign_file_is_ignored_with_a_warning(text, file):
    file.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.warns(UserWarning, match=r"tuning.json, is ignored: "):
        assert tuning.load(HERE) == DEFAULT


def test_a_corrupt_file_is_replaced_with_a_warning(file):
    file.write_text("{")
    with pytest.warns(UserWarning, match="is replaced: "):
        assert tuning.store(HERE, OTHER)
    assert tuning.load(HERE) == OTHER


def test_what_cannot_be_read_or_written_is_a_warning(file):
    file.mkdir()
    with pytest.warns(UserWarning, match="is ignored: "):
        assert tuning.load(HERE) == DEFAULT
    with pytest.warns(UserWarning, match="cannot be written: "):
        assert not tuning.store(HERE, OTHER)
    assert [path.name for path in file.parent.iterdir()] == [file.name]


def test_a_folder_that_cannot_be_made_is_a_warning(file, monkeypatch):
    file.touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(file))
    with pytest.warns(UserWarning, match="cannot be written: "):
        assert not tuning.store(HERE, OTHER)
    with pytest.warns(UserWarning, match="is ignored: "):
        assert tuning.load(HERE) == DEFAULT


def test_a_relative_cache_folder_is_none(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", "somewhere")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert tuning.path() == tmp_path / ".cache" / "ringtrain" / "tuning.json"


def test_a_machine_is_its_host_processor_ranks_and_mpi():
    found = tuning.machine(3, "Open MPI v5")
    assert found.endswith(" | 3 ranks | Open MPI v5") and found.count(" | ") == 3
    assert found == tuning.machine(3, "Open MPI v5") != tuning.machine(4, "Open MPI v5")


# Around every limit of OTHER and of the defaults, and the windows of small boxes.
COUNTS = [1, 13, 4 * KIB + 3, 40_009]
DTYPES = ["f4", ml_dtypes.bfloat16, "i8"]


def results(group, arena):
    """The bytes of everything that a rank gets, on data whose sums depend on their order."""
    size, found = group.size, []
    for dtype in DTYPES:
        for count in COUNTS:
            scale = 10.0 ** (group.rank % 3) if np.dtype(dtype).kind != "i" else 1000
            mine = (np.random.default_rng(group.rank).normal(0, scale, count)).astype(dtype)
            inside = empty(mine.shape, mine.dtype, arena)
            inside[...] = mine
            for x in (mine.copy(), inside):
                found += [group.allreduce_(x, Op.Sum), group.reduce_scatter(x, Op.Sum), group.allreduce(x, Op.Max)]
            found += [group.allgather(mine[: count - group.rank % 2]), group.broadcast(mine, size - 1)]
            found += [group.allgather_into(np.empty(count * size, mine.dtype), mine)]
    return [array.tobytes() for array in found]


@pytest.mark.parametrize("size", [2, 3, 4])
@pytest.mark.parametrize("way", ["shared", "messages"])
def test_no_tuning_changes_a_bit(way, size, ranks):
    if way == "shared":
        pytest.importorskip("numba")

    def run(tuned):
        arenas = [Arena(64 * MIB) for _ in range(size)]

        def work(link):
            link.tuning = tuned
            group = Group._unattached()
            if way == "shared":
                link = shared.share(link, arenas[link.rank], arenas, crowded=True)
                assert isinstance(link, shared.SharedLink)
            assert link.tuning is tuned
            group._attach(link, range(size))
            try:
                return results(group, arenas[group.rank])
            finally:
                group._close()

        return ranks(size, work)[0]

    expected = run(DEFAULT)
    for tuned in EXTREMES:
        assert run(tuned) == expected


def test_a_tuning_is_followed(ranks):
    """Else the test above would prove nothing."""
    pytest.importorskip("numba")

    def work(link):
        link.tuning = OTHER
        arenas = [arena] * 2
        joined = shared.share(link, arena, arenas, crowded=True)
        ways = [joined.plan(np.dtype("f4"), count, None).way for count in (4, 5, 3 * KIB, 3 * KIB + 1)]
        return ways, joined.box

    arena = Arena(64 * MIB)
    SMALL, MEDIUM, LARGE = shared_plan.SMALL, shared_plan.MEDIUM, shared_plan.LARGE
    found = ranks(2, work)[0]
    assert found == [([SMALL, MEDIUM, MEDIUM, LARGE], MIB // 2)] * 2

    def ring(tuned):
        def work(link):
            link.tuning = tuned
            group = Group._unattached()
            group._attach(link, range(2))
            group.allreduce(np.zeros(64 * KIB, "f4"))
            group._close()

        return sum(ranks(2, work)[1].messages)

    assert ring(replace(DEFAULT, chunk=8 * KIB)) - ring(replace(DEFAULT, chunk=64 * KIB)) == 2 * (2 * 16 - 2 * 2)
