"""The defaults in docs/optimizers.md are right here, in PyTorch 2.13.0 and in MXNet 1.9.1.

A cell says a default as a word and a value: `lr 0.01`, `betas (0.9, 0.999)`. What the other columns do not say is the
same as here, but for MXNet's rate, which is 0.01.
"""

import ast
import inspect
import re

import pytest

from ringtrain import optim

from .pages import calls, check, defaults_of, rows

OPTIMISERS = [
    row
    for row in rows("optimizers.md", "| optimiser | here | PyTorch 2.13.0 | MXNet 1.9.1 |")
    if row[0] != "AMSGrad"  # an option of Adam
]
SCHEDULES = rows("optimizers.md", "| schedule | differs from PyTorch 2.13.0 | in MXNet 1.9.1 |")
INHERITED = {"AdamW": "Adam"}  # "as Adam"
IN_MXNET = {"RMSprop": "RMSProp", "Adagrad": "AdaGrad", "Adadelta": "AdaDelta", "NAdam": "Nadam"}
OTHER_NAMES = {"lr": ["learning_rate"], "betas": ["beta1", "beta2"], "eps": ["epsilon", "eps"], "l1": ["lamda1"]}


def told(cell):
    """{option: default} of a cell."""
    pairs = re.findall(r"\b([a-z]\w*) (\((?:-?\d|None)[^)]*\)|-?\d[\d.e-]*|True|False|None)(?=[\s,;]|$)", cell)
    return {word: ast.literal_eval(value) for word, value in pairs}


def here(row):
    first = [told(other[1]) for other in OPTIMISERS if other[0] == INHERITED.get(row[0])]
    return {key: value for options in [*first, told(row[1])] for key, value in options.items()}


def test_every_optimiser_has_a_row():
    kinds = {n for n, v in vars(optim).items() if inspect.isclass(v) and issubclass(v, optim.Optimizer)}
    assert {row[0] for row in OPTIMISERS} == kinds - {"Optimizer"}


@pytest.mark.parametrize("row", OPTIMISERS, ids=lambda row: row[0])
def test_defaults_here(row):
    true = defaults_of(optim, row[0])
    assert here(row) and {key: true[key] for key in here(row)} == here(row)


@pytest.mark.parametrize("row", OPTIMISERS, ids=lambda row: row[0])
def test_defaults_in_pytorch(row, torch):
    if row[2] == "-":
        assert not hasattr(torch.optim, row[0])
        return
    if row[0] == "NAG":  # SGD(nesterov=True), whose momentum is to be given
        return
    true = defaults_of(torch.optim, row[0])
    expected = here(row) | told(row[2])
    assert {key: true[key] for key in expected} == expected


@pytest.mark.parametrize("row", OPTIMISERS, ids=lambda row: row[0])
def test_defaults_in_mxnet(row, mxnet):
    name = IN_MXNET.get(row[0], row[0])
    if row[3].startswith("-"):
        assert name not in mxnet["optimizers"]
        return
    true = mxnet["optimizers"][name]
    rate = told(row[3]).get("lr", here(row)["lr"] if row[3].startswith("same") else 0.01)
    assert true["learning_rate"] == rate
    expected = {key: value for key, value in (here(row) | told(row[3])).items() if key != "lr"}
    for key, value in expected.items():
        names = [n for n in OTHER_NAMES.get(key, [key]) if n in true]
        values = value if key == "betas" else [value]
        assert names or key in GONE.get(row[0], ()), f"{key} is not an option of MXNet's"
        assert all(true[n] == v for n, v in zip(names, values, strict=False))


# what MXNet calls otherwise, or has not, as the cell says in words
GONE = {
    "Adamax": ["eps"],
    "LARS": ["trust_coefficient"],
    "NAdam": ["momentum_decay"],
    "RMSprop": ["alpha", "momentum"],
}


@pytest.mark.parametrize("row", SCHEDULES, ids=lambda row: row[0])
def test_schedules(row, torch, mxnet):
    check(row[0], lambda name: defaults_of(optim.lr, name))
    check(row[2], lambda name: mxnet["signatures"][name])
    for name, options in calls(row[0]):
        if row[1] == "-":
            assert not hasattr(torch.optim.lr_scheduler, name)
        else:
            true = defaults_of(torch.optim.lr_scheduler, name)
            assert {key: true[key] for key in options} == options


def test_every_schedule_is_on_the_page():
    kinds = {n for n, v in vars(optim.lr).items() if inspect.isclass(v) and issubclass(v, optim.lr.Schedule)}
    named = {name for row in SCHEDULES for name in re.findall(r"`(\w+)", row[0])}
    assert named == kinds - {"Schedule"} | {"ReduceLROnPlateau"}
