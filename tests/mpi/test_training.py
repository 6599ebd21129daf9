"""Data-parallel training on as many ranks as there are: the same as one rank on all of the data."""

import copy

import numpy as np
import pytest

import ringtrain as rt
from ringtrain import nn, random

from .conftest import EVERY_SIZE, Branches, assert_same_on_all_ranks, mlp, normal, values

pytestmark = [pytest.mark.mpi, pytest.mark.usefixtures("together")]


def cnn(dtype):
    return nn.Sequential(
        *[nn.Conv2d(1, 4, 3, stride=2, dtype=dtype), nn.ReLU(), nn.Conv2d(4, 6, 2, dtype=dtype), nn.Tanh()],
        *[nn.MaxPool2d(2), nn.Flatten(), nn.Linear(6, 5, dtype=dtype)],
    )


MODELS = {"mlp": (mlp, (13,)), "cnn": (cnn, (1, 8, 8))}


class Ranks:
    """This process as rank 0 of 1 for randomness, so that a reference can be computed beside the job."""

    def __enter__(self):
        self.before = (random.state.offset, random.state.stride)
        random.state.offset, random.state.stride = 0, 1

    def __exit__(self, *error):
        random.state.offset, random.state.stride = self.before


def alone(model, optimizer, batches):
    """One rank on whole batches."""
    with Ranks():
        for x, y in batches:
            nn.cross_entropy(model(rt.from_numpy(x)), y).backward()
            optimizer.step()
            optimizer.zero_grad()


def batches_of(shape, dtype, batch, steps):
    x = normal((batch * steps, *shape), 1).astype(dtype)
    y = np.random.default_rng(2).integers(0, 5, batch * steps)
    return x, y


@pytest.mark.parametrize("shuffle", [False, True])
@pytest.mark.parametrize("bucket_bytes", EVERY_SIZE)
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("name", MODELS)
def test_n_ranks_are_one_with_n_times_the_batch(name, dtype, bucket_bytes, shuffle):
    make, shape = MODELS[name]
    batch, steps = 3, 50
    x, y = batches_of(shape, dtype, batch * rt.size(), 25)
    whole = rt.data.ArrayDataset(x, y)
    model = make(dtype)
    reference, exact = copy.deepcopy(model), copy.deepcopy(model).to(np.float64)
    sgd = rt.optim.SGD(model.parameters(), lr=0.2, momentum=0.5)
    optimizer = rt.DistributedOptimizer(sgd, model.named_parameters(), bucket_bytes=bucket_bytes)
    assert rt.size() == 1 or len(sgd.buckets) == {1: 6, 4 << 20: 1}.get(bucket_bytes, len(sgd.buckets))
    sampler = rt.data.DistributedSampler(whole, shuffle=shuffle, seed=3)
    loader = rt.data.DataLoader(whole, batch, sampler=sampler)
    for _ in range(2):
        for xs, ys in loader:
            nn.cross_entropy(model(xs), ys).backward()
            optimizer.step()
            optimizer.zero_grad()

    order = rt.data.DistributedSampler(whole, 1, 0, shuffle=shuffle, seed=3)
    one = [
        [b.numpy() for b in pair]
        for _ in range(2)
        for pair in rt.data.DataLoader(whole, batch * rt.size(), sampler=order)
    ]
    assert len(one) == steps
    alone(reference, rt.optim.SGD(reference.parameters(), lr=0.2, momentum=0.5), one)
    alone(exact, rt.optim.SGD(exact.parameters(), lr=0.2, momentum=0.5), [(a.astype(np.float64), b) for a, b in one])
    assert_same_on_all_ranks(model)
    for key, got in values(model).items():
        if dtype == np.float64:
            np.testing.assert_allclose(got, values(reference)[key], rtol=0, atol=1e-12, err_msg=key)
        else:
            # both differ from the exact run by their own rounding: neither may be much the worse
            own = np.abs(values(reference)[key] - values(exact)[key]).max()
            assert np.abs(got - values(exact)[key]).max() <= 8 * own + 50 * 2.0**-24, key


def test_dropout_masks_are_those_of_one_rank():
    batch, steps = 4, 5
    x, y = batches_of((13,), np.float64, batch * rt.size(), steps)

    def build():
        rt.seed(11)
        return nn.Sequential(nn.Dropout(0.2), mlp(np.float64), nn.Dropout(0.5))

    model = build()
    sgd = rt.optim.SGD(model.parameters(), lr=0.2)
    optimizer = rt.DistributedOptimizer(sgd, model.named_parameters())
    for step in range(steps):
        mine = np.arange(step * batch * rt.size(), (step + 1) * batch * rt.size())[rt.rank() :: rt.size()]
        nn.cross_entropy(model(rt.from_numpy(x[mine])), y[mine]).backward()
        optimizer.step()
        optimizer.zero_grad()
    reference = build()
    size = batch * rt.size()
    pairs = [(x[i : i + size], y[i : i + size]) for i in range(0, len(x), size)]
    alone(reference, rt.optim.SGD(reference.parameters(), lr=0.2), pairs)
    for key, got in values(model).items():
        np.testing.assert_allclose(got, values(reference)[key], rtol=0, atol=1e-12, err_msg=key)


@pytest.mark.parametrize("bucket_bytes", EVERY_SIZE)
@pytest.mark.parametrize("who", ["rank 0 alone", "all but rank 0", "nobody", "everybody"])
def test_parameters_that_some_ranks_do_not_reach(who, bucket_bytes):
    def reaches(rank):
        return {"rank 0 alone": rank == 0, "all but rank 0": rank > 0, "nobody": False, "everybody": True}[who]

    model, twin = Branches(), Branches()
    sgd = rt.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    optimizer = rt.DistributedOptimizer(sgd, model.named_parameters(), bucket_bytes=bucket_bytes)
    plain = rt.optim.SGD(twin.parameters(), lr=0.1, momentum=0.9)
    start = values(model)
    for step in range(3):
        model(rt.from_numpy(normal((4, 7), step, rt.rank())), reaches(rt.rank())).sum().backward()
        optimizer.synchronize()
        assert model.never.grad is None
        assert (model.some.grad is not None) == any(map(reaches, range(rt.size())))
        optimizer.step()
        optimizer.zero_grad()
        for rank in range(rt.size()):
            (twin(rt.from_numpy(normal((4, 7), step, rank)), reaches(rank)).sum() / rt.size()).backward()
        plain.step()
        plain.zero_grad()
    for key, got in values(model).items():
        np.testing.assert_allclose(got, values(twin)[key], rtol=0, atol=1e-12, err_msg=key)
    assert (values(model)["never"] == start["never"]).all()
    numbered = optimizer.state_dict()["state"]
    assert [numbered[i]["step"] for i in range(4)] == [0, 3, 3 if any(map(reaches, range(rt.size()))) else 0, 3]
    assert_same_on_all_ranks(model)


@pytest.mark.parametrize("op", [rt.Average, rt.Sum])
@pytest.mark.parametrize("bucket_bytes", EVERY_SIZE)
def test_several_backward_passes_a_step(bucket_bytes, op):
    model = mlp(np.float64)
    twin = copy.deepcopy(model)
    sgd = rt.optim.SGD(model.parameters(), lr=0.01)
    optimizer = rt.DistributedOptimizer(
        sgd, model.named_parameters(), op, backward_passes_per_step=2, bucket_bytes=bucket_bytes
    )
    plain = rt.optim.SGD(twin.parameters(), lr=0.01)
    for step in range(3):
        for part in range(2):
            x = normal((4, 13), step, part, rt.rank())
            model(rt.from_numpy(x)).sum().backward()
        optimizer.step()
        optimizer.zero_grad()
        for rank in range(rt.size()):
            for part in range(2):
                x = normal((4, 13), step, part, rank)
                scale = rt.size() if op is rt.Average else 1
                (twin(rt.from_numpy(x)).sum() / scale).backward()
        plain.step()
        plain.zero_grad()
    for key, got in values(model).items():
        np.testing.assert_allclose(got, values(twin)[key], rtol=0, atol=1e-11, err_msg=key)
    assert_same_on_all_ranks(model)
