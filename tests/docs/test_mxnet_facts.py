"""What mxnet.json says is what MXNet 1.9.1 says, where `make peers` has installed it."""

import json
import subprocess
from pathlib import Path

import numpy as np
import pytest

PYTHON = Path(__file__).parents[2] / ".peers" / "mxnet" / "bin" / "python"


@pytest.mark.skipif(not PYTHON.exists(), reason="`make peers` installs MXNet")
def test_the_facts_are_mxnets(mxnet):
    script = Path(__file__).with_name("make_mxnet.py")
    done = subprocess.run([PYTHON, script], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    computed = said.pop("layers"), (mxnet := dict(mxnet)).pop("layers")
    assert said == mxnet
    assert computed[0].keys() == computed[1].keys()
    for name, value in computed[0].items():  # rounded to six decimals, the last of which hangs on the processor
        np.testing.assert_allclose(value, computed[1][name], rtol=0, atol=2e-6, err_msg=name)
