"""Times ops, forward and backward, against PyTorch.

    python benchmarks/ops.py                            peer: the one that `make peers` has put under .peers/
    python benchmarks/ops.py --op gelu softmax --peer torch=/path/to/python --threads 2 --json FILE

Each library runs in a process of its own; their turns alternate within each repeat, so that the ratios hold where the
machine's speed drifts. Figures are medians over the repeats. Both get the same numbers, and must give the same
gradient. The shapes are in engines/op_work.py: a million elements for elementwise ops.
"""

from __future__ import annotations

import statistics

from beside_torch import compare
from engines.op_work import SHAPES
from training_step import Engine

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


def show(table: Table, names: list[str]) -> None:
    print(f"{'op':22}" + "".join(f"{name:>14}" for name in names) + f"{'ringtrain / torch':>20}")
    for op, row in table.items():
        cells = "".join(f"{row[name] * 1e3:>11.3f} ms" for name in names)
        print(f"{op:22}{cells}" + (f"{row['ringtrain'] / row['torch']:>20.2f}" if "torch" in row else ""))


if __name__ == "__main__":
    compare(__doc__, "op", SHAPES, "ops", measure, show)
