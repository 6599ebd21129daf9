"""The examples of the pages in docs/ run, in order and in one folder.

The Python blocks of a page share a namespace. What is in a `sh` block is run by a shell, and must print the lines of
the plain block that follows it, if one does: in their order, with other numbers where they have a point; "..." stands
for anything.
"""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from ringtrain.cli.mpiexec import find_mpiexec

ROOT = Path(__file__).parents[1]
PAGES = sorted((ROOT / "docs").glob("**/*.md"))
BLOCK = re.compile(r"^```(python|sh)\n(.*?)^```\n(?:\n```\n(.*?)^```$)?", re.MULTILINE | re.DOTALL)
COMMANDS = 'python() { "$PYTHON" "$@"; }; ringtrain() { python -m ringtrain "$@"; }\n'


def run(command, folder):
    """What a shell prints, stderr too."""
    if "ringtrain run" in command and find_mpiexec() is None:
        pytest.skip("needs an MPI")
    environment = os.environ | {"PYTHONPATH": str(ROOT), "PYTHON": sys.executable, "COLUMNS": "80"}
    done = subprocess.run(
        ["bash", "-ec", COMMANDS + command],
        cwd=folder,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stdout
    return done.stdout


def pattern(line):
    """What a line of a page may look like when it is printed: with other numbers, and anything for "..."."""
    parts = [re.sub(r"(?:\\ )+", r"\\s+", re.escape(part)) for part in line.split("...")]
    return re.sub(r"(?:\\s\+)?\d+\\\.\d+", r"\\s*[\\d.]+", ".*".join(parts))


def check_printed(told, printed):
    lines = iter(printed.splitlines())
    for line in told.splitlines():
        if line != "...":
            assert any(re.fullmatch(pattern(line), other) for other in lines), f"{line!r} is not in\n{printed}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_the_examples_of_a_page_run(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    text = page.read_text()
    blocks = list(BLOCK.finditer(text))
    assert any(block[1] == "python" for block in blocks), f"{page.name} has no example"
    names = {"__name__": "__main__"}
    for block in blocks:
        if block[1] == "sh":
            check_printed(block[3] or "", run(block[2], tmp_path))
            continue
        lines = text[: block.start(2)].count("\n")  # so that a traceback names the page's line
        exec(compile("\n" * lines + block[2], str(page), "exec"), names)
