"""What the tests on several ranks share."""

import hashlib
import io
import os
import sys

import numpy as np
import pytest

import ringtrain as rt
from ringtrain import nn

RANK = os.environ.get("OMPI_COMM_WORLD_RANK") or os.environ.get("PMI_RANK") or "0"  # before MPI starts

EVERY_SIZE = [1, 3000, 4 << 20]  # bytes a bucket: one for each parameter, a few, one for all


@pytest.fixture(scope="module")
def joined():
    """This rank has joined the job."""
    rt.init(timeout=60)
    yield
    rt.barrier()


@pytest.fixture
def together(joined):
    """The test starts from the same seed, and on all ranks at once."""
    rt.seed(7)
    rt.barrier()


@pytest.fixture
def several(together):
    """Skips on one rank."""
    if rt.size() == 1:
        pytest.skip("needs two ranks")


def normal(shape, *seed):
    return np.random.default_rng([*seed]).standard_normal(shape)


def values(model):
    return {name: np.array(p.detach().numpy()) for name, p in model.named_parameters()}


def assert_same_on_all_ranks(model):
    digest = hashlib.sha256(b"".join(v.tobytes() for v in values(model).values())).hexdigest()
    assert len(set(rt.allgather_object(digest))) == 1


def mlp(dtype):
    return nn.Sequential(
        *[nn.Linear(13, 17, dtype=dtype), nn.Tanh(), nn.Linear(17, 11, dtype=dtype), nn.ReLU()],
        nn.Linear(11, 5, dtype=dtype),
    )


class Branches(nn.Module):
    """A part that all ranks use, and parts that some do not reach."""

    def __init__(self):
        self.never = nn.Parameter(normal((5,), 3))
        self.common = nn.Parameter(normal((7, 3), 1))
        self.some = nn.Parameter(normal((3,), 2))
        self.last = nn.Parameter(normal((2, 3), 4))

    def forward(self, x, reach):
        h = x @ self.common
        return (h * self.some if reach else h) @ self.last.T


@pytest.hookimpl(tryfirst=True)
def pytest_sessionstart(session):
    """Only rank 0 reports, unless a test fails on another rank: then that rank says so on stderr."""
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    if reporter and RANK != "0":
        reporter._tw._file = io.StringIO()


def pytest_unconfigure(config):
    reporter = config.pluginmanager.get_plugin("terminalreporter")
    if reporter and RANK != "0" and (reporter.stats.get("failed") or reporter.stats.get("error")):
        sys.stderr.write(f"rank {RANK}:\n{reporter._tw._file.getvalue()}")
