"""Times an optimiser's step over 14 M parameters in 150 tensors against PyTorch's fused one.

    python benchmarks/optimizers.py                     peer: the one that `make peers` has put under .peers/
    python benchmarks/optimizers.py --peer torch=/path/to/python --threads 2 --json FILE

Each library runs in a process of its own; their turns alternate within each repeat, figures are medians over repeats.
Both start from the same values and must end at the same one. GB/s counts every array that a step has to read or write
once: parameters and state both ways, gradients one way.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import platform
import statistics
import sys
from pathlib import Path
from typing import Any

from engines.optimizer_work import OPTIONS, SHAPES
from training_step import Engine, peers

STEPS = 5  # a repeat
STREAMS = {"sgd": 3, "momentum": 5, "adam": 7, "adamw": 7}  # arrays read or written
COUNT = sum(math.prod(shape) for shape in SHAPES)


def measure(engines: list[Engine], works: list[str], repeats: int) -> dict[str, dict[str, dict[str, float]]]:
    """work -> library -> median seconds and GB/s."""
    table: dict[str, dict[str, dict[str, float]]] = {}
    for work in works:
        runs: dict[str, list[Any]] = {e.name: [] for e in engines}
        for _ in range(repeats + 1):
            for engine in engines:
                runs[engine.name].append(engine.time(work, STEPS))
        ends = {name: answers[-1]["loss"] for name, answers in runs.items()}
        if max(ends.values()) - min(ends.values()) > 1e-5 * (1 + abs(ends["ringtrain"])):
            raise SystemExit(f"{work}: the libraries do not end at the same value: {ends}")
        for name, (_, *answers) in runs.items():
            seconds = statistics.median(a["seconds"] for a in answers)
            figures = {"seconds": seconds, "GB/s": STREAMS[work] * 4 * COUNT / seconds / 1e9}
            table.setdefault(work, {})[name] = figures
    return table


def show(table: dict[str, dict[str, dict[str, float]]], engines: list[Engine], threads: int) -> None:
    versions = ", ".join(f"{e.name} {e.version}" for e in engines)
    print(f"{platform.machine()}, {os.cpu_count()} cores, {threads} thread(s); {versions}")
    print(f"{COUNT / 1e6:.2f} M float32 parameters in {len(SHAPES)} tensors")
    print(f"{'work':12}" + "".join(f"{e.name:>26}" for e in engines) + f"{'ringtrain / torch':>20}")
    for work, row in table.items():
        cells = "".join(f"{row[e.name]['seconds'] * 1e3:>12.2f} ms {row[e.name]['GB/s']:>6.1f} GB/s" for e in engines)
        ratio = f"{row['ringtrain']['seconds'] / row['torch']['seconds']:>20.2f}" if "torch" in row else ""
        print(f"{work:12}{cells}{ratio}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", nargs="+", choices=OPTIONS, default=list(OPTIONS))
    parser.add_argument("--peer", action="append", default=[], metavar="NAME=PYTHON", help="torch=...")
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--json", metavar="FILE")
    args = parser.parse_args()
    if args.json and not Path(args.json).absolute().parent.is_dir():
        parser.error(f"--json {args.json}: there is no such folder")
    if args.repeats < 1 or args.threads < 1 or any(not item.startswith("torch=") for item in args.peer):
        parser.error("--repeats and --threads must be 1 or more, and --peer torch=PYTHON")
    found = {name: python for name, python in peers(args.peer).items() if name == "torch"}
    engines = [
        Engine(name, python, "optimizers", args.threads)
        for name, python in {"ringtrain": sys.executable, **found}.items()
    ]
    try:
        table = measure(engines, args.work, args.repeats)
    finally:
        for engine in engines:
            engine.close()
    show(table, engines, args.threads)
    if args.json:
        machine = {"machine": platform.machine(), "cores": os.cpu_count(), "threads": args.threads}
        versions = {e.name: e.version for e in engines}
        Path(args.json).write_text(json.dumps({**machine, "versions": versions, "works": table}, indent=2) + "\n")


if __name__ == "__main__":
    main()
