"""Start a script on several ranks.

  ringtrain run -n 4 train.py --epochs 10
  ringtrain run --hosts node1:4,node2:4 -m mypackage.train

Everything after the script or module is the script's own. The exit status is the job's: that of the rank that
failed, 128 + signal when a signal ended the job (130 for Ctrl-C), 2 when the command line was wrong. One rank
(-n 1) needs no MPI and runs the script directly.
"""

import argparse
import importlib.util
import os
import shlex
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ringtrain.cli import hosts, mpiexec, worker
from ringtrain.cli.errors import UsageError
from ringtrain.cli.job import Job

SUMMARY = "start a script on several ranks"

OPTIONS: list[tuple[tuple[str, ...], dict[str, Any]]] = [
    (
        ("-n", "--ranks"),
        {"type": int, "metavar": "N", "help": "number of ranks; with hosts: all their slots unless given"},
    ),
    (("--hosts",), {"metavar": "A:2,B:2", "help": "hosts and the number of ranks each takes"}),
    (("--hostfile",), {"metavar": "FILE", "help": "the same, a host a line: `node1 slots=4` or `node1:4`"}),
    (
        ("--threads",),
        {"type": int, "metavar": "T", "help": "threads a rank; default: cores of its host // its ranks there"},
    ),
    (
        ("--env",),
        {
            "metavar": "NAME[=VALUE]",
            "action": "append",
            "default": [],
            "help": "set a variable for every rank, or pass one on to other hosts; may be repeated",
        },
    ),
    (("--mpiexec",), {"metavar": "PATH", "help": "the mpiexec to use; default: this environment's, or PATH's"}),
    (("--dry-run",), {"action": "store_true", "help": "print the command and start nothing"}),
]


@dataclass(frozen=True)
class Plan:
    """What will be started: variables on top of the environment, and the command."""

    settings: dict[str, str]
    command: list[str]

    def shell(self) -> str:
        """As a line to paste into a shell."""
        return " ".join(
            [*(f"{name}={shlex.quote(value)}" for name, value in self.settings.items()), shlex.join(self.command)]
        )


def configure(parser: argparse.ArgumentParser) -> None:
    parser.usage = "ringtrain run [options] (script.py | -m module) [arguments of the script]"
    for flags, details in OPTIONS:
        parser.add_argument(*flags, **details)


def split_command(argv: Sequence[str]) -> tuple[list[str], list[str]]:
    """Divide a command line into the launcher's options and the command: from the first word that is no
    option.

    >>> split_command(["run", "-n", "2", "train.py", "-n", "7"])
    (['run', '-n', '2'], ['train.py', '-n', '7'])
    """
    with_value = {flag for flags, details in OPTIONS if "metavar" in details for flag in flags}
    position = 1
    while position < len(argv):
        word = argv[position]
        if word == "--":
            return list(argv[:position]), list(argv[position + 1 :])
        if word == "-m" or not word.startswith("-"):
            break
        position += 2 if word in with_value else 1
    return list(argv[:position]), list(argv[position:])


def execute(args: argparse.Namespace) -> int:
    plan = make_plan(args, os.environ)
    if args.dry_run:
        print(plan.shell())
        return 0
    environment = mpiexec.rank_environment(os.environ, plan.settings)
    if plan.command[0] == sys.executable:  # one rank: become the script
        sys.stdout.flush()
        os.execve(plan.command[0], plan.command, environment)
    return Job(plan.command, environment).wait()


def make_plan(args: argparse.Namespace, outer: Mapping[str, str]) -> Plan:
    """Check everything that can be checked before a rank starts. Raises UsageError."""
    command = rank_command(args.command)
    where = host_list(args)
    ranks = rank_count(args.ranks, where)
    settings = rank_settings(args, outer)
    if ranks == 1 and not where:
        return Plan(settings, command)
    path = mpiexec.find_mpiexec(args.mpiexec)
    if path is None:
        raise UsageError(mpiexec.NO_MPI.format(python=sys.executable))
    mpi = mpiexec.identify(path)
    settings |= mpiexec.settings_of(mpi, outer) | terminal_settings(outer)
    named = {entry.partition("=")[0] for entry in args.env}
    forwarded = {name for name in outer if mpiexec.FORWARDED.fullmatch(name)}
    carried = sorted(forwarded | named | set(settings)) if where else []
    return Plan(settings, mpiexec.mpiexec_command(mpi, ranks, where, carried, command))


def rank_command(command: Sequence[str]) -> list[str]:
    """What each rank runs: this Python, the worker, and the script or module, which must exist."""
    if not command:
        raise UsageError("nothing to run: give a script or a module, e.g. `ringtrain run -n 2 train.py`")
    if command[0] == "-m":
        if len(command) < 2:
            raise UsageError("-m needs the name of a module, e.g. `ringtrain run -n 2 -m mypackage.train`")
        package = command[1].partition(".")[0]
        here = Path(package).is_dir() or Path(package + ".py").exists()
        if not here and importlib.util.find_spec(package) is None:
            raise UsageError(
                f"-m {command[1]}: no module {package!r} here or among the installed packages; "
                "a script is run by its path, without -m"
            )
    elif not Path(command[0]).exists():
        raise UsageError(f"no such script: {command[0]!r} in {Path.cwd()}; options come before the script")
    return [sys.executable, "-I", "-S", worker.__file__, sys.executable, *command]


def host_list(args: argparse.Namespace) -> list[hosts.Host]:
    if args.hosts is not None and args.hostfile is not None:
        raise UsageError("--hosts and --hostfile both say where ranks go; give one of them")
    if args.hosts is not None:
        return hosts.parse_hosts(args.hosts)
    return hosts.read_hostfile(args.hostfile) if args.hostfile is not None else []


def rank_count(ranks: int | None, where: Sequence[hosts.Host]) -> int:
    slots = hosts.slots(where)
    if ranks is None and not where:
        raise UsageError(f"how many ranks? Give -n N (cores here: {worker.cores()}), --hosts or --hostfile")
    if ranks is None:
        return slots
    if ranks < 1:
        raise UsageError(f"-n {ranks}: a job has at least one rank")
    if where and ranks > slots:
        listed = ",".join(f"{host.name}:{host.slots}" for host in where)
        raise UsageError(f"-n {ranks}, but {listed} take {slots} ranks: give more slots, or lower -n")
    return ranks


def rank_settings(args: argparse.Namespace, outer: Mapping[str, str]) -> dict[str, str]:
    """Variables that every rank gets whatever starts it."""
    settings = {} if outer.get("PYTHONUNBUFFERED") else {"PYTHONUNBUFFERED": "1"}  # lines appear as they come
    if args.threads is not None:
        if args.threads < 1:
            raise UsageError(f"--threads {args.threads}: a rank has at least one thread")
        settings |= dict.fromkeys(worker.THREAD_VARIABLES, str(args.threads))
    for entry in args.env:
        name, equals, value = entry.partition("=")
        if equals:
            settings[name] = value
        elif name not in outer:
            raise UsageError(f"--env {name}: not set here, so nothing to pass on; give --env {name}=VALUE")
    return settings


def terminal_settings(outer: Mapping[str, str]) -> dict[str, str]:
    """A rank's stdout is a pipe even where the launcher's is a terminal: tell rich so, and how wide it is."""
    if not sys.stdout.isatty():
        return {}
    columns, lines = os.get_terminal_size(sys.stdout.fileno())
    settings = {"TTY_COMPATIBLE": "1"}
    if columns and lines:  # a terminal that does not know its size says 0
        settings |= {"COLUMNS": str(columns), "LINES": str(lines)}
    return {name: value for name, value in settings.items() if name not in outer}
