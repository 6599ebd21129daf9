"""Where the real data sets are, for tests that read them."""

import os
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def real_data() -> Path:
    root = Path(os.environ.get("RINGTRAIN_DATA") or Path(__file__).parents[2].parent / "shared" / "data")
    if not (root / "mnist").is_dir() or not (root / "fashion-mnist").is_dir():
        pytest.skip(f"no data sets in {root}; RINGTRAIN_DATA names another folder")
    return root
