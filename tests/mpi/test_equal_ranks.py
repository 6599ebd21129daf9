"""Making ranks equal: parameters, optimiser state, metrics."""

import numpy as np
import pytest

import collectives
import ringtrain as rt
from ringtrain import nn

from ..metrics.zoo import COUNT, ZOO, count
from .conftest import mlp, normal, values

pytestmark = [pytest.mark.mpi, pytest.mark.usefixtures("together")]


class WithBuffers(nn.Module):
    def __init__(self, shift):
        self.weight = nn.Parameter(normal((3, 5), 1) + shift)
        self.norm = nn.BatchNorm1d(5)
        self.count = rt.from_numpy(np.arange(4) + int(shift))
        self.nothing = nn.Parameter(np.zeros((0, 2), np.float32))


def test_broadcast_parameters_and_buffers():
    for root in range(rt.size()):
        model, wanted = WithBuffers(rt.rank()), WithBuffers(root)
        model.norm(rt.ones((3, 5)) * float(rt.rank() + 2))
        wanted.norm(rt.ones((3, 5)) * float(root + 2))
        rt.broadcast_parameters(model, root_rank=root)
        for name, array in model.state_dict().items():
            np.testing.assert_array_equal(array, wanted.state_dict()[name], err_msg=name)
        state = WithBuffers(rt.rank()).state_dict()
        rt.broadcast_parameters(state, root)
        np.testing.assert_array_equal(state["weight"], WithBuffers(root).weight.detach().numpy())


def test_ranks_may_have_registered_the_same_names_in_another_order():
    names = ["a", "b", "c"]
    arrays = {n: np.full(3, 10 * rt.rank() + i) for i, n in enumerate(names)}
    items = list(arrays.items())[:: -1 if rt.rank() % 2 else 1]
    rt.broadcast_parameters(items, root_rank=rt.size() - 1)
    assert [arrays[n][0] for n in names] == [10 * (rt.size() - 1) + i for i in range(3)]


def test_a_broadcast_is_seen_by_the_graph():
    layer = nn.Linear(2, 2)
    loss = layer(layer(rt.ones((1, 2)))).sum()
    rt.broadcast_parameters(layer)
    with pytest.raises(RuntimeError, match="changed in place"):
        loss.backward()


@pytest.mark.usefixtures("several")
def test_different_models_are_the_same_error_on_every_rank():
    odd = rt.rank() == rt.size() - 1
    model = nn.Sequential(nn.Linear(3, 4 if odd else 5), nn.Linear(2, 2))
    before = values(model)
    with pytest.raises(collectives.MismatchError, match=r"the ranks have different models") as caught:
        rt.broadcast_parameters(model)
    last = rt.size() - 1
    assert f"0.weight: rank 0 has ((5, 3), 'float32'), rank {last} has ((4, 3), 'float32')" in str(caught.value)
    assert all((values(model)[name] == before[name]).all() for name in before)
    assert len(set(rt.allgather_object(str(caught.value)))) == 1
    assert rt.allreduce(np.ones(3), rt.Sum)[0] == rt.size()


def test_broadcast_optimizer_state():
    model = mlp(np.float64)
    adam = rt.optim.Adam(model.parameters(), lr=0.1 * (rt.rank() + 1))
    optimizer = rt.DistributedOptimizer(adam, model.named_parameters(), bucket_bytes=1000)
    for step in range(rt.rank() + 1):
        for p in model.parameters():
            p.grad = normal(p.shape, step, rt.rank())
        adam.step()
    states = rt.allgather_object(optimizer.state_dict())
    root = rt.size() - 1
    rt.broadcast_optimizer_state(optimizer, root_rank=root)
    got = optimizer.state_dict()
    assert got["param_groups"] == states[root]["param_groups"]
    for number, entry in got["state"].items():
        assert entry["step"] == root + 1
        for slot in ("exp_avg", "exp_avg_sq"):
            np.testing.assert_array_equal(entry[slot], states[root]["state"][number][slot])


def test_merged_metrics_are_those_of_all_samples():
    scores = normal((53, 7), 1)
    labels = np.random.default_rng(2).integers(0, 7, 53)
    accuracy, mean = rt.metrics.Accuracy(), rt.metrics.Mean()
    mine = slice(rt.rank() * 13, 53 if rt.rank() == rt.size() - 1 else (rt.rank() + 1) * 13)
    accuracy.update(scores[mine], labels[mine])
    mean.update(scores[mine].mean(), labels[mine].size)
    rt.merge_metrics([accuracy, mean])
    assert accuracy.value() == np.mean(scores.argmax(1) == labels)
    assert mean.value() == pytest.approx(scores.mean(), rel=1e-13)
    empty = rt.metrics.Mean()
    rt.merge_metrics(empty)
    assert np.isnan(empty.value())


def test_every_metric_merged_is_that_of_all_samples():
    share = np.random.default_rng(rt.size()).integers(0, rt.size(), COUNT)  # a rank may have nothing
    parts = {name: count(make, feed, np.flatnonzero(share == rt.rank())) for name, (make, feed) in ZOO.items()}
    rt.merge_metrics(parts.values())
    for name, metric in parts.items():
        exact = count(*ZOO[name], range(COUNT)).value()
        np.testing.assert_allclose(metric.value(), exact, rtol=1e-13, atol=1e-15, err_msg=name)
    alone = rt.metrics.AUC()
    if rt.rank() == rt.size() - 1:
        alone.update([0.3, 0.6], [0, 1])
    rt.merge_metrics(alone)
    assert alone.value() == 1
