"""Checkpoints: what was saved comes back bit for bit, and a crash never leaves half of one."""

import errno
import os
import random as python_random
import signal
import subprocess
import sys
import time
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest

import ringtrain as rt
from ringtrain import checkpoint, nn, optim, random

from .arrays import on_host

ROOT = Path(__file__).parents[1]


@pytest.fixture(autouse=True)
def own_randomness():
    before = (random.state.seed, random.state.step, random.state.drawn)
    yield
    random.state.seed, random.state.step, random.state.drawn = before


class Net(nn.Module):
    """Parameters and buffers of many dtypes and shapes, some of them laid out oddly."""

    def __init__(self, shift=0.0):
        rng = np.random.default_rng(0)
        self.matrix = nn.Parameter(rt.from_numpy((rng.standard_normal((13, 17)) + shift).astype(np.float32)))
        self.brain = nn.Parameter(rt.from_numpy((rng.standard_normal((3, 5)) + shift).astype(ml_dtypes.bfloat16)))
        self.half = nn.Parameter(rt.from_numpy((rng.standard_normal(7) + shift).astype(np.float16)))
        self.double = nn.Parameter(rt.from_numpy(rng.standard_normal((4, 4)) + shift))
        self.scalar = nn.Parameter(rt.from_numpy(np.array(1.0 + shift)))
        self.nothing = nn.Parameter(rt.from_numpy(np.zeros((0, 3), np.float32)))
        self.turned = rt.from_numpy((rng.standard_normal((5, 6)) + shift).T)
        self.strided = rt.from_numpy(np.arange(20, dtype=np.int64)[::3] + int(shift))
        self.flags = rt.from_numpy(np.array([True, False, shift > 0]))


def trained(shift=0.0, steps=3, lr=0.1):
    net = Net(shift)
    adam = optim.Adam(
        [{"params": [net.matrix, net.brain]}, {"params": [net.half, net.double, net.scalar], "lr": lr / 2}], lr=lr
    )
    for step in range(steps):
        for i, p in enumerate(net.parameters()):
            if (i + step) % 3:
                p.grad = (np.random.default_rng([step, i]).standard_normal(p.shape) + shift).astype(p.dtype)
        adam.step()
        adam.zero_grad()
    return net, adam


def everything(net, optimizer):
    arrays = {name: on_host(a) for name, a in net.state_dict().items()}
    for number, entry in optimizer.state_dict()["state"].items():
        arrays |= {f"{number}.{slot}": on_host(value) for slot, value in entry.items()}
    return arrays


def assert_same(a, b):
    assert a.keys() == b.keys()
    for name in a:
        assert a[name].dtype == b[name].dtype and a[name].shape == b[name].shape, name
        np.testing.assert_array_equal(a[name], b[name], err_msg=name)


def test_everything_comes_back(tmp_path):
    net, adam = trained()
    random.seed(41)
    random.state.step, random.state.drawn = 7, 9
    checkpoint.save(tmp_path / "a" / "b" / "c.safetensors", net, adam, step=12, epochs=[{"loss": 0.25}], note="µ")
    saved = everything(net, adam)
    assert os.listdir(tmp_path / "a" / "b") == ["c.safetensors"]

    other, its_adam = trained(shift=3.0, steps=1, lr=0.7)
    random.seed(0)
    about = checkpoint.load(str(tmp_path / "a" / "b" / "c.safetensors"), other, its_adam)
    assert about == {"step": 12, "epochs": [{"loss": 0.25}], "note": "µ"}
    assert_same(everything(other, its_adam), saved)
    assert its_adam.state_dict()["param_groups"] == adam.state_dict()["param_groups"]
    assert (random.state.seed, random.state.step, random.state.drawn) == (41, 7, 9)


def test_a_model_alone(tmp_path):
    net, _ = trained()
    checkpoint.save(tmp_path / "c", net)
    other, its_adam = trained(shift=3.0)
    assert checkpoint.load(tmp_path / "c", other) == {"step": 0}
    assert_same(
        {n: on_host(a) for n, a in other.state_dict().items()}, {n: on_host(a) for n, a in net.state_dict().items()}
    )
    before = everything(*trained(shift=3.0))
    other, its_adam = trained(shift=3.0)
    with pytest.raises(ValueError, match="holds no optimiser state; load it without an optimiser"):
        checkpoint.load(tmp_path / "c", other, its_adam)
    assert_same(everything(other, its_adam), before)


def test_numbers_of_numpy_and_values_that_json_has_not(tmp_path):
    net, _ = trained()
    adam = optim.Adam(net.parameters(), lr=np.float32(0.125))
    checkpoint.save(tmp_path / "c", net, adam, loss=np.float64(0.5), count=np.int64(3))
    assert checkpoint.load(tmp_path / "c", net, adam) == {"step": 0, "loss": 0.5, "count": 3}
    assert adam.param_groups[0]["lr"] == 0.125
    with pytest.raises(TypeError, match="what JSON can hold; ndarray is not"):
        checkpoint.save(tmp_path / "d", net, history=np.zeros(3))
    assert os.listdir(tmp_path) == ["c"]


def test_another_model_is_named_whole_and_nothing_changes(tmp_path):
    path = tmp_path / "c"
    small = nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 2))
    checkpoint.save(path, small, optim.SGD(small.parameters()))
    other = nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 5), nn.Linear(5, 1))
    before = {n: on_host(a) for n, a in other.state_dict().items()}
    with pytest.raises(ValueError) as caught:
        checkpoint.load(path, other)
    lines = [line.strip() for line in str(caught.value).splitlines()]
    assert lines[0] == f"checkpoint {str(path)!r}: the state does not fit Sequential:"
    assert set(lines[1:]) == {
        "missing 2.weight float32[1, 5]",
        "missing 2.bias float32[1]",
        "mis-shaped 1.weight: the model has float32[5, 4], the state float32[2, 4]",
        "mis-shaped 1.bias: the model has float32[5], the state float32[2]",
    }
    assert_same({n: on_host(a) for n, a in other.state_dict().items()}, before)


def test_another_optimiser_changes_nothing(tmp_path):
    net, adam = trained()
    checkpoint.save(tmp_path / "c", net, adam)
    other = Net(3.0)
    rms = optim.RMSprop(other.parameters())
    before, seed = everything(other, rms), random.state.seed
    with pytest.raises(ValueError, match=r"groups of \[2, 3\] parameters, this RMSprop of \[6\]"):
        checkpoint.load(tmp_path / "c", other, rms)
    assert_same(everything(other, rms), before)
    assert random.state.seed == seed


def damaged(path, kind):
    data = path.read_bytes()
    if kind == "empty":
        path.write_bytes(b"")
    elif kind == "text":
        path.write_text("no tensors here, but long enough to be read as a header")
    elif kind == "header cut":
        path.write_bytes(data[:100])
    elif kind == "tensors cut":
        path.write_bytes(data[:-1])
    elif kind == "something behind":
        path.write_bytes(data + b"x")


@pytest.mark.parametrize("kind", ["empty", "text", "header cut", "tensors cut", "something behind"])
def test_a_damaged_file_is_named(tmp_path, kind):
    net, adam = trained()
    path = tmp_path / "c"
    checkpoint.save(path, net, adam)
    damaged(path, kind)
    with pytest.raises(ValueError, match="is damaged, or no checkpoint") as caught:
        checkpoint.load(path, net, adam)
    assert str(path) in str(caught.value)


def test_files_that_are_none(tmp_path):
    from safetensors.numpy import save_file

    with pytest.raises(FileNotFoundError, match=r"there is no checkpoint .*nowhere"):
        checkpoint.read(tmp_path / "nowhere")
    with pytest.raises(FileNotFoundError, match=str(tmp_path)):
        checkpoint.read(tmp_path)
    for metadata in (None, {"about": '{"format": "other"}'}, {"about": "no json"}):
        save_file({"x": np.zeros(3)}, tmp_path / "weights", metadata)
        with pytest.raises(ValueError, match="weights' is a safetensors file, but no ringtrain checkpoint 1"):
            checkpoint.read(tmp_path / "weights")


def test_anything_that_reads_safetensors_reads_it(tmp_path):
    from safetensors.numpy import load_file

    net, adam = trained()
    checkpoint.save(tmp_path / "c.safetensors", net, adam)
    tensors = load_file(tmp_path / "c.safetensors")
    np.testing.assert_array_equal(tensors["model.matrix"], net.matrix.detach().numpy())
    np.testing.assert_array_equal(tensors["optimizer.0.exp_avg"], on_host(adam.state_dict()["state"][0]["exp_avg"]))


# --- crashes ---------------------------------------------------------------------------------------------
@pytest.mark.parametrize("broken", ["fsync", "replace"])
def test_an_error_leaves_the_old_one_and_nothing_else(tmp_path, monkeypatch, broken):
    net, adam = trained()
    path = tmp_path / "c"
    checkpoint.save(path, net, adam, step=1)
    before = path.read_bytes()

    def fail(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(os, broken, fail)
        with pytest.raises(OSError, match=r"could not be written \(No space left on device\); make room") as caught:
            checkpoint.save(path, *trained(1.0), step=2)
    assert caught.value.errno == errno.ENOSPC and caught.value.filename == str(path)
    assert path.read_bytes() == before and os.listdir(tmp_path) == ["c"]
    checkpoint.save(path, net, adam, step=3)
    assert checkpoint.load(path, net, adam)["step"] == 3


def test_an_interrupted_save_leaves_nothing(tmp_path, monkeypatch):
    def interrupt(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "fsync", interrupt)
    with pytest.raises(KeyboardInterrupt):
        checkpoint.save(tmp_path / "c", *trained())
    assert os.listdir(tmp_path) == []


def test_a_folder_that_cannot_be(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match=r"could not be written .* make room or name another folder") as caught:
        checkpoint.save(tmp_path / "file" / "c", *trained())
    assert caught.value.filename == str(tmp_path / "file" / "c")


WRITER = """\
import sys
import numpy as np
from ringtrain import checkpoint, nn, optim
model = nn.Linear(300, 300)
adam = optim.Adam(model.parameters())
for step in range(100_000):
    for p in model.parameters():
        p.data[...] = step
    checkpoint.save(sys.argv[1], model, adam, step=step)
    print(step, flush=True)
"""


def test_a_writer_killed_at_any_moment_leaves_a_whole_checkpoint(tmp_path):
    path = tmp_path / "c"
    rng = python_random.Random(0)
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    for _ in range(4):
        command = [sys.executable, "-c", WRITER, str(path)]
        with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as writer:
            for _ in range(3):
                seen = int(writer.stdout.readline())
            time.sleep(rng.uniform(0, 0.02))
            writer.send_signal(signal.SIGKILL)
            seen = max([seen, *(int(line) for line in writer.stdout if line.endswith("\n"))])
        model = nn.Linear(300, 300)
        step = checkpoint.load(path, model, optim.Adam(model.parameters()))["step"]
        assert step >= seen  # what was said to be saved is there
        for p in model.parameters():
            assert (p.detach().numpy() == step).all()
    checkpoint.save(path, model)
    assert [p.name for p in tmp_path.iterdir()] == ["c"]  # what a killed writer left is gone
