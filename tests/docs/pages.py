"""Reading the tables of a page, and comparing the calls in them with signatures."""

import ast
import inspect
import re
from pathlib import Path

DOCS = Path(__file__).parents[2] / "docs"
REQUIRED = "required"  # stands for the default of an argument that has none


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


def calls(cell):
    """(name, {argument: default}) of every call between backticks."""
    for text in code(cell):
        if "(" in text:
            call = ast.parse(text, mode="eval").body
            given = {a.id: REQUIRED for a in call.args} | {k.arg: ast.literal_eval(k.value) for k in call.keywords}
            yield ast.unparse(call.func), given


def defaults_of(root, name):
    """{argument: default} of a class or function."""
    found = root
    for part in name.split("."):
        found = getattr(found, part)
    parameters = inspect.signature(found).parameters.values()
    if inspect.isclass(found) and all(p.kind in (p.VAR_POSITIONAL, p.VAR_KEYWORD) for p in parameters):
        parameters = inspect.signature(found.__mro__[1]).parameters.values()  # PyTorch's RNN, LSTM, GRU
        special = {"nonlinearity": found(1, 1).nonlinearity} if name == "RNN" else {}
    else:
        special = {}
    return {p.name: REQUIRED if p.default is p.empty else p.default for p in parameters} | special


def same(told, true):
    """Whether a default is what the page says; generated functions of MXNet's give theirs as text, in float32."""
    if told is ...:  # `CosineScheduler(warmup_steps=...)`: some value
        return True
    if isinstance(told, tuple):
        return tuple(told) == tuple(true)
    if isinstance(true, str) and isinstance(told, (int, float)) and not isinstance(told, bool):
        return abs(float(true) - told) <= 1e-6 * abs(told)
    return told == true


def check(cell, defaults):
    for name, told in calls(cell):
        true = defaults(name)
        for argument, value in told.items():
            assert argument in true, f"{name} has no {argument}"
            assert same(value, true[argument]), f"{name}: {argument} is {true[argument]!r}, not {value!r}"
