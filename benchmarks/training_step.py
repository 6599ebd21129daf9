"""Times a training step (forward, backward, update, loss read) against PyTorch, MXNet and JAX.

    python benchmarks/training_step.py                     peers: those that `make peers` has put under .peers/
    python benchmarks/training_step.py --peer torch=/path/to/python --threads 2 --json FILE

Each library runs in a process of its own for each work, under its own Python, every one with as many threads. Their
turns alternate within each repeat, so that the ratios hold where the machine's speed drifts; figures are medians over
the turns. A network has as many parameters in every library, and its loss must fall, or the run fails. With one
thread each, all are confined to the same processor; a library that takes more processors than it has threads is an
error. The networks are in engines/networks.py and, for JAX, engines/jax_networks.py; MXNet takes part with the small
ones. `tape-...` is the time of one operation on 2 x 2 tensors: what the engine itself costs.

"GEMM" is the time in which NumPy does the matrix products of a step and nothing else, convolutions as products of
columns, in a turn of ringtrain's process; beside it stands what that is of ringtrain's step (more than all of it where
convolutions go without columns). Memory is what the process holds at its peak during steps, and how much of that the
network and its steps need: what is held beyond a process that has loaded and compiled all code, but has no network.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import Any

from jobs import PEERS
from turns import HERE, Job, JobEnded

WORKS = {"mlp": 60, "cnn": 15, "lenet": 2, "resnet20": 2, "gpt": 1, "bert": 1, "lstm": 1}  # steps a repeat
WORKS |= {"tape-forward": 30, "tape-forward-backward": 10}
# turns a repeat: one that is over soon sees one mood of a machine that others share
TURNS = {"mlp": 5, "cnn": 2, "tape-forward": 3, "tape-forward-backward": 3}
NETWORKS = [work for work in WORKS if not work.startswith("tape")]
LINKS = 1000  # operations a step of the tape
PAUSE = 0.25  # seconds before a turn: threads of the library before it may spin for so long, on this one's processor
LIBRARIES = ("torch", "mxnet", "jax")
THREADS = [*(f"{name}_NUM_THREADS" for name in ("OMP", "OPENBLAS", "MKL", "NUMBA")), "PJRT_NPROC"]  # XLA's is the last

Row = dict[str, dict[str, float]]  # library -> figures


class Engine:
    """A library in a process of its own, which runs engines/NAME_ROLE.py."""

    def __init__(self, name: str, python: str, role: str = "steps", threads: int = 1) -> None:
        more = dict.fromkeys(THREADS, str(threads))
        if name == "ringtrain":
            more["PYTHONPATH"] = str(HERE.parent)
        command = [python, str(HERE / "engines" / f"{name}_{role}.py")]
        try:
            with _on_one_processor(threads):
                self._job = Job(name, 1, lambda folder: [(command, more)])
        except JobEnded as error:
            raise SystemExit(str(error)) from None
        self.name, self.version = self._job.about["name"], self._job.about["version"]

    def time(self, work: str, repeats: int) -> Any:
        """What engines/serve.py says of one repeat."""
        time.sleep(PAUSE)
        try:
            return self._job.ask(work=work, repeats=repeats)[0]
        except JobEnded as error:
            raise SystemExit(str(error)) from None

    def close(self) -> None:
        self._job.close()


@contextmanager
def _on_one_processor(threads: int) -> Iterator[None]:
    """What is started within has the first processor only, if it is to have one thread.

    Of two processors of a shared machine one is often slower for a while, and a process stays where it is: each library
    would have its own luck.
    """
    here = os.sched_getaffinity(0) if threads == 1 and hasattr(os, "sched_setaffinity") else None
    try:
        if here:
            os.sched_setaffinity(0, {min(here)})
        yield
    finally:
        if here:
            os.sched_setaffinity(0, here)


def measure(work: str, engines: list[Engine], repeats: int) -> Row:
    """The figures of every library that has the work; as "products", of the matrix products of a step alone."""
    runs: dict[str, list[Any]] = {engine.name: [] for engine in engines}
    products = []
    for _ in range(1 + repeats * TURNS.get(work, 1)):
        for engine in engines:
            runs[engine.name].append(engine.time(work, WORKS[work]))
            if engine.name == "ringtrain" and work in NETWORKS:
                products.append(engine.time(f"{work} products", WORKS[work]))
    row = {name: figures(work, answers) for name, answers in runs.items() if "cannot" not in answers[0]}
    if products:
        row["products"] = {"seconds": median(products, "seconds"), "flop": products[0]["flop"]}
    return row


def median(answers: list[dict[str, float]], key: str) -> float:
    """Over all turns but the first."""
    return statistics.median(answer[key] for answer in answers[1:])


def figures(work: str, answers: list[dict[str, float]]) -> dict[str, float]:
    """Memory is that of the first turn, before the process has been asked for anything else."""
    first = answers[0]
    return {
        "seconds": median(answers, "seconds") / (1 if work in NETWORKS else LINKS),
        "cores": median(answers, "cores"),
        "parameters": first["parameters"],
        "first_loss": first["first_loss"],
        "last_loss": first["last_loss"],
        "peak_bytes": first["peak_bytes"],
        "step_bytes": first["peak_bytes"] - first["before_bytes"],
    }


def check(work: str, row: Row, threads: int) -> None:
    """Every library has done the same, with as many processors."""
    counts = {name: int(f["parameters"]) for name, f in row.items() if name != "products"}
    if len(set(counts.values())) > 1:
        raise SystemExit(f"{work}: the networks are not the same, they have {counts} parameters")
    for name in counts:
        first, last, cores = (row[name][key] for key in ("first_loss", "last_loss", "cores"))
        if work in NETWORKS and not last < first:
            raise SystemExit(f"{name} does not learn on {work}: loss {first} -> {last}")
        if cores > threads + 0.5:  # a thread that only hands out work may run beside them
            raise SystemExit(f"{name} keeps {cores:.2f} processors busy on {work}; it was to have {threads} threads")


def show_times(table: dict[str, Row], names: list[str]) -> None:
    print(
        f"{'work':22}" + "".join(f"{name:>13}" for name in names) + f"{'/ fastest peer':>16}{'GEMM':>13}{'/ step':>8}"
    )
    for work, row in table.items():
        unit, scale = ("ms", 1e3) if work in NETWORKS else ("us", 1e6)
        times = {name: f"{f['seconds'] * scale:.3f} {unit}" for name, f in row.items()}
        own, others = row["ringtrain"]["seconds"], [row[name]["seconds"] for name in names[1:] if name in row]
        ratio = f"{own / min(others):.2f}" if others else ""
        share = f"{row['products']['seconds'] / own:.0%}" if "products" in row else ""
        cells = "".join(f"{times.get(name, '-'):>13}" for name in names)
        print(f"{work:22}{cells}{ratio:>16}{times.get('products', ''):>13}{share:>8}".rstrip())


def show_memory(table: dict[str, Row], names: list[str]) -> None:
    if table:
        heads = "".join(f"{name:>13}" for name in names)
        print(f"\n{'MiB: process / steps':22}{heads}{'ringtrain / torch':>20}")
    for work, row in table.items():
        sizes = {name: (row[name]["peak_bytes"], row[name]["step_bytes"]) for name in names if name in row}
        texts = {name: " / ".join(f"{size / 2**20:.0f}" for size in both) for name, both in sizes.items()}
        pairs = zip(sizes["ringtrain"], sizes.get("torch", ()), strict=False)
        ratios = " / ".join(f"{own / other:.2f}" for own, other in pairs)
        cells = "".join(f"{texts.get(name, '-'):>13}" for name in names)
        print(f"{work:22}{cells}{ratios:>20}".rstrip())


def peers(given: list[str]) -> dict[str, str]:
    """name -> Python of every peer asked for, or of those that are installed."""
    if given:
        return dict(item.split("=", 1) for item in given)
    found = {name: PEERS / name / "bin" / "python" for name in LIBRARIES}
    return {name: str(path) for name, path in found.items() if path.exists()}


def run(work: str, libraries: dict[str, str], repeats: int, threads: int) -> tuple[Row, dict[str, str]]:
    """The figures of a work, and the libraries' versions."""
    with ExitStack() as stack:
        engines = [
            stack.enter_context(closing(Engine(name, python, threads=threads))) for name, python in libraries.items()
        ]
        row = measure(work, engines, repeats)
    check(work, row, threads)
    return row, {engine.name: engine.version for engine in engines}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", nargs="+", choices=WORKS, default=list(WORKS))
    parser.add_argument("--peer", action="append", default=[], metavar="NAME=PYTHON", help=f"of {', '.join(LIBRARIES)}")
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--threads", type=int, default=1, help="of every library")
    parser.add_argument("--json", metavar="FILE")
    args = parser.parse_args()
    if args.json and not Path(args.json).absolute().parent.is_dir():
        parser.error(f"--json {args.json}: there is no such folder")
    unknown = [item for item in args.peer if "=" not in item or item.split("=", 1)[0] not in LIBRARIES]
    if args.repeats < 1 or args.threads < 1 or unknown:
        parser.error(
            f"--repeats and --threads must be 1 or more, and --peer NAME=PYTHON, NAME of {', '.join(LIBRARIES)}"
        )
    libraries, table, versions = {"ringtrain": sys.executable, **peers(args.peer)}, {}, {}
    for work in args.work:
        table[work], versions = run(work, libraries, args.repeats, args.threads)
    said = ", ".join(f"{name} {version}" for name, version in versions.items())
    print(f"{platform.machine()}, {os.cpu_count()} cores, {args.threads} thread(s) each; {said}")
    show_times(table, list(versions))
    show_memory({work: row for work, row in table.items() if work in NETWORKS}, list(versions))
    if args.json:
        about = {"machine": platform.machine(), "cores": os.cpu_count(), "threads": args.threads, "versions": versions}
        Path(args.json).write_text(json.dumps({**about, "works": table}, indent=2) + "\n")


if __name__ == "__main__":
    main()
