"""docs/tools.md and docs/measuring.md name every option, subcommand, benchmark and variable, and no other.

Its cheap commands run in test_docs.py; of the others, in `console` blocks, the options are looked up.
"""

import re
import shlex
import subprocess
import sys

import pytest

from ringtrain.cli import SUBCOMMANDS, bench, run

from .pages import DOCS, code, rows

ROOT = DOCS.parent
TEXT = (DOCS / "tools.md").read_text()
MEASURING = (DOCS / "measuring.md").read_text()
COMMANDS = re.findall(r"^\$ (?:\w+=\S+ )*(ringtrain .*)$", TEXT + MEASURING, re.MULTILINE)


def test_every_subcommand_is_shown():
    assert {f"## ringtrain {name}" for name in SUBCOMMANDS} <= set(TEXT.splitlines())


def test_options_of_run():
    named = {text.partition(" ")[0] for row in rows("tools.md", "| option | what |") for text in code(row[0])}
    assert named == {"-m"} | {flags[0] for flags, _ in run.OPTIONS}


def test_benchmarks():
    named = [code(row[0])[0] for row in rows("measuring.md", "| program | measures | beside |")]
    assert sorted(named) == sorted(p.stem for p in (ROOT / "benchmarks").glob("*.py") if "__main__" in p.read_text())
    assert set(bench.PROGRAMS) <= set(named)


def test_variables():
    named = {code(row[0])[0] for row in rows("tools.md", "| variable | what |")}
    sources = [p.read_text() for package in ("ringtrain", "collectives") for p in (ROOT / package).rglob("*.py")]
    used = {name for text in sources for name in re.findall(r"RINGTRAIN_\w+", text)}
    internal = {"RINGTRAIN_RELAY", "RINGTRAIN_"}  # a pipe between the launcher and its ranks; a prefix
    assert {name for name in named if name.startswith("RINGTRAIN_")} == used - internal
    assert all(any(name in text for text in sources) for name in named)


@pytest.mark.parametrize("command", COMMANDS)
def test_options_of_commands_that_take_long(command):
    words = shlex.split(command)[1:]
    options = [w for w in words if w.startswith("-")]
    if words[0] == "run" or not options:
        return
    done = subprocess.run(
        [sys.executable, "-m", "ringtrain", *words[:2], "--help"], capture_output=True, text=True, cwd=ROOT
    )
    assert all(re.search(rf"(?<![\w-]){option}\b", done.stdout) for option in options), done.stdout
