"""Data-parallel training on real GPUs: `make test-gpu`, on as many ranks as it is started with."""

import numpy as np
import pytest

import ringtrain as rt
from ringtrain import nn, optim

cupy = pytest.importorskip("cupy")

pytestmark = [
    pytest.mark.mpi,
    pytest.mark.skipif(not cupy.cuda.is_available(), reason="needs an NVIDIA GPU"),
]
ROWS = 12  # of the whole batch


@pytest.fixture(scope="module", autouse=True)
def job():
    rt.init()
    rt.set_default_device(f"cuda:{rt.local_rank() % cupy.cuda.runtime.getDeviceCount()}")
    yield
    rt.set_default_device("cpu")


def trained(device, rows, wrap=lambda optimizer, _: optimizer):
    """Losses and parameters of steps on some rows of batches that are the same everywhere."""
    rt.seed(3)
    model = nn.Sequential(nn.Linear(5, 7), nn.Tanh(), nn.LayerNorm(7), nn.Linear(7, 3)).to(np.float64)
    model.to(device or rt.ones(1).device)
    opt = wrap(optim.SGD(model.parameters(), lr=0.5), model)
    for step in range(4):
        rng = np.random.default_rng(step)
        x, y = rng.standard_normal((ROWS, 5)), rng.integers(0, 3, ROWS)
        opt.zero_grad()
        nn.cross_entropy(model(rt.tensor(x[rows], np.float64, device)), y[rows]).backward()
        opt.step()
    return [p.detach().numpy() for p in model.parameters()]


def distributed(optimizer, model):
    rt.broadcast_parameters(model, root_rank=0)
    return rt.DistributedOptimizer(optimizer, model.named_parameters())


def test_ranks_with_a_part_of_the_batch_each_train_as_one_does_on_the_cpu():
    n = rt.size()
    assert ROWS % n == 0
    ours = trained(None, slice(rt.rank(), None, n), distributed)
    for mine, exact in zip(ours, trained("cpu", slice(None)), strict=True):
        np.testing.assert_allclose(mine, exact, rtol=1e-10, atol=1e-12)


def test_a_parameter_that_one_rank_reaches_is_updated_on_all():
    used, other = nn.Parameter(rt.ones(3)), nn.Parameter(rt.ones((2, 2)))
    opt = rt.DistributedOptimizer(optim.SGD([used, other], lr=1.0), [("used", used), ("other", other)])
    loss = used.sum()
    if rt.rank() == 0:
        loss = loss + (other * 2.0).sum()
    loss.backward()
    opt.step()
    assert used.tolist() == [0.0] * 3
    np.testing.assert_allclose(other.detach().numpy(), np.full((2, 2), 1 - 2 / rt.size()), rtol=1e-6)
