"""Times an optimiser's step over 14 M parameters in 150 tensors against PyTorch's fused one.

    python benchmarks/optimizers.py                     peer: the one that `make peers` has put under .peers/
    python benchmarks/optimizers.py --peer torch=/path/to/python --threads 2 --json FILE

Each library runs in a process of its own; their turns alternate within each repeat, figures are medians over repeats.
Both start from the same values and must end at the same one. GB/s counts every array that a step has to read or write
once: parameters and state both ways, gradients one way.
"""

from __future__ import annotations

import math
import statistics
from typing import Any

from beside_torch import compare
from engines.optimizer_work import OPTIONS, SHAPES
from training_step import Engine

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


def show(table: dict[str, dict[str, dict[str, float]]], names: list[str]) -> None:
    print(f"{COUNT / 1e6:.2f} M float32 parameters in {len(SHAPES)} tensors")
    print(f"{'work':12}" + "".join(f"{name:>26}" for name in names) + f"{'ringtrain / torch':>20}")
    for work, row in table.items():
        cells = "".join(f"{row[name]['seconds'] * 1e3:>12.2f} ms {row[name]['GB/s']:>6.1f} GB/s" for name in names)
        ratio = f"{row['ringtrain']['seconds'] / row['torch']['seconds']:>20.2f}" if "torch" in row else ""
        print(f"{work:12}{cells}{ratio}")


if __name__ == "__main__":
    compare(__doc__, "work", OPTIONS, "optimizers", measure, show)
