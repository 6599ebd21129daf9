"""The command line: ``ringtrain SUBCOMMAND``, also ``python -m ringtrain SUBCOMMAND``.

A subcommand is a module of this package with ``SUMMARY`` (one line), ``configure(parser)`` and
``execute(args) -> exit status``, listed in ``SUBCOMMANDS``.
"""

import argparse
import os
import sys
from collections.abc import Sequence

import ringtrain
from ringtrain.cli import bench, doctor, run
from ringtrain.cli.errors import UsageError

SUBCOMMANDS = {"run": run, "doctor": doctor, "bench": bench}


def main(argv: Sequence[str] | None = None) -> int:
    """Run one subcommand and return the exit status: its own, or 2 for a mistake on the command line."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    command: list[str] = []
    if arguments[:1] == ["run"]:
        # What follows the script belongs to the script, even where it looks like an option of ours; argparse
        # must not see it (it would take a "--" away).
        arguments, command = run.split_command(arguments)
    elif arguments[:1] == ["bench"]:
        arguments, command = bench.split_command(arguments)

    parser = argparse.ArgumentParser(prog="ringtrain", description="Train networks on many processors.")
    parser.add_argument("--version", action="version", version=f"ringtrain {ringtrain.__version__}")
    subparsers = parser.add_subparsers(dest="subcommand", required=True, metavar="SUBCOMMAND")
    for name, module in SUBCOMMANDS.items():
        module.configure(
            subparsers.add_parser(
                name,
                help=module.SUMMARY,
                description=module.__doc__,
                allow_abbrev=False,
                formatter_class=argparse.RawDescriptionHelpFormatter,
            )
        )
    try:
        args = parser.parse_args(arguments)
        args.command = command
        return SUBCOMMANDS[args.subcommand].execute(args)
    except BrokenPipeError:  # whoever read our output has seen enough: `ringtrain doctor | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except UsageError as error:
        print(f"ringtrain: error: {error}", file=sys.stderr)
        return 2
    except SystemExit as exit:  # argparse: --help is 0, a wrong option 2
        return exit.code if isinstance(exit.code, int) else 2
