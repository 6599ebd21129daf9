"""Times ops, forward and backward, against PyTorch.

    python benchmarks/ops.py                            peer: the one that `make peers` has put under .peers/
    python benchmarks/ops.py --op gelu softmax --peer torch=/path/to/python --threads 2 --json FILE

Each library runs in a process of its own; their turns alternate within each repeat, so that the ratios hold where the
machine's speed drifts. Figures are medians over the repeats. Both get the same numbers, and must give the same
gradient. The shapes are in engines/op_work.py: a million elements for elementwise ops.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import sys
from pathlib import Path

from engines.op_work import SHAPES
from training_step import Engine, peers

TURN = 0.04  # seconds of a turn, so that what a turn begins with, cold caches, does not count
RANDOM = {"dropout"}  # whose gradients need not be the same

Table = dict[str, dict[str, float]]


def measure(engines: list[Engine], ops: list[str], repeats: int) -> Table:
    """op -> library -> median seconds of forward and backward."""
    table: Table = {}
    for op in ops:
        runs: dict[str, list[dict[str, float]]] = {e.name: [e.time(op, 3)] for e in engines}
        slowest = max(answers[0]["seconds"] for answers in runs.values())
        for _ in range(repeats):
            for engine in engines:
                runs[engine.name].append(engine.time(op, max(3, round(TURN / slowest))))
        ends = [answers[-1]["loss"] for answers in runs.values()]
        if op not in RANDOM and max(ends) - min(ends) > 1e-3 * (1 + max(map(abs, ends))):
            raise SystemExit(f"{op}: the libraries do not give the same gradient: {dict(zip(runs, ends, strict=True))}")
        table[op] = {name: statistics.median(a["seconds"] for a in answers[1:]) for name, answers in runs.items()}
    return table


def show(table: Table, engines: list[Engine], threads: int) -> None:
    print(
        f"{platform.machine()}, {os.cpu_count()} cores, {threads} thread(s); "
        + ", ".join(f"{e.name} {e.version}" for e in engines)
    )
    print(f"{'op':22}" + "".join(f"{e.name:>14}" for e in engines) + f"{'ringtrain / torch':>20}")
    for op, row in table.items():
        cells = "".join(f"{row[e.name] * 1e3:>11.3f} ms" for e in engines)
        print(f"{op:22}{cells}" + (f"{row['ringtrain'] / row['torch']:>20.2f}" if "torch" in row else ""))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--op", nargs="+", choices=SHAPES, default=list(SHAPES))
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
    engines: list[Engine] = []
    try:
        for name, python in {"ringtrain": sys.executable, **found}.items():
            engines.append(Engine(name, python, "ops", args.threads))
        table = measure(engines, args.op, args.repeats)
    finally:
        for engine in engines:
            engine.close()
    show(table, engines, args.threads)
    if args.json:
        machine = {"machine": platform.machine(), "cores": os.cpu_count(), "threads": args.threads}
        versions = {e.name: e.version for e in engines}
        Path(args.json).write_text(json.dumps({**machine, "versions": versions, "ops": table}, indent=2) + "\n")


if __name__ == "__main__":
    main()
