"""Reading the tables of a page."""

import re
from pathlib import Path

DOCS = Path(__file__).parents[2] / "docs"


def rows(page, head):
    """The rows, as lists of cells, of every table of a page whose head begins with `head`; "\\|" is a bar in a cell."""
    found, inside = [], False
    for line in (DOCS / page).read_text().splitlines():
        if not line.startswith("|"):
            inside = False
        elif line.startswith(head):
            inside = True
        elif inside and not line.startswith("|---"):
            cells = [c.strip().replace("\\|", "|") for c in re.split(r"(?<!\\)\|", line)[1:-1]]
            assert len(cells) == head.count("|") - 1, line
            found.append(cells)
    assert found, f"{page} has no table that begins with {head}"
    return found


def code(cell):
    """What stands between backticks."""
    return re.findall(r"`([^`]+)`", cell)
