"""Measures how close an allreduce between hosts comes to what the wire allows, on simulated hosts. Needs root.

    sudo .venv/bin/python benchmarks/between_hosts.py                       2 hosts, 2 ranks each, 1 Gbit/s
    sudo .venv/bin/python benchmarks/between_hosts.py -H 3 --ranks 1 --rate 10gbit --max 64M --json FILE

With H hosts and an array of S bytes no algorithm sends less than 2(H-1)/H S bytes from a host, in either direction;
that over the rate of its link is the bound. Times are medians, over repetitions, of the slowest rank's, from a barrier
on. Bytes are those of the Ethernet frames that the busiest host has sent, by its interface's counter, headers of every
kind included. float32 and bfloat16 arrays of the same number of items take turns; every result is checked.

A simulated link lets a millisecond's worth of bytes pass at once after a pause, which flatters arrays of not much more
than that (125 KB at 1 Gbit/s). All hosts share this machine's processors: what else runs there shows in the times, and
how busy the processors were before and after is printed with them.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np

ROOT = Path(__file__).resolve().parents[1]
DTYPES = {"float32": np.dtype("f4"), "bfloat16": np.dtype(ml_dtypes.bfloat16)}
UNITS = {"K": 1 << 10, "M": 1 << 20, "G": 1 << 30}
RATES = {"kbit": 1e3, "mbit": 1e6, "gbit": 1e9}
MOST = 256  # to here every integer is a bfloat16: the sums that are checked are exact


def worker(args: argparse.Namespace) -> None:
    """One rank's part; rank 0 writes the rows."""
    import collectives as c

    c.init(timeout=60)
    if 7 * c.size() + c.size() ** 2 // 2 > MOST:
        raise SystemExit(f"{c.size()} ranks: the sums that are checked would not be exact in bfloat16")
    rows = []
    for count in sizes(args.min // 4, args.max // 4):
        taken: dict[str, list[tuple[float, int]]] = {name: [] for name in DTYPES}
        arrays = {name: c.empty(count, dtype) for name, dtype in DTYPES.items()}
        for turn in range(args.repeats + 1):  # the first is not counted
            for name, array in arrays.items():
                figures = measure(c, array)
                if turn:
                    taken[name].append(figures)
        for name, figures in taken.items():
            seconds, sent = (statistics.median(column) for column in zip(*figures, strict=True))
            rows.append({"dtype": name, "items": count, "bytes": arrays[name].nbytes, "seconds": seconds, "sent": sent})
    if c.rank() == 0:
        Path(args.worker).write_text(json.dumps(rows))


def measure(c: Any, array: np.ndarray) -> tuple[float, int]:
    """Seconds of one allreduce on the slowest rank, and the bytes that the busiest host sent for it."""
    pattern = np.arange(array.size) % 7
    array[...] = (pattern + c.rank()).astype(array.dtype)
    c.barrier()
    time.sleep(0.005)  # until what the barrier sent is through
    before, start = sent(), time.perf_counter()
    c.allreduce_(array, c.Sum)
    seconds = time.perf_counter() - start
    time.sleep(0.005)
    more = sent() - before
    n = c.size()
    if not (array.astype("f4") == n * pattern + n * (n - 1) // 2).all():
        raise SystemExit(f"rank {c.rank()}: the sum of {array.dtype}[{array.size}] is wrong")
    every = c.allgather(np.array([[seconds, more]]))
    return float(every[:, 0].max()), int(every[:, 1].max())


def sent() -> int:
    """What this host's interface has sent by now, in bytes."""
    lines = Path("/proc/net/dev").read_text().splitlines()
    return next(int(line.split()[9]) for line in lines if "eth0:" in line)


def sizes(least: int, most: int) -> list[int]:
    found = [least]
    while found[-1] * 4 <= most:
        found.append(found[-1] * 4)
    return found


def launch(args: argparse.Namespace) -> list[dict[str, Any]]:
    """The rows that a job on simulated hosts has measured, each with its bound."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder, "rows")
        hosts = [sys.executable, str(ROOT / "launch" / "simulated-hosts"), "-H", args.hosts, "--rate", args.rate]
        where = ",".join(f"h{host}:{args.ranks}" for host in range(args.hosts))
        job = [sys.executable, "-m", "ringtrain", "run", "--hosts", where, "--threads", 1, __file__, "--worker", out]
        own = ["--min", args.min, "--max", args.max, "--repeats", args.repeats]
        command = [*hosts, "--mtu", args.mtu, "--", *job, *own]
        done = subprocess.run(list(map(str, command)), cwd=ROOT)
        if done.returncode:
            raise SystemExit(done.returncode)
        rows = json.loads(out.read_text())
    rate = bytes_per_second(args.rate)
    for row in rows:
        least = 2 * (args.hosts - 1) / args.hosts * row["bytes"]
        row |= {"bound": least / rate, "ratio": row["seconds"] * rate / least, "sent_ratio": row["sent"] / least}
    by_kind = {(row["dtype"], row["items"]): row["seconds"] for row in rows}
    for row in rows:
        row["of_float32"] = row["seconds"] / by_kind["float32", row["items"]]
    return rows


def busy() -> float:
    """The share of a second that this machine's processors are at work."""

    def ticks() -> np.ndarray:
        return np.array(Path("/proc/stat").read_text().split("\n")[0].split()[1:9], np.int64)

    before = ticks()
    time.sleep(1)
    passed = ticks() - before
    return 1 - float(passed[3:5].sum() / passed.sum())  # idle, and waiting for a disk


def bytes_per_second(rate: str) -> float:
    return float(rate[:-4]) * RATES[rate[-4:].lower()] / 8


def table(rows: list[dict[str, Any]]) -> str:
    titles = f"{'ms':>9} {'bound ms':>9} {'x bound':>8} {'sent x least':>13} {'of float32':>11}"
    lines = [f"{'dtype':>10} {'bytes':>12} {titles}"]
    for row in rows:
        times = f"{row['seconds'] * 1e3:9.2f} {row['bound'] * 1e3:9.2f} {row['ratio']:8.3f}"
        rest = f"{row['sent_ratio']:13.4f} {row['of_float32']:11.3f}"
        lines.append(f"{row['dtype']:>10} {row['bytes']:12,} {times} {rest}")
    return "\n".join(lines)


def nbytes(text: str) -> int:
    unit = UNITS.get(text[-1:].upper())
    return int(text[:-1]) * unit if unit else int(text)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-H", "--hosts", type=int, default=2, help="how many (default 2)")
    parser.add_argument("--ranks", type=int, default=2, help="on each host (default 2)")
    parser.add_argument("--rate", default="1gbit", help="of a host's link in each direction (default 1gbit)")
    parser.add_argument("--mtu", type=int, default=9000, help="bytes of the largest packet (default 9000)")
    parser.add_argument("--min", type=nbytes, default="64K", help="least float32 array (default 64K)")
    parser.add_argument("--max", type=nbytes, default="16M", help="largest float32 array; each is 4 times the last")
    parser.add_argument("--repeats", type=int, default=7, help="counted repetitions (default 7)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures")
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.hosts < 2:
        parser.error("-H: at least 2 hosts have a network between them")
    if args.worker:
        worker(args)
        return
    busy_before = busy()
    rows = launch(args)
    busy_after = busy()
    print(f"{args.hosts} hosts of {args.ranks} ranks, {args.rate} each way, packets of {args.mtu} bytes")
    print(f"processors busy with other things: {busy_before:.0%} before, {busy_after:.0%} after")
    print(table(rows))
    if args.json:
        load = {"cores": os.cpu_count(), "busy_before": busy_before, "busy_after": busy_after}
        machine = {"machine": platform.machine(), "system": platform.platform(), "python": platform.python_version()}
        setup = {name: getattr(args, name) for name in ("hosts", "ranks", "rate", "mtu", "repeats")}
        args.json.write_text(json.dumps({**machine, **load, **setup, "rows": rows}, indent=1) + "\n")


if __name__ == "__main__":
    main()
