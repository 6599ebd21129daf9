"""What optimizers.py and ops.py share: ringtrain beside PyTorch, each in a process of its own, from options to JSON."""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from training_step import Engine, peers


def compare(doc: str | None, what: str, choices: Iterable[str], role: str, measure: Callable, show: Callable) -> None:
    """The program: `what` names the option that chooses among `choices`, and the table in the JSON file with an s.

    measure(engines, chosen, repeats) -> table; show(table) prints it below a line on the machine.
    """
    choices = list(choices)
    parser = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(f"--{what}", nargs="+", choices=choices, default=choices, dest="chosen")
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
            engines.append(Engine(name, python, role, args.threads))
        table: Any = measure(engines, args.chosen, args.repeats)
    finally:
        for engine in engines:
            engine.close()
    versions = {e.name: e.version for e in engines}
    named = ", ".join(f"{name} {version}" for name, version in versions.items())
    print(f"{platform.machine()}, {os.cpu_count()} cores, {args.threads} thread(s); {named}")
    show(table, list(versions))
    if args.json:
        machine = {"machine": platform.machine(), "cores": os.cpu_count(), "threads": args.threads}
        Path(args.json).write_text(json.dumps({**machine, "versions": versions, f"{what}s": table}, indent=2) + "\n")
