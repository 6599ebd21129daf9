"""docs/ops.md and docs/ops_nn.md name every op that there is, and the names in the other columns are there, too."""

import pytest

import ringtrain as rt

from .pages import code, rows

HEAD = "| here | PyTorch | MXNet | what |"
ROWS = rows("ops.md", HEAD) + rows("ops_nn.md", HEAD)
# words that PyTorch uses otherwise: for another op, for pairs of values and indices, for other arguments
OTHERWISE = {"equal", "gru", "histogram", "lstm", "max", "min", "repeat", "seed", "split", "take", "transpose"}
HERE = [name for row in ROWS for name in code(row[0])]


def public():
    """Every op, as the page writes it: `sum`, `linalg.solve`, `nn.conv2d`."""
    for prefix, module in (("", rt), ("linalg.", rt.linalg), ("nn.", rt.nn)):
        for name, f in vars(module).items():
            if callable(f) and name[0].islower() and name not in vars(rt.distributed):
                yield prefix + name


def resolved(name, *roots):
    """What a dotted name stands for in the first root that has it, or None."""
    for root in roots:
        found = root
        for part in name.split("."):
            found = getattr(found, part, None)
        if found is not None:
            return found
    return None


def meant(cell, here):
    """The names of a cell about another library: those of the first column where it is empty, none for "-"."""
    return code(cell) if cell not in ("", "-") else [] if cell else [n.removeprefix("nn.") for n in here]


def test_every_op_is_on_a_page_once():
    assert sorted(HERE) == sorted(public())


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row[0])
def test_names_in_pytorch(row, torch):
    roots = (torch, torch.Tensor, torch.nn.functional, torch.nn)
    here = code(row[0])
    for name in meant(row[1], here):
        assert name.startswith("torchvision.") or callable(resolved(name, *roots)), name
    if row[1]:
        plain = [n.removeprefix("nn.") for n in here]
        same = [n for n in plain if callable(resolved(n, torch, torch.nn.functional))]
        assert not set(same) - OTHERWISE, "PyTorch has it under the same name"


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row[0])
def test_names_in_mxnet(row, mxnet):
    here = code(row[0])
    known = set(mxnet["names"])
    for name in meant(row[2], here):
        assert {name, f"np.{name}", f"npx.{name}", f"contrib.{name}"} & known, name
    if row[2] == "-":
        same = [n for n in (n.removeprefix("nn.") for n in here) if {n, f"np.{n}", f"npx.{n}"} & known]
        assert not same, "MXNet has it under the same name"
