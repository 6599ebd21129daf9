"""Measures allreduce in the manner of the OSU benchmarks: median microseconds, algbw and busbw by size.

    python benchmarks/allreduce.py                          two ranks, 4 B to 64 MiB, with MPI_Allreduce beside
    python benchmarks/allreduce.py -n 4 --max 256M --peers none --json FILE --plot FILE.png

Float32 sums in place, agreement headers included. `empty` reduces arrays from `collectives.empty`, `plain` ordinary
ones, `mpi` is what mpi4py's Allreduce takes with the same MPI in the same processes. What is compared takes turns,
--repeats times, so that the machine's drift falls on all; a turn repeats its call for about 10 ms, and is over when
the slowest rank has finished. algbw is bytes / seconds, busbw is algbw * 2(n-1)/n: the rate at which an ideal ring's
links would run. Every turn's result is checked on every rank. One thread a rank.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

TURN = 0.01  # seconds
MOST_CALLS = 500
UNITS = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30}


def parse_size(text: str) -> int:
    found = re.fullmatch(r"(\d+)([KMG]?)", text.upper())
    if not found or int(found[1]) == 0:
        raise argparse.ArgumentTypeError(f"{text!r} is not a size: give bytes, or a number with K, M or G")
    return max(4, int(found[1]) * UNITS[found[2]])


def show_size(size: int) -> str:
    unit = next(unit for unit in "GMK " if unit == " " or size >= UNITS[unit])
    return f"{size} B" if unit == " " else f"{size / UNITS[unit]:g} {unit}iB"


Contestants = dict[str, tuple[Callable[[int], np.ndarray], Callable[[np.ndarray], Any]]]


def contestants(peers: list[str]) -> Contestants:
    """By name: what makes an array of so many items, and what sums it over the ranks in place."""
    import collectives as c

    found: Contestants = {
        "empty": (c.empty, lambda x: c.allreduce_(x, c.Sum)),
        "plain": (lambda count: np.empty(count, np.float32), lambda x: c.allreduce_(x, c.Sum)),
    }
    if "mpi" in peers:
        from mpi4py import MPI

        comm = MPI.COMM_WORLD.Dup()
        found["mpi"] = (lambda count: np.empty(count, np.float32), lambda x: comm.Allreduce(MPI.IN_PLACE, x))
    return found


def check(reduce: Callable[[np.ndarray], Any], x: np.ndarray, name: str) -> None:
    """Sum numbers that float32 adds exactly and that differ on every rank and at every item."""
    import collectives as c

    pattern = np.arange(x.size, dtype=np.float32) % 1021
    x[...] = pattern + c.rank()
    reduce(x)
    pattern *= c.size()
    pattern += c.size() * (c.size() - 1) // 2
    if not np.array_equal(x, pattern):
        raise SystemExit(f"{name}: the sum of {x.size} items is wrong on rank {c.rank()}")


def turn(reduce: Callable[[np.ndarray], Any], x: np.ndarray, calls: int) -> float:
    """Seconds a call, on the rank that took longest."""
    import collectives as c

    x[...] = 0  # sums of sums would overflow, and take longer
    c.barrier()
    start = time.perf_counter()
    for _ in range(calls):
        reduce(x)
    return float(c.allreduce(np.float64(time.perf_counter() - start), c.Max)) / calls


def measure(size: int, compared: Contestants, repeats: int) -> dict[str, float]:
    """Median microseconds of each contestant at one size."""
    import collectives as c

    entered = {name: (reduce, make(size // 4)) for name, (make, reduce) in compared.items()}
    calls = {}
    for name, (reduce, x) in entered.items():
        check(reduce, x, name)
        once = turn(reduce, x, 1)
        calls[name] = int(c.broadcast(np.int64(min(MOST_CALLS, max(1, TURN / once))), 0))
    times: dict[str, list[float]] = {name: [] for name in entered}
    for _ in range(repeats):
        for name, (reduce, x) in entered.items():
            times[name].append(turn(reduce, x, calls[name]))
    for name, (reduce, x) in entered.items():
        check(reduce, x, name)
    return {name: statistics.median(values) * 1e6 for name, values in times.items()}


def worker(args: argparse.Namespace) -> None:
    """One rank; rank 0 shows and writes the figures."""
    import collectives as c

    c.init()
    about = {"ranks": c.size(), "cores": os.cpu_count(), "machine": platform.machine(), "mpi": mpi_version()}
    names = ["empty", "plain", *args.peers]
    if c.rank() == 0:
        print(
            f"allreduce, float32, in place, {c.size()} ranks on {about['cores']} cores "
            f"({about['machine']}), {about['mpi']}"
        )
        header = "".join(f"{name + ' us':>12} {'algbw':>8} {'busbw':>8}" for name in names)
        print(f"{'size':>9} {header}   bandwidths in GB/s", flush=True)
    rows: list[dict[str, float]] = []
    compared = contestants(args.peers)
    size = args.min
    while size <= args.max:
        median = measure(size, compared, args.repeats)
        rows.append({"bytes": size, **median})
        if c.rank() == 0:
            print(f"{show_size(size):>9} " + "".join(cells(size, median[name], c.size()) for name in names), flush=True)
        size *= args.factor
    if c.rank() == 0:
        Path(args.worker).write_text(json.dumps({**about, "rows": rows}, indent=2) + "\n")
    c.shutdown()


def cells(size: int, microseconds: float, ranks: int) -> str:
    algbw = size / microseconds / 1e3  # GB/s
    return f"{microseconds:>12,.1f} {algbw:>8.2f} {algbw * 2 * (ranks - 1) / ranks:>8.2f}"


def mpi_version() -> str:
    from mpi4py import MPI

    return " ".join(re.split(r"[,\n]", MPI.Get_library_version())[0].strip("\0 ").split())


def plot(found: dict[str, Any], path: str) -> None:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    labels = {
        "empty": "arrays from collectives.empty",
        "plain": "ordinary arrays",
        "mpi": f"Allreduce of {found['mpi']}",
    }
    figure, axes = pyplot.subplots(figsize=(7, 4.5), layout="constrained")
    sizes = [row["bytes"] for row in found["rows"]]
    for name, label in labels.items():
        if name in found["rows"][0]:
            axes.loglog(sizes, [row[name] for row in found["rows"]], "o-", markersize=3, label=label, base=2)
    axes.set_yscale("log", base=10)
    axes.set_xticks(sizes[::2], [show_size(size) for size in sizes[::2]], rotation=45)
    axes.set(xlabel="bytes", ylabel="microseconds", title=f"allreduce, float32, {found['ranks']} ranks on one host")
    axes.grid(alpha=0.3)
    axes.legend()
    figure.savefig(path, dpi=120)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-n", "--ranks", type=int, default=2)
    parser.add_argument("--min", type=parse_size, default="4", metavar="SIZE")
    parser.add_argument("--max", type=parse_size, default="64M", metavar="SIZE")
    parser.add_argument("--factor", type=int, default=4, help="between sizes (default: 4)")
    parser.add_argument("--peers", choices=["mpi", "none"], default="mpi", help="what to compare with (default: mpi)")
    parser.add_argument("--repeats", type=int, default=15)
    parser.add_argument("--json", metavar="FILE")
    parser.add_argument("--plot", metavar="FILE.png")
    parser.add_argument("--worker", metavar="FILE", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.ranks < 2 or args.factor < 2 or args.repeats < 1:
        parser.error("ranks and factor must be 2 or more, repeats 1 or more")
    args.peers = [] if args.peers == "none" else [args.peers]
    if args.worker:
        worker(args)
        return
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "figures.json"
        launch = [sys.executable, "-m", "ringtrain", "run", "-n", str(args.ranks), "--threads", "1"]
        status = subprocess.run([*launch, __file__, "--worker", str(out), *sys.argv[1:]]).returncode
        if status or not out.exists():
            raise SystemExit(f"the run of {args.ranks} ranks failed with status {status}")
        text = out.read_text()
    if args.json:
        Path(args.json).write_text(text)
    if args.plot:
        plot(json.loads(text), args.plot)


if __name__ == "__main__":
    main()
