"""docs/layers.md names every module, loss and initialiser, and its table of defaults is right in all three columns.

A cell's calls, such as `LeakyReLU(negative_slope=0.01)`, are compared with signatures: a keyword is a default, a bare
name an argument that must be given. What a cell says beside its calls is in test_defaults.py.
"""

import inspect

import pytest

from ringtrain import nn

from .pages import DOCS, calls, check, code, defaults_of, rows

MODULES = rows("layers.md", "| here | Gluon | what |")
LOSSES = rows("layers.md", "| here | Gluon | of |")
INITIAL = rows("layers.md", "| here | in place | what |")
DEFAULTS = rows("layers.md", "| default | here | PyTorch 2.13.0 | MXNet 1.9.1 |")


def public(module):
    return sorted(n for n, v in vars(module).items() if callable(v) and n[0] != "_" and not inspect.ismodule(v))


def test_every_module_and_loss_is_on_the_page_once():
    named = [name for row in MODULES + LOSSES for name in code(row[0])]
    assert sorted(named) == [name for name in public(nn) if name[0].isupper()]


def test_every_initialiser_is_on_the_page_once():
    named = [name for row in INITIAL for name in code(row[0]) + code(row[1])]
    assert sorted(named) == public(nn.init)


@pytest.mark.parametrize("row", MODULES + LOSSES, ids=lambda row: row[0])
def test_gluons_names(row, mxnet):
    known = {*mxnet["signatures"], "Parameter"} - {"Bilinear"}  # an initialiser there
    here = code(row[0])
    if row[1] == "-":
        assert not set(here) & known - {"HuberLoss"}, "Gluon has it under the same name"
    for name in here if not row[1] else code(row[1]):
        assert name in known, name


def test_arguments_that_pytorch_has_are_here_or_in_the_paragraph_about_them(torch):
    (paragraph,) = [
        line for line in (DOCS / "layers.md").read_text().splitlines() if line.startswith("Arguments that PyTorch has")
    ]
    told = set(code(paragraph))
    missing = set()
    for name in dir(nn):
        known = [vars(module).get(name) for module in (nn, torch.nn)]
        if name[0].isupper() and all(inspect.isclass(kind) for kind in known):
            ours, theirs = [set(inspect.signature(kind.__init__).parameters) for kind in known]
            if not {"args", "kwargs"} & theirs:  # recurrent layers, which test_recurrent.py compares
                missing |= {option for option in theirs - ours if option[0] != "_"}
    assert missing <= told, missing - told
    assert {"dim", "inplace", "sparse"} <= missing


@pytest.mark.parametrize("row", DEFAULTS, ids=lambda row: row[0])
def test_defaults_here(row):
    check(row[1], lambda name: defaults_of(nn, name))


@pytest.mark.parametrize("row", DEFAULTS, ids=lambda row: row[0])
def test_defaults_in_pytorch(row, torch):
    if row[2] == "-":
        assert not any(hasattr(torch.nn, name) for name, _ in calls(row[1]))
    else:
        check(row[2] or row[1], lambda name: defaults_of(torch.nn, name))


@pytest.mark.parametrize("row", DEFAULTS, ids=lambda row: row[0])
def test_defaults_in_mxnet(row, mxnet):
    assert row[3], "MXNet's names differ: say what it has, or -"
    if row[3] == "-":
        assert not {name for name, _ in calls(row[1])} & set(mxnet["signatures"])
    check(row[3], lambda name: mxnet["signatures"][name])


def told_apart():
    """Arguments that the table gives different defaults here and in PyTorch: {(class, argument)}."""
    return {(name, arg) for row in DEFAULTS if row[2] not in ("", "-") for name, args in calls(row[1]) for arg in args}


# PyTorch's arguments of other names, and those whose default means the same
RENAMED = {"axis": "dim", "start_axis": "start_dim", "end_axis": "end_dim", "keepdims": "keepdim"}
ALIKE = {
    ("LinearCrossEntropyLoss", "ignore_index"),
    ("Parameter", "data"),
    ("Transformer", "activation"),
    ("TransformerDecoderLayer", "activation"),
    ("TransformerEncoderLayer", "activation"),
    ("Upsample", "recompute_scale_factor"),
}


@pytest.mark.parametrize("name", [name for name in public(nn) if name[0].isupper()])
def test_other_defaults_are_pytorchs(name, torch):
    theirs = defaults_of(torch.nn, name) if hasattr(torch.nn, name) else {}
    for argument, value in defaults_of(nn, name).items():
        other = RENAMED.get(argument, argument)
        if other in theirs and argument != "dtype" and (name, argument) not in told_apart() | ALIKE:
            assert value == theirs[other], argument


STATES = {
    "a convolutional network": lambda nn: nn.Sequential(nn.Conv2d(3, 4, 3, groups=1), nn.BatchNorm2d(4), nn.PReLU(4)),
    "transposed": lambda nn: nn.ModuleList([nn.ConvTranspose1d(2, 3, 3), nn.GroupNorm(2, 4), nn.LayerNorm(5)]),
    "a recurrent network": lambda nn: nn.ModuleDict({"rnn": nn.LSTM(3, 4, 2, bidirectional=True, proj_size=2)}),
    "attention": lambda nn: nn.MultiheadAttention(8, 2, kdim=4, vdim=6),
    "a decoder": lambda nn: nn.TransformerDecoder(nn.TransformerDecoderLayer(8, 2, 16), 2),
    "tables": lambda nn: nn.ModuleList([nn.Embedding(3, 2), nn.EmbeddingBag(3, 2), nn.Bilinear(2, 3, 4)]),
}


@pytest.mark.parametrize("make", STATES.values(), ids=STATES)
def test_pytorchs_state_dicts_load(make, torch):
    ours, theirs = make(nn), make(torch.nn)
    ours.load_state_dict(theirs.state_dict())
    state = theirs.state_dict()
    assert ours.state_dict().keys() == state.keys()
    assert all((value == state[name].numpy()).all() for name, value in ours.state_dict().items())


def test_defaults_say_what_is_compared():
    """Every cell holds a call, points to the column before, or is looked at by its own test."""
    from . import test_defaults

    for row in DEFAULTS:
        plain = [cell for cell in row[1:] if cell not in ("", "-") and not list(calls(cell))]
        words = [cell for cell in row[1:] if ": " in cell] + plain
        assert not words or row[0] in test_defaults.COVERED, row
