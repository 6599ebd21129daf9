"""Checkpoints: model, optimiser, step and randomness in one safetensors file.

The file is written beside its place, flushed to the disk and renamed, so that a crash at any moment leaves the old
checkpoint or the new one. It can be read by anything that reads safetensors, and holds no code.
"""

from __future__ import annotations

import contextlib
import json
import os
from pathlib import Path
from typing import Any

import numpy as np

from . import random
from .backend import of
from .tensor import raw

__all__ = ["load", "read", "save"]

_FORMAT = "ringtrain checkpoint 1"


def save(path: str | os.PathLike, model: Any, optimizer: Any = None, step: int = 0, **extra: Any) -> None:
    """Writes a checkpoint; in a job of several ranks let one rank do it.

    model      anything with state_dict() -> {name: array}
    optimizer  anything with state_dict() as `rt.optim.Optimizer` has it, or None
    extra      anything that JSON can hold; `load` gives it back

    Raises OSError naming the file where it cannot be written (a full disk, say); an older checkpoint stays.
    """
    tensors = {f"model.{name}": array for name, array in model.state_dict().items()}
    about: dict[str, Any] = {"format": _FORMAT, "step": step, "extra": extra}
    about["random"] = {"seed": random.state.seed, "step": random.state.step, "drawn": random.state.drawn}
    if optimizer is not None:
        saved = optimizer.state_dict()
        about["optimizer"] = {"param_groups": saved["param_groups"], "steps": {}}
        for number, entry in saved["state"].items():
            about["optimizer"]["steps"][number] = entry["step"]
            tensors |= {f"optimizer.{number}.{slot}": value for slot, value in entry.items() if slot != "step"}
    _write(Path(path), {name: _plain(v) for name, v in tensors.items()}, json.dumps(about, default=_number))


def _plain(value: Any) -> np.ndarray:
    array = raw(value)
    return np.asarray(of(array).to_numpy(array), order="C")


def _number(value: Any) -> Any:
    """A NumPy number, such as a rate or a metric, as JSON's."""
    if isinstance(value, np.generic):
        return value.item()
    raise TypeError(f"a checkpoint's extra values are what JSON can hold; {type(value).__name__} is not")


def _write(path: Path, tensors: dict[str, np.ndarray], about: str) -> None:
    from safetensors.numpy import save as pack

    data = pack(tensors, {"about": about})
    beside = path.with_name(f"{path.name}.{os.getpid()}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(beside, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(beside, path)
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
        for left in path.parent.glob(f"{path.name}.*.part"):  # by a process that was killed while it saved
            left.unlink(missing_ok=True)
    except OSError as error:
        raise OSError(
            error.errno,
            f"the checkpoint of {len(data)} bytes could not be written ({error.strerror}); "
            "make room or name another folder. An older checkpoint is untouched",
            str(path),
        ) from error
    finally:
        with contextlib.suppress(OSError):  # once renamed it is gone
            beside.unlink()


def read(path: str | os.PathLike) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """(tensors by name, what else was saved) of a checkpoint.

    Raises FileNotFoundError, or ValueError for a file that is no whole checkpoint.
    """
    from safetensors import SafetensorError, safe_open

    if not os.path.isfile(path):
        raise FileNotFoundError(f"there is no checkpoint {os.fspath(path)!r}")
    try:
        with safe_open(os.fspath(path), framework="numpy") as file:
            about = _about(file.metadata() or {})
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except SafetensorError as error:
        raise ValueError(f"{os.fspath(path)!r} is damaged, or no checkpoint: {error}") from error
    if about.get("format") != _FORMAT:
        raise ValueError(f"{os.fspath(path)!r} is a safetensors file, but no {_FORMAT}")
    return tensors, about


def _about(metadata: dict[str, str]) -> dict[str, Any]:
    """What `save` wrote beside the tensors; nothing where it was not `save` that wrote them."""
    try:
        about = json.loads(metadata["about"])
    except (KeyError, ValueError):
        return {}
    return about if isinstance(about, dict) else {}


def load(path: str | os.PathLike, model: Any, optimizer: Any = None) -> dict[str, Any]:
    """Puts a checkpoint into a model and an optimiser; returns {"step": n, **extra}.

    Raises ValueError naming everything that does not fit; then nothing has been changed.
    """
    tensors, about = read(path)
    parameters = {n.removeprefix("model."): t for n, t in tensors.items() if n.startswith("model.")}
    before = {name: raw(t).copy() for name, t in model.state_dict().items()} if optimizer is not None else {}
    try:
        model.load_state_dict(parameters)
        if optimizer is not None:
            optimizer.load_state_dict(_optimizer_state(tensors, about, path))
    except ValueError as error:
        model.load_state_dict(before, strict=False)
        raise ValueError(f"checkpoint {os.fspath(path)!r}: {error}") from error
    random.state.seed, random.state.step = about["random"]["seed"], about["random"]["step"]
    random.state.drawn = about["random"]["drawn"]
    return {"step": about["step"], **about["extra"]}


def _optimizer_state(tensors: dict, about: dict, path: Any) -> dict[str, Any]:
    if "optimizer" not in about:
        raise ValueError("it holds no optimiser state; load it without an optimiser")
    state: dict[int, dict[str, Any]] = {int(n): {"step": s} for n, s in about["optimizer"]["steps"].items()}
    for name, array in tensors.items():
        if name.startswith("optimizer."):
            _, number, slot = name.split(".", 2)
            state.setdefault(int(number), {})[slot] = array
    return {"state": state, "param_groups": about["optimizer"]["param_groups"]}
