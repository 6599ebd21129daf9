"""Finding mpiexec, telling the families apart, and the command line that each needs."""

import sys

import pytest

from ringtrain.cli.errors import UsageError
from ringtrain.cli.hosts import Host
from ringtrain.cli.mpiexec import (
    INTEL_MPI,
    MPICH,
    OPEN_MPI,
    Mpiexec,
    find_mpiexec,
    mpiexec_command,
    parse_version,
    rank_environment,
    settings_of,
)

HYDRA = """HYDRA build details:
    Version:                                 5.0.2
    Release Date:                            Fri Sep 25 20:45:26 UTC 2026
"""
RANK = ["python", "my script.py", "-n", "7"]


@pytest.mark.parametrize(
    "text, family, version",
    [
        ("mpiexec (Open MPI) 5.0.11\n\nReport bugs to https://www.open-mpi.org/\n", OPEN_MPI, "5.0.11"),
        ("mpiexec (OpenRTE) 4.1.8\n\nReport bugs to http://www.open-mpi.org/\n", OPEN_MPI, "4.1.8"),
        (HYDRA, MPICH, "5.0.2"),
        ("Intel(R) MPI Library for Linux* OS, Version 2021.18.1 Build 20260626\n", INTEL_MPI, "2021.18.1"),
    ],
)
def test_the_family_is_read_from_the_version_text(text, family, version):
    assert parse_version("/x/mpiexec", text) == Mpiexec("/x/mpiexec", family, version)


@pytest.mark.parametrize("text, said", [("slurm 23.02\n", "'slurm 23.02'"), ("", "'nothing'")])
def test_an_unknown_mpiexec_is_refused_with_what_it_said(text, said):
    with pytest.raises(UsageError) as error:
        parse_version("/x/mpiexec", text)
    assert said in str(error.value) and "--mpiexec PATH" in str(error.value)


def test_open_mpi_on_this_host():
    command = mpiexec_command(Mpiexec("/o/mpiexec", OPEN_MPI, "5"), 3, [], [], RANK, as_root=False)
    assert command == ["/o/mpiexec", "--map-by", "slot:OVERSUBSCRIBE", "--bind-to", "none", "-n", "3", *RANK]


def test_open_mpi_on_hosts_as_root_carries_variables():
    hosts = [Host("a", 2), Host("b", 1)]
    command = mpiexec_command(Mpiexec("/o/mpiexec", OPEN_MPI, "5"), 3, hosts, ["A", "B"], RANK, as_root=True)
    assert command[1] == "--allow-run-as-root"
    assert command[command.index("--host") + 1] == "a:2,b:1"
    assert command[-len(RANK) - 6 :] == ["-x", "A", "-x", "B", "-n", "3", *RANK]


def test_mpich_carries_variables_by_itself():
    mpi = Mpiexec("/m/mpiexec", MPICH, "5")
    assert mpiexec_command(mpi, 3, [], ["A"], RANK, as_root=True) == [
        "/m/mpiexec",
        "-bind-to",
        "none",
        "-n",
        "3",
        *RANK,
    ]
    assert mpiexec_command(mpi, 3, [Host("a", 2), Host("b", 1)], ["A"], RANK) == [
        "/m/mpiexec",
        "-bind-to",
        "none",
        "-hosts",
        "a:2,b:1",
        "-n",
        "3",
        *RANK,
    ]


def test_intel_mpi_has_a_section_for_each_host_that_gets_ranks():
    mpi = Mpiexec("/i/mpiexec", INTEL_MPI, "2021")
    assert mpiexec_command(mpi, 2, [], [], RANK) == ["/i/mpiexec", "-n", "2", *RANK]
    hosts = [Host("a", 2), Host("b", 2), Host("c", 9)]
    assert mpiexec_command(mpi, 3, hosts, [], RANK) == [
        "/i/mpiexec",
        "-host",
        "a",
        "-n",
        "2",
        *RANK,
        ":",
        "-host",
        "b",
        "-n",
        "1",
        *RANK,
    ]


def test_settings_of_a_family_yield_to_the_users_own():
    open_mpi, intel = Mpiexec("o", OPEN_MPI, "5"), Mpiexec("i", INTEL_MPI, "2021")
    assert settings_of(open_mpi, {"HOME": "/"}) == {"OMPI_MCA_osc": "^ucx", "OMPI_MCA_btl": "^ofi"}
    assert settings_of(open_mpi, {"OMPI_MCA_osc": "rdma", "OMPI_MCA_btl": "tcp,self"}).keys() == {"HOME"}
    assert settings_of(intel, {}) == {"I_MPI_PIN": "0"}
    assert settings_of(Mpiexec("m", MPICH, "5"), {}) == {}


def test_ranks_do_not_inherit_the_identity_of_an_outer_rank_but_keep_its_configuration():
    outer = {
        "PATH": "/bin",
        "OMPI_COMM_WORLD_RANK": "1",
        "PMIX_RANK": "1",
        "PMIX_SERVER_URI41": "x",
        "PMI_FD": "9",
        "MPI_LOCALNRANKS": "2",
        "OMPI_MCA_btl": "self",
        "PMIX_MCA_gds": "hash",
    }
    assert rank_environment(outer, {"A": "1"}) == {
        "PATH": "/bin",
        "OMPI_MCA_btl": "self",
        "PMIX_MCA_gds": "hash",
        "A": "1",
    }


def executable(path):
    path.parent.mkdir(exist_ok=True)
    path.write_text("#!/bin/sh\n")
    path.chmod(0o755)
    return str(path)


def test_the_environments_own_mpiexec_comes_before_that_of_path(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "executable", str(tmp_path / "venv" / "python"))
    monkeypatch.setenv("PATH", str(tmp_path / "system"))
    assert find_mpiexec() is None
    system = executable(tmp_path / "system" / "mpiexec")
    assert find_mpiexec() == system
    own = executable(tmp_path / "venv" / "mpirun")
    assert find_mpiexec() == own
    own = executable(tmp_path / "venv" / "mpiexec")
    assert find_mpiexec() == own
    assert find_mpiexec(system) == system
    with pytest.raises(UsageError, match="--mpiexec /absent/mpiexec: not an executable file"):
        find_mpiexec("/absent/mpiexec")
