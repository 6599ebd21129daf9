"""Machine code that is kept on disk is good for one state of all files that it was made of."""

import importlib.util
import os
import subprocess
import sys

import pytest

from ringtrain.backend import jit

pytestmark = pytest.mark.skipif(not jit.available(), reason="needs numba")


@pytest.mark.parametrize("kind", ["function", "closure"])
def test_code_is_compiled_again_when_another_file_has_changed(kind, tmp_path, monkeypatch):
    text = "def plus_one(x):\n    return x + 1\n"
    if kind == "closure":
        text = "def make(n):\n    def plus_one(x):\n        return x + n\n    return plus_one\nplus_one = make(1)\n"
    path = tmp_path / "loops.py"
    path.write_text(text)
    spec = importlib.util.spec_from_file_location("loops", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    found = []
    for version in ("one", "one", "another"):
        monkeypatch.setattr(jit, "_version", lambda version=version: version)
        compiled = jit.jit(module.plus_one)
        assert compiled(2) == 3
        found.append(bool(sum(compiled.stats.cache_hits.values())))
    assert found == [False, True, False]


def test_the_version_follows_every_file_with_compiled_code(tmp_path, monkeypatch):
    (tmp_path / "a.py").write_text("from .jit import jit\n")
    monkeypatch.setattr(jit, "__file__", str(tmp_path / "jit.py"))
    versions = []
    for more in ("", "# changed\n"):
        (tmp_path / "b.py").write_text("from .jit import jit\n" + more)
        versions.append(jit._version.__wrapped__())
    assert versions[0] != versions[1]


PROGRAM = """
import ringtrain as rt
from ringtrain import nn

model = nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.GELU("tanh"), nn.LayerNorm(64))
optimizer = rt.optim.Adam(model.parameters())
nn.cross_entropy(model(rt.rand((64, 64))), rt.zeros((64,), dtype="int64")).backward()
optimizer.step()
"""


def test_a_second_process_compiles_nothing(tmp_path):
    more = {"NUMBA_CACHE_DIR": str(tmp_path), "NUMBA_DEBUG_CACHE": "1"}
    said = [
        subprocess.run(
            [sys.executable, "-c", PROGRAM], env=os.environ | more, capture_output=True, text=True, check=True
        )
        for _ in range(2)
    ]
    assert ["data saved" in run.stdout for run in said] == [True, False]
    assert "data loaded" in said[1].stdout
