"""Measure this machine.

  ringtrain bench tune                   where one way of moving data becomes quicker than another, for later jobs
  ringtrain bench allreduce [options]    the collectives beside other libraries (from a checkout; so are the rest)
  ringtrain bench training_step [options]
  ringtrain bench optimizers [options]
  ringtrain bench ops [options]
  ringtrain bench loading [options]
  ringtrain bench scaling [options]

Each has its --help. `tune` stores what it finds in the user's cache folder ($XDG_CACHE_HOME or ~/.cache, in
ringtrain/tuning.json), for this host, its processor, that number of ranks on it and that MPI; jobs like it start from
there. Results of collectives are the same bits with it and without. Delete the file to go back to the defaults.
"""

import argparse
import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ringtrain.cli import worker
from ringtrain.cli.errors import UsageError

SUMMARY = "measure this machine: tune, or a benchmark of the checkout"

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"
PROGRAMS = ("allreduce", "training_step", "optimizers", "ops", "loading", "scaling")
LIMIT = 600  # seconds


def configure(parser: argparse.ArgumentParser) -> None:
    parser.usage = "ringtrain bench [what] [its options]"
    parser.add_argument("what", nargs="?", choices=["tune", *PROGRAMS], help="what to measure; lists them if left out")


def split_command(argv: Sequence[str]) -> tuple[list[str], list[str]]:
    """Divide a command line after the name of what is to be measured: what follows is its own.

    >>> split_command(["bench", "tune", "-n", "2"])
    (['bench', 'tune'], ['-n', '2'])
    """
    return list(argv[:2]), list(argv[2:])


def execute(args: argparse.Namespace) -> int:
    if args.what is None:
        print((__doc__ or "").strip())
        return 0
    if args.what == "tune":
        return tune(args.command)
    program = BENCHMARKS / f"{args.what}.py"
    if not program.exists():
        raise UsageError(f"bench {args.what} runs from a checkout of ringtrain, and {BENCHMARKS} is not there")
    return subprocess.run([sys.executable, str(program), *args.command]).returncode


def tune(argv: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(
        prog="ringtrain bench tune",
        description=__doc__,
        allow_abbrev=False,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("-n", "--ranks", type=int, metavar="N", help="as in jobs to come; default: cores, at least 2")
    parser.add_argument("--hosts", metavar="A:2,B:2", help="tune the ways between hosts, as `ringtrain run` takes them")
    parser.add_argument("--json", metavar="FILE", help="write the same as JSON too")
    args = parser.parse_args(argv)
    if args.ranks is not None and args.ranks < 2:
        raise UsageError(f"-n {args.ranks}: there is nothing to tune for one rank; give 2 or more")
    places = ["--hosts", args.hosts] if args.hosts else []
    if args.ranks or not args.hosts:
        places += ["-n", str(args.ranks or max(2, worker.cores()))]
    command = [sys.executable, "-m", "ringtrain", "run", *places, "--threads", "1", "-m", "ringtrain.cli.tune"]
    try:
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, timeout=LIMIT, stdin=subprocess.DEVNULL)
    except subprocess.TimeoutExpired:
        raise UsageError(f"bench tune did not end in {LIMIT} s; see where it stops: {' '.join(command[2:])}") from None
    if done.returncode:
        return done.returncode
    report = json.loads(done.stdout)
    print(page(report))
    if args.json:
        try:
            Path(args.json).write_text(json.dumps(report, indent=2) + "\n")
        except OSError as error:
            raise UsageError(f"--json {args.json}: cannot be written: {error.strerror}") from None
    return 0


def page(report: dict[str, Any]) -> str:
    """What was found, as a person reads it."""
    lines = [report["machine"], f"{'bytes':<14}{'before':>12}{'now':>12}"]
    lines += [f"{name:<14}{report['before'][name]:>12,}{value:>12,}" for name, value in report["tuning"].items()]
    return "\n".join([*lines, f"{'stored in' if report['stored'] else 'not stored in'} {report['file']}"])
