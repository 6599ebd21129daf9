"""ONNX's backend tests of single nodes through ringtrain: all but those that onnx_excluded.json lists, with reasons.

What is excluded must fail too, so that the list says what is missing and nothing else.
"""

import json
import re
from collections import Counter, defaultdict
from pathlib import Path

import pytest

onnx = pytest.importorskip("onnx")
if not onnx.__version__.startswith("1.22."):  # the last that ships the data of its tests
    pytest.skip(f"the node tests are those of onnx 1.22; {onnx.__version__} is here", allow_module_level=True)

from .onnx_cases import cases, run, run_network  # noqa: E402

LIST = json.loads((Path(__file__).parent / "onnx_excluded.json").read_text())
EXCLUDED = {name for group in LIST["excluded"] for names in group["tests"].values() for name in names}
PAGE = Path(__file__).parents[2] / "docs" / "onnx.md"

BY_OP = defaultdict(list)
for _case in cases():
    BY_OP[_case.op].append(_case)


@pytest.mark.parametrize("op", sorted(BY_OP))
def test_node(op):
    """Every case of an op, as it is and written out as a function."""
    wrong = []
    for case in BY_OP[op]:
        try:
            run(case)
        except Exception as error:
            if case.name not in EXCLUDED:
                wrong.append(f"{case.name}: {type(error).__name__}: {' '.join(str(error).split())[:400]}")
        else:
            if case.name in EXCLUDED:
                wrong.append(f"{case.name} passes: take it off onnx_excluded.json, and raise the count")
    assert not wrong, "\n".join([f"{len(wrong)} of {len(BY_OP[op])} cases of {op}:", *wrong])


@pytest.mark.parametrize("kind, count", [("pytorch-converted", 82), ("pytorch-operator", 35), ("simple", 15)])
def test_small_models(kind, count):
    """Models that PyTorch exported with opset 6, and models of a few nodes; but no strings, no gradients in a graph."""
    out_of_reach = ("test_strnorm_", "test_gradient_")
    wanted = [c for c in cases(kind) if not c.name.startswith(out_of_reach)]
    assert len(wanted) == count
    for case in wanted:
        try:
            run(case)
        except Exception as error:
            error.add_note(case.name)
            raise


@pytest.mark.parametrize("name", ["densenet121", "shufflenet", "squeezenet"])
def test_network(name):
    run_network(name)


def test_the_published_count_holds():
    direct = [c for group in BY_OP.values() for c in group if not c.expanded]
    assert len(direct) == 1325
    assert {c.name for c in cases()} >= EXCLUDED, "the list names tests that do not exist"
    assert sum(c.name not in EXCLUDED for c in direct) == LIST["passing"]
    assert LIST["passing"] >= 900


def test_the_page_has_the_counts_of_each_family():
    text = PAGE.read_text()
    total, good = Counter(), Counter()
    for case in (c for group in BY_OP.values() for c in group if not c.expanded):
        total[case.family] += 1
        good[case.family] += case.name not in EXCLUDED
    rows = dict(re.findall(r"^\| (\w+) \|.*\| (\d+ of \d+) \|$", text, re.MULTILINE))
    assert rows == {family: f"{good[family]} of {n}" for family, n in total.items()}
    assert f"{LIST['passing']:,} of 1,325" in text
