"""Measures collectives in the manner of the OSU benchmarks: median microseconds and bandwidths by size, beside peers.

    python benchmarks/allreduce.py                    allreduce, two ranks, 4 B to 64 MiB, all peers that are there
    python benchmarks/allreduce.py -n 4 --max 256M --verbs all --peers mpi,gloo --json FILE --plot FILE.png

`empty` works on arrays from collectives.empty, as gradient buckets are, `plain` on ordinary ones, agreement headers
included; `mpi` is the same MPI's own collective in the same processes. The peers are jobs of their own (`make peers`
installs them under .peers/): mpich, gloo (PyTorch), mlx (its ring), horovod. `copy` is every rank copying the array,
`copy 1` one rank alone, and `rewrite` every rank reading and writing its array in place: what the memory needs for an
allreduce in place, where a rank reads S/n of n arrays and writes S/n to the same. All that is compared takes turns,
--repeats times, so that the machine's drift falls on all; a turn repeats its call for about 10 ms and is over when the
slowest rank has finished. Every result is checked on every rank before and after: a wrong one ends the run, a peer that
dies is named and left out. Arrays are float32 unless --dtype says otherwise, one thread a rank. algbw is bytes /
seconds; busbw is algbw times 2(n-1)/n (allreduce), (n-1)/n (reduce_scatter, allgather, alltoall), 1 (broadcast): the
rate at which an ideal algorithm's links would run. `x faster` compares with the fastest of the peers in the run.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import platform
import re
import signal
import statistics
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jobs
from jobs import INSTALL, python_of
from turns import Job, JobEnded

TURN = 0.01  # seconds
MOST_CALLS = 500
UNITS = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30}
ITEM = {"float32": 4, "float64": 8, "float16": 2, "bfloat16": 2}
BUSBW = {
    "allreduce": lambda n: 2 * (n - 1) / n,
    "reduce_scatter": lambda n: (n - 1) / n,
    "allgather": lambda n: (n - 1) / n,
    "alltoall": lambda n: (n - 1) / n,
    "broadcast": lambda n: 1.0,
}
OWN = ("empty", "plain")
COPIES = ("copy", "copy 1", "rewrite")
PEERS = ("mpi", *INSTALL)


def parse_size(text: str) -> int:
    found = re.fullmatch(r"(\d+)([KMG]?)", text.upper())
    if not found or int(found[1]) == 0:
        raise argparse.ArgumentTypeError(f"{text!r} is not a size: give bytes, or a number with K, M or G")
    return int(found[1]) * UNITS[found[2]]


def show_size(size: int) -> str:
    unit = next(unit for unit in "GMK " if unit == " " or size >= UNITS[unit])
    return f"{size} B" if unit == " " else f"{size / UNITS[unit]:g} {unit}iB"


def some_of(known: tuple[str, ...], what: str):
    """A parser of comma-separated names, with `all` and `none`."""

    def parse(text: str) -> list[str]:
        names = list(known) if text == "all" else [] if text == "none" else text.split(",")
        if unknown := [name for name in names if name not in known]:
            raise argparse.ArgumentTypeError(f"{unknown[0]!r} is no {what}: {', '.join(known)}, all or none")
        return names

    return parse


class Contestant:
    """One of those who take turns: a name in a job."""

    def __init__(self, job: Job, name: str) -> None:
        self.job, self.name = job, name
        self.out = ""  # why it takes no part any more

    def ask(self, do: str, **more: Any) -> list[dict[str, Any]]:
        return self.job.ask(do=do, contestant=self.name, **more)

    def prepare(self, verb: str, count: int, dtype: str) -> bool:
        """Whether it can do that; if so its result has been checked."""
        if any("cannot" in answer for answer in self.ask("prepare", verb=verb, count=count, dtype=dtype)):
            return False
        self.check()
        return True

    def check(self) -> None:
        wrong = [rank for rank, answer in enumerate(self.ask("check")) if not answer["right"]]
        if wrong:
            raise SystemExit(f"{self.name}: the result is wrong on rank {wrong[0]}")

    def take_turn(self, calls: int) -> float:
        """Seconds a call, on the rank that took longest."""
        return max(answer["seconds"] for answer in self.ask("turn", calls=calls))


@contextlib.contextmanager
def losing(contestants: list[Contestant], one: Contestant) -> Iterator[None]:
    """A peer whose job ends takes no part any more; without our own there is nothing to measure."""
    try:
        yield
    except JobEnded as end:
        if one.job.name == "ringtrain":
            raise SystemExit(str(end)) from None
        for other in contestants:
            if other.job is one.job:
                other.out = str(end)
        print(f"# {end}", file=sys.stderr)


def measure(contestants: list[Contestant], verb: str, size: int, ranks: int, args: argparse.Namespace) -> dict:
    """Median microseconds of each contestant at one size, or the nearest that the ranks can divide."""
    item = ITEM[args.dtype]
    count = size // item if verb in ("allreduce", "broadcast") else max(1, size // (item * ranks)) * ranks
    times: dict[str, list[float]] = {}
    calls: dict[str, int] = {}
    for turn in range(args.repeats + 2):
        for one in contestants:
            if one.out or (turn and one.name not in calls):
                continue
            with losing(contestants, one):
                if turn == 0:
                    if one.prepare(verb, count, args.dtype):
                        calls[one.name] = int(min(MOST_CALLS, max(1, TURN / one.take_turn(1))))
                elif turn <= args.repeats:
                    times.setdefault(one.name, []).append(one.take_turn(calls[one.name]))
                else:
                    one.check()
                    one.ask("drop")
    us = {one.name: statistics.median(times[one.name]) * 1e6 for one in contestants if times.get(one.name)}
    return {"verb": verb, "bytes": count * item, "us": us}


def best_peer(us: dict[str, float]) -> float | None:
    return min((us[name] for name in us if name in PEERS), default=None)


def header(names: list[str]) -> str:
    cells = "".join(f"{name + ' us':>12}" + (f" {'algbw':>7} {'busbw':>7}" if name in OWN else "") for name in names)
    return f"{'size':>9}{cells}   empty, plain x faster"


def line(row: dict[str, Any], names: list[str], ranks: int) -> str:
    us, cells = row["us"], ""
    for name in names:
        cells += f"{us[name]:>12,.1f}" if name in us else f"{'-':>12}"
        if name in OWN:
            algbw = row["bytes"] / us[name] / 1e3  # GB/s
            cells += f" {algbw:>7.2f} {algbw * BUSBW[row['verb']](ranks):>7.2f}"
    best = best_peer(us)
    ratios = "".join(f"{best / us[name]:>9.2f}" for name in OWN) if best else ""
    return f"{show_size(row['bytes']):>9}{cells}   {ratios}"


def start(peers: list[str], ranks: int) -> list[Job]:
    """Our own job, and those of the peers that are there."""
    try:
        started = [jobs.start("ringtrain", ranks)]
    except JobEnded as end:
        raise SystemExit(str(end)) from None
    for peer in peers:
        if peer == "mpi":
            continue
        if not python_of(peer).exists():
            print(f"# {peer} is not installed and left out: {INSTALL[peer]}", file=sys.stderr)
            continue
        try:
            started.append(jobs.start(peer, ranks))
        except JobEnded as end:
            print(f"# {end}", file=sys.stderr)
    return started


def run(args: argparse.Namespace, started: list[Job]) -> dict[str, Any]:
    wanted = {*OWN, *COPIES, *args.peers}
    contestants = [Contestant(job, name) for job in started for name in job.about["contestants"] if name in wanted]
    versions = {job.name: job.about["version"] for job in started}
    about = {"ranks": args.ranks, "cores": os.cpu_count(), "machine": platform.machine(), "dtype": args.dtype}
    print(f"{args.dtype}, {args.ranks} ranks on {about['cores']} cores ({about['machine']}), bandwidths in GB/s")
    print("; ".join(f"{'mpi' if name == 'ringtrain' else name}: {version}" for name, version in versions.items()))
    rows = []
    for verb in args.verbs:
        names = [one.name for one in contestants if verb == "allreduce" or one.name not in COPIES]
        print(f"{verb}{', in place' if verb in ('allreduce', 'broadcast') else ''}\n{header(names)}", flush=True)
        size = max(args.min, ITEM[args.dtype])
        while size <= args.max:
            rows.append(measure(contestants, verb, size, args.ranks, args))
            print(line(rows[-1], names, args.ranks), flush=True)
            size *= args.factor
    for row in rows:
        row["algbw"] = {name: row["bytes"] / us / 1e3 for name, us in row["us"].items()}
        row["busbw"] = {name: gb * BUSBW[row["verb"]](args.ranks) for name, gb in row["algbw"].items()}
    return {**about, "versions": versions, "rows": rows}


def plot(found: dict[str, Any], path: str) -> None:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    rows = [row for row in found["rows"] if row["verb"] == found["rows"][0]["verb"]]
    labels = {
        "empty": "ringtrain, collectives.empty",
        "plain": "ringtrain, ordinary arrays",
        "copy": "all ranks copying it",
    }
    labels |= {"copy 1": "one rank copying it", "rewrite": "all ranks rewriting it in place"}
    labels["mpi"] = found["versions"]["ringtrain"]
    figure, axes = pyplot.subplots(figsize=(7, 4.5), layout="constrained")
    for name in dict.fromkeys(name for row in rows for name in row["us"]):
        points = [(row["bytes"], row["us"][name]) for row in rows if name in row["us"]]
        style = ":" if name in COPIES else "o-" if name in OWN else ".--"
        axes.plot(*zip(*points, strict=True), style, markersize=4, label=labels.get(name, name))
    axes.set_xscale("log", base=2)
    axes.set_yscale("log")
    sizes = [row["bytes"] for row in rows][:: max(1, len(rows) // 8)]
    axes.set_xticks(sizes, [show_size(size) for size in sizes], rotation=45)
    title = f"{rows[0]['verb']}, {found['dtype']}, {found['ranks']} ranks on one host of {found['cores']} cores"
    axes.set(xlabel="bytes", ylabel="microseconds", title=title)
    axes.grid(alpha=0.3)
    axes.legend(fontsize=8)
    figure.savefig(path, dpi=120)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-n", "--ranks", type=int, default=2)
    parser.add_argument("--min", type=parse_size, default="4", metavar="SIZE")
    parser.add_argument("--max", type=parse_size, default="64M", metavar="SIZE")
    parser.add_argument("--factor", type=int, default=4, help="between sizes (default: 4)")
    verbs = some_of(tuple(BUSBW), "verb")
    parser.add_argument("--verbs", type=verbs, default="allreduce", help=f"{', '.join(BUSBW)}, or all")
    peers = some_of(PEERS, "peer")
    parser.add_argument("--peers", type=peers, default="all", help=f"{', '.join(PEERS)}, all (default) or none")
    parser.add_argument("--dtype", choices=ITEM, default="float32")
    parser.add_argument("--repeats", type=int, default=11)
    parser.add_argument("--json", metavar="FILE")
    parser.add_argument("--plot", metavar="FILE.png")
    args = parser.parse_args()
    if args.ranks < 2 or args.factor < 2 or args.repeats < 1 or not args.verbs:
        parser.error("ranks and factor must be 2 or more, repeats 1 or more, and there must be a verb")
    for file in filter(None, (args.json, args.plot)):
        if not Path(file).absolute().parent.is_dir():
            parser.error(f"{file}: there is no such folder")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that the jobs are ended
    started = start(args.peers, args.ranks)
    try:
        found = run(args, started)
    finally:
        for job in started:
            job.close()
    if args.json:
        Path(args.json).write_text(json.dumps(found, indent=2) + "\n")
    if args.plot:
        plot(found, args.plot)


if __name__ == "__main__":
    main()
