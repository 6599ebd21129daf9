"""`ringtrain bench`: its list, its hand-over to the checkout's programs, and the tuning of a machine."""

import json
from dataclasses import asdict

import pytest

from collectives.tuning import DEFAULT, RANGES, Tuning
from ringtrain.cli import bench, main, tune

MIB = 1 << 20


def test_without_a_name_it_lists_what_there_is(capsys):
    assert main(["bench"]) == 0
    page = capsys.readouterr().out
    assert all(f"ringtrain bench {name}" in page for name in ("tune", *bench.PROGRAMS))


def test_an_unknown_name_is_a_mistake(capsys):
    assert main(["bench", "everything"]) == 2
    assert "'tune', 'allreduce'" in capsys.readouterr().err


def test_a_program_of_the_checkout_gets_its_options(ringtrain):
    done = ringtrain("bench", "allreduce", "--peers", "nccl")
    assert done.returncode == 2 and "allreduce.py: error: argument --peers: 'nccl' is no peer" in done.stderr
    done = ringtrain("bench", "scaling", "--help")
    assert done.returncode == 0 and "--windows" not in done.stdout and "Measures how training scales" in done.stdout


def test_without_a_checkout_the_programs_are_not_there(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(bench, "BENCHMARKS", tmp_path)
    assert main(["bench", "allreduce"]) == 2
    assert "bench allreduce runs from a checkout" in capsys.readouterr().err


@pytest.mark.parametrize("options, said", [(["-n", "1"], "nothing to tune"), (["-n", "two"], "invalid int")])
def test_tune_says_what_is_wrong_with_its_options(options, said, capsys):
    assert main(["bench", "tune", *options]) == 2
    assert said in capsys.readouterr().err


def test_the_crossover_is_where_the_sum_is_least():
    sizes = [1, 2, 4, 8, 16]
    low, high = [1.0, 2, 4, 8, 16], [5.0] * 5
    assert tune.crossover(sizes, low, high, 16) == 4
    assert tune.crossover(sizes, high, high, 8) == 8, "the default stays where it is as good"
    assert tune.crossover(sizes, high, low, 8) == 0
    assert tune.crossover(sizes, [9.0] * 5, high, 4) == 0
    assert tune.crossover(sizes, low, [1e3] * 5, 2) == 16
    assert tune.crossover(sizes, [1, 2, 4, 7, 16], [5, 5, 5, 7.1, 5], 4) == 4, "a hair is not worth a change"
    assert tune.crossover([], [], [], 7) == 7
    assert tune.crossover([4, 8], [1.0, 1.0], [2.0, 2.0], 100) == 100


def test_the_fastest_must_be_clearly_so():
    assert tune.fastest({1: 5.0, 2: 4.9, 4: 6.0}, 1) == 1
    assert tune.fastest({1: 5.0, 2: 4.0, 4: 6.0}, 1) == 2


# What is measured is up to the noise of the moment; here it is quick, and what comes of it is looked at.
QUICK = """
from collectives import shared
from ringtrain.cli import tune
if {by_messages}:
    def load():
        raise ImportError("shared memory is out of order")
    shared.load = load
tune.TURN, tune.REPEATS = 1e-4, 1
tune.CHUNKS, tune.BOXES = [1 << 16], [1 << 20]
tune.quiet_warnings()
tune.main()
"""


@pytest.mark.parametrize("by_messages", [False, True])
def test_tune_stores_what_it_finds(by_messages, ringtrain, mpi, script, tmp_path):
    pytest.importorskip("numba")
    program = script(QUICK.format(by_messages=by_messages))
    file = tmp_path / "ringtrain" / "tuning.json"
    done = ringtrain("run", "-n", 2, program, XDG_CACHE_HOME=tmp_path)
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    stored = json.loads(file.read_text())["machines"]
    assert report["stored"] and stored == {report["machine"]: report["tuning"]}
    assert report["before"] == asdict(DEFAULT)
    found = Tuning(**report["tuning"])
    other = ("always_copied", "read_whole", "boxes") if by_messages else ("chunk", "moved_by_mpi")
    assert all(getattr(found, name) == getattr(DEFAULT, name) for name in other), "not measured in this job"
    # What other jobs of this machine have found out stays.
    stored[report["machine"]].update(dict.fromkeys(other, MIB) | {"always_copied": 512})
    stored[report["machine"]] |= {"boxes": MIB} if by_messages else {}
    file.write_text(json.dumps({"version": 1, "machines": stored}))
    again = json.loads(ringtrain("run", "-n", 2, program, XDG_CACHE_HOME=tmp_path).stdout)
    assert {name: again["tuning"][name] for name in other} == {name: again["before"][name] for name in other}
    assert again["before"][other[1]] == MIB


def test_the_command_prints_a_page_even_if_it_cannot_store(ringtrain, mpi, tmp_path):
    pytest.importorskip("numba")
    (tmp_path / "full").touch()
    done = ringtrain("bench", "tune", "-n", 2, "--json", "tuning.json", XDG_CACHE_HOME=tmp_path / "full")
    assert done.returncode == 0, done.stderr
    report = json.loads((tmp_path / "tuning.json").read_text())
    assert not report["stored"] and "cannot be written" in done.stderr
    lines = done.stdout.splitlines()
    assert lines[0] == report["machine"] and lines[-1].startswith("not stored in ")
    for name, (least, most) in RANGES.items():
        (line,) = [line for line in lines if line.startswith(name)]
        assert line.split() == [name, f"{report['before'][name]:,}", f"{report['tuning'][name]:,}"]
        assert least <= report["tuning"][name] <= most


# Rank 0's file counts, for all ranks; and whatever it says, results are the same bits.
SAME = """
import json, zlib
import numpy as np
import collectives as c
from collectives import mpi_job, shared, tuning
from collectives.tuning import RANGES, Tuning

if {by_messages}:
    def load():
        raise ImportError("shared memory is out of order")
    shared.load = load
os.environ["XDG_CACHE_HOME"] = {folder!r} + str(rank)
extremes = [Tuning(**{{name: limits[end] for name, limits in RANGES.items()}}) for end in (0, 1)]
seen = []
for number, tuned in enumerate([Tuning(), *extremes, None]):
    c.init()
    where = tuning.machine(c.local_size(), mpi_job.library())
    c.shutdown()
    if rank == 0 and tuned:
        assert tuning.store(where, tuned)
    elif rank == 0:
        tuning.path().write_text("{{")
    elif rank == 1:
        assert tuning.store(where, Tuning(chunk=5000, always_copied=5))
    c.init()
    assert c.world._link.tuning == (tuned or Tuning()), c.world._link.tuning
    assert c.world.split(0)._link.tuning == (tuned or Tuning())
    sums = []
    for count in (1, 13, 3000, 30_001, 200_003):
        for dtype in ("f4", "f2", "f8"):
            mine = np.random.default_rng(rank).normal(0, 10.0 ** rank, count).astype(dtype)
            for x in (mine, c.empty(count, dtype)):
                x[...] = mine
                sums += [c.allreduce(x, c.Sum), c.reduce_scatter(x, c.Sum), c.allreduce_(x), c.broadcast(mine, 1)]
                sums += [c.allgather(mine)]
    seen.append([zlib.crc32(x.tobytes()) for x in sums])
    c.shutdown()
assert all(other == seen[0] for other in seen), [a == b for other in seen for a, b in zip(other, seen[0])]
print("the same")
"""


@pytest.mark.parametrize("by_messages", [False, True])
def test_a_job_takes_rank_0s_tuning_and_computes_the_same_bits(by_messages, ringtrain, mpi, script, tmp_path):
    program = script(SAME.format(by_messages=by_messages, folder=str(tmp_path / "cache")))
    done = ringtrain("run", "-n", 3, program)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split("\n").count("the same") == 3
    assert "tuning.json, is ignored" in done.stderr
