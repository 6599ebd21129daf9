"""Times a training step (forward, backward, update, loss read) against PyTorch and MXNet, one thread each.

    python benchmarks/training_step.py                     peers: those that `make peers` has put under .peers/
    python benchmarks/training_step.py --peer torch=/path/to/python --json FILE

Each library runs in a process of its own, under its own Python. Their turns alternate within each repeat, so that the
ratios hold where the machine's speed drifts; figures are medians over the repeats. `tape-...` is the time of one
operation on 2 x 2 tensors: what the engine itself costs. Every library's loss must fall, or the run fails. The networks
are in engines/networks.py; MXNet takes part with the small ones.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import sys
from pathlib import Path
from typing import Any

from turns import HERE, Job, JobEnded

WORKS = {"mlp": 60, "cnn": 15, "lenet": 2, "resnet20": 2, "gpt": 1, "bert": 1, "lstm": 1}  # steps a repeat
WORKS |= {"tape-forward": 10, "tape-forward-backward": 10}
LINKS = 1000  # operations a step of the tape
THREADS = [f"{name}_NUM_THREADS" for name in ("OMP", "OPENBLAS", "MKL", "NUMBA")]


class Engine:
    """A library in a process of its own, which runs engines/NAME_ROLE.py."""

    def __init__(self, name: str, python: str, role: str = "steps", threads: int = 1) -> None:
        more = dict.fromkeys(THREADS, str(threads))
        if name == "ringtrain":
            more["PYTHONPATH"] = str(HERE.parent)
        command = [python, str(HERE / "engines" / f"{name}_{role}.py")]
        try:
            self._job = Job(name, 1, lambda folder: [(command, more)])
        except JobEnded as error:
            raise SystemExit(str(error)) from None
        self.name, self.version = self._job.about["name"], self._job.about["version"]

    def time(self, work: str, repeats: int) -> Any:
        """{"seconds", "loss", "peak_bytes"} of one repeat."""
        try:
            return self._job.ask(work=work, repeats=repeats)[0]
        except JobEnded as error:
            raise SystemExit(str(error)) from None

    def close(self) -> None:
        self._job.close()


def measure(engines: list[Engine], works: list[str], repeats: int) -> dict[str, dict[str, dict[str, float]]]:
    """work -> library -> median seconds, first and last loss, peak bytes."""
    table: dict[str, dict[str, dict[str, float]]] = {}
    for work in works:
        runs: dict[str, list[dict[str, float]]] = {e.name: [] for e in engines}
        for _ in range(repeats + 1):
            for engine in engines:
                runs[engine.name].append(engine.time(work, WORKS[work]))
        for name, (first, *rest) in runs.items():
            if not first:
                continue  # this library does not have it
            if not work.startswith("tape") and not rest[-1]["loss"] < first["loss"]:
                raise SystemExit(f"{name} does not learn on {work}: loss {first['loss']} -> {rest[-1]['loss']}")
            seconds = statistics.median(r["seconds"] for r in rest) / (LINKS if work.startswith("tape") else 1)
            figures = {"seconds": seconds, "first_loss": first["loss"], "last_loss": rest[-1]["loss"]}
            table.setdefault(work, {})[name] = {**figures, "peak_bytes": rest[-1]["peak_bytes"]}
    return table


def show(table: dict[str, dict[str, dict[str, float]]], engines: list[Engine]) -> None:
    print(
        f"{platform.machine()}, {os.cpu_count()} cores, one thread; "
        + ", ".join(f"{e.name} {e.version}" for e in engines)
    )
    print(f"{'work':24}" + "".join(f"{e.name:>14}" for e in engines) + f"{'ringtrain / fastest peer':>28}")
    for work, row in table.items():
        unit, scale = ("us", 1e6) if work.startswith("tape") else ("ms", 1e3)
        seconds = {name: figures["seconds"] * scale for name, figures in row.items()}
        cells = "".join(f"{seconds[e.name]:>11.3f} {unit}" if e.name in row else f"{'-':>14}" for e in engines)
        peers = [f["seconds"] for name, f in row.items() if name != "ringtrain"]
        ratio = f"{row['ringtrain']['seconds'] / min(peers):>28.2f}" if peers else ""
        print(f"{work:24}{cells}{ratio}")


def peers(given: list[str]) -> dict[str, str]:
    """name -> Python of every peer asked for, or of those under .peers/."""
    if given:
        return dict(item.split("=", 1) for item in given)
    found = {name: HERE.parent / ".peers" / name / "bin" / "python" for name in ("torch", "mxnet")}
    return {name: str(path) for name, path in found.items() if path.exists()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", nargs="+", choices=WORKS, default=list(WORKS))
    parser.add_argument("--peer", action="append", default=[], metavar="NAME=PYTHON", help="torch=... or mxnet=...")
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--json", metavar="FILE")
    args = parser.parse_args()
    if args.json and not Path(args.json).absolute().parent.is_dir():
        parser.error(f"--json {args.json}: there is no such folder")
    if args.repeats < 1 or any("=" not in item for item in args.peer):
        parser.error("--repeats must be 1 or more, and --peer NAME=PYTHON")
    engines: list[Engine] = []
    try:
        for name, python in {"ringtrain": sys.executable, **peers(args.peer)}.items():
            engines.append(Engine(name, python))
        table = measure(engines, args.work, args.repeats)
    finally:
        for engine in engines:
            engine.close()
    show(table, engines)
    if args.json:
        machine = {"machine": platform.machine(), "cores": os.cpu_count(), "threads": 1}
        versions = {e.name: e.version for e in engines}
        Path(args.json).write_text(json.dumps({**machine, "versions": versions, "works": table}, indent=2) + "\n")


if __name__ == "__main__":
    main()
