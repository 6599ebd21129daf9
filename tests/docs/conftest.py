"""What the tests of pages compare with: the facts about MXNet that make_mxnet.py has written, and PyTorch."""

import json
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def mxnet():
    return json.loads(Path(__file__).with_name("mxnet.json").read_text())


@pytest.fixture(scope="session")
def torch():
    module = pytest.importorskip("torch")
    if module.__version__.split("+")[0] != "2.13.0":
        pytest.skip("the pages speak of PyTorch 2.13.0")
    return module
