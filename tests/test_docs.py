"""The examples of the pages in docs/ run: the Python blocks of a page one after the other, in one namespace."""

import re
from pathlib import Path

import pytest

PAGES = sorted((Path(__file__).parents[1] / "docs").glob("**/*.md"))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_the_examples_of_a_page_run(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    text = page.read_text()
    blocks = list(re.finditer(r"^```python\n(.*?)^```", text, re.MULTILINE | re.DOTALL))
    assert blocks, f"{page.name} has no example"
    names = {"__name__": "__main__"}
    for block in blocks:
        lines = text[: block.start(1)].count("\n")  # so that a traceback names the page's line
        exec(compile("\n" * lines + block[1], str(page), "exec"), names)
