"""Measures how training scales with the number of ranks: images a second, efficiency, time in communication.

    python benchmarks/scaling.py                              the CNN at 1 and 2 ranks
    python benchmarks/scaling.py --model mlp --ranks 1 2 4 --mode strong --json FILE --plot FILE.png

Weak scaling gives every rank --batch-size images a step; strong scaling shares them out among the ranks. Efficiency is
images a second over those of one rank, times the number of ranks (Megatron-LM and Horovod report it so). Runs of
different numbers of ranks alternate, --repeats times, and medians are shown: the machine's drift then falls on all.
Communication is the time in which step() waits for gradients: what backward did not hide. Data is random and made
once, so that only training is measured; one thread a rank.
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

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
STEPS = {"mlp": 300, "cnn": 100, "lenet": 10}
WINDOWS = 10  # a run's figures are medians over so many parts: a hiccup of the machine spoils one of them


def worker(args: argparse.Namespace) -> None:
    """One rank's part of one run; rank 0 writes the figures."""
    import ringtrain as rt

    sys.path.insert(0, str(ROOT / "models"))
    import mnist

    rt.init()
    batch = args.batch_size if args.mode == "weak" else args.batch_size // rt.size()
    rt.seed(0)
    net = mnist.MODELS[args.model](28)
    optimizer = rt.DistributedOptimizer(rt.optim.Adam(net.parameters()), net.named_parameters())
    rng = np.random.default_rng(rt.rank())
    data = [
        (rt.from_numpy(rng.random((batch, 1, 28, 28), np.float32)), rt.from_numpy(rng.integers(0, 10, batch)))
        for _ in range(4)
    ]

    def run(steps: int) -> tuple[float, float]:
        """Seconds of these steps from the first rank's start to the last one's end, and seconds waited in them."""
        rt.barrier()
        waited, start = 0.0, time.perf_counter()
        for i in range(steps):
            x, y = data[i % 4]
            optimizer.zero_grad()
            rt.nn.cross_entropy(net(x), y).backward()
            before = time.perf_counter()
            optimizer.synchronize()
            waited += time.perf_counter() - before
            optimizer.step()
        rt.barrier()
        return time.perf_counter() - start, waited

    run(5)
    steps = max(1, (args.steps or STEPS[args.model]) // WINDOWS)
    windows = [run(steps) for _ in range(WINDOWS)]
    seconds = statistics.median(s for s, _ in windows)
    waited = rt.allreduce(np.array([statistics.median(w for _, w in windows)]), rt.Average).item()
    if rt.rank() == 0:
        figures = {"images_per_second": batch * rt.size() * steps / seconds, "communication": waited / seconds}
        Path(args.worker).write_text(json.dumps(figures))
    rt.shutdown()


def measure(args: argparse.Namespace, ranks: int) -> dict[str, float]:
    """One run of that many ranks."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "figures.json"
        launch = [sys.executable, "-m", "ringtrain", "run", "-n", str(ranks), "--threads", "1"]
        options = ["--model", args.model, "--mode", args.mode, "--batch-size", str(args.batch_size)]
        options += ["--steps", str(args.steps)] if args.steps else []
        single = {f"{name}_NUM_THREADS": "1" for name in ("OMP", "OPENBLAS", "MKL", "NUMBA")}
        command = [*launch, __file__, "--worker", str(out), *options]
        status = subprocess.run(command, env=os.environ | single).returncode
        if status or not out.exists():
            raise SystemExit(f"the run of {ranks} ranks failed with status {status}: {' '.join(command)}")
        return json.loads(out.read_text())


def scale(args: argparse.Namespace) -> list[dict[str, float]]:
    """A row for each number of ranks: medians, and the ratio to one rank taken within each repeat."""
    runs: dict[int, list[dict[str, float]]] = {n: [] for n in args.ranks}
    for _ in range(args.repeats):
        for n in args.ranks:
            runs[n].append(measure(args, n))
    base = args.ranks[0]
    rows = []
    for n in args.ranks:
        speedup = statistics.median(
            a["images_per_second"] / b["images_per_second"] for a, b in zip(runs[n], runs[base], strict=True)
        )
        row = {key: statistics.median(r[key] for r in runs[n]) for key in runs[n][0]}
        rows.append({"ranks": n, **row, "speedup": speedup, "efficiency": speedup * base / n})
    return rows


def show(rows: list[dict[str, float]], args: argparse.Namespace) -> None:
    print(
        f"{args.model}, {args.mode} scaling, {args.batch_size} images {'a rank' if args.mode == 'weak' else 'in all'}, "
        f"one thread a rank, {os.cpu_count()} cores ({platform.machine()})"
    )
    print(f"{'ranks':>5} {'images/s':>12} {'speed-up':>9} {'efficiency':>11} {'communication':>14}")
    for r in rows:
        print(
            f"{r['ranks']:>5} {r['images_per_second']:>12,.0f} {r['speedup']:>9.2f} {r['efficiency']:>11.1%} "
            f"{r['communication']:>14.1%}"
        )


def plot(rows: list[dict[str, float]], args: argparse.Namespace, path: str) -> None:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    ranks = [r["ranks"] for r in rows]
    figure, axes = pyplot.subplots(figsize=(6, 4), layout="constrained")
    axes.plot(ranks, [n / ranks[0] * rows[0]["images_per_second"] for n in ranks], "--", color="grey", label="ideal")
    axes.plot(ranks, [r["images_per_second"] for r in rows], "o-", label=f"ringtrain, {args.model}")
    for r in rows:
        place = (r["ranks"], r["images_per_second"])
        axes.annotate(f"{r['efficiency']:.0%}", place, textcoords="offset points", xytext=(6, -12))
    axes.set(xlabel="ranks", ylabel="images a second", xticks=ranks, title=f"{args.mode.capitalize()} scaling")
    axes.margins(x=0.15)
    axes.set_ylim(bottom=0)
    axes.legend()
    figure.savefig(path, dpi=120)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", choices=STEPS, default="cnn")
    parser.add_argument("--ranks", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--mode", choices=["weak", "strong"], default="weak")
    parser.add_argument("--batch-size", type=int, default=128)
    parser.add_argument("--steps", type=int, help="steps a run (default: by model)")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--json", metavar="FILE")
    parser.add_argument("--plot", metavar="FILE.png", default=None)
    parser.add_argument("--worker", metavar="FILE", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.json and not Path(args.json).absolute().parent.is_dir():
        parser.error(f"--json {args.json}: there is no such folder")
    if min(*args.ranks, args.batch_size, args.repeats, args.steps or 1) < 1:
        parser.error("ranks, batch size, repeats and steps must be 1 or more")
    if args.mode == "strong" and any(args.batch_size % n for n in args.ranks):
        parser.error(f"strong scaling shares {args.batch_size} images: every number of ranks must divide them")
    if args.worker:
        worker(args)
        return
    rows = scale(args)
    show(rows, args)
    if args.json:
        about = {"model": args.model, "mode": args.mode, "batch_size": args.batch_size, "cores": os.cpu_count()}
        Path(args.json).write_text(json.dumps({**about, "rows": rows}, indent=2) + "\n")
    if args.plot:
        plot(rows, args, args.plot)


if __name__ == "__main__":
    main()
