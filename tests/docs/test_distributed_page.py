"""docs/distributed.md: its names exist, and its examples, which test_docs.py runs on one rank, run on several."""

import os
import re
import subprocess
import sys

import pytest

import collectives
import ringtrain as rt
from ringtrain.cli import mpiexec

from .pages import DOCS, code, rows

ROWS = rows("distributed.md", "| here | Horovod | torch.distributed |")
HERE = [name for row in ROWS for name in code(row[0])]


def test_every_public_name_is_on_the_page():
    public = {name for name, v in vars(rt.distributed).items() if callable(v) and name in vars(rt)}
    public |= {op.name for op in collectives.Op}
    assert public <= set(HERE)
    for name in HERE:
        if re.fullmatch(r"[\w.]+", name):
            owner = collectives if name.startswith("collectives.") else rt
            assert hasattr(owner, name.removeprefix("collectives.")), name


@pytest.mark.skipif(mpiexec.find_mpiexec() is None, reason="needs an MPI")
@pytest.mark.parametrize("ranks", [2, 3])
def test_its_examples_run_on_several_ranks(ranks, tmp_path):
    blocks = re.findall(r"^```python\n(.*?)^```", (DOCS / "distributed.md").read_text(), re.MULTILINE | re.DOTALL)
    script = tmp_path / "distributed.md.py"
    script.write_text("\n".join(blocks))
    command = [sys.executable, "-m", "ringtrain", "run", "-n", str(ranks), script.name]
    environment = os.environ | {"PYTHONPATH": str(DOCS.parent)}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "trace.json").exists() and (tmp_path / "model.safetensors").exists()
