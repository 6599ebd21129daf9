"""Groups added later, and copies of an optimiser with its model."""

import copy
import pickle

import numpy as np
import pytest

import ringtrain as rt
from ringtrain import nn, optim

from ..arrays import on_host


def step(model, optimizer):
    optimizer.zero_grad()
    model(rt.ones((3, 2))).sum().backward()
    optimizer.step()


def test_a_group_added_later_is_trained_and_the_rest_keeps_its_state():
    rt.seed(0)
    first, second = nn.Linear(2, 2), nn.Linear(2, 2)
    adam = optim.Adam(first.parameters(), lr=0.1)
    step(first, adam)
    before = adam.state_dict()["state"][0]
    adam.add_param_group({"params": list(second.parameters()), "lr": 0.5})
    after = adam.state_dict()["state"]
    assert after[0]["step"] == 1 and after[2]["step"] == 0
    np.testing.assert_array_equal(on_host(after[0]["exp_avg"]), on_host(before["exp_avg"]))
    old = second.weight.detach().numpy().copy()
    step(second, adam)
    np.testing.assert_allclose(second.weight.detach().numpy(), old - 0.5, rtol=1e-5)
    with pytest.raises(ValueError, match="listed twice"):
        adam.add_param_group({"params": first.weight})
    assert len(adam.param_groups) == 2
    with pytest.raises(TypeError, match="requires_grad"):
        adam.add_param_group({"params": rt.ones((2,))})


@pytest.mark.parametrize("duplicate", [copy.deepcopy, lambda pair: pickle.loads(pickle.dumps(pair))])
def test_a_copied_optimiser_moves_the_copied_model(duplicate):
    rt.seed(0)
    model = nn.Linear(2, 2)
    sgd = optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    step(model, sgd)
    twin, its = duplicate((model, sgd))
    start = model.weight.detach().numpy().copy()
    step(twin, its)
    np.testing.assert_array_equal(model.weight.detach().numpy(), start)
    assert (twin.weight.detach().numpy() != start).all()
    step(model, sgd)
    np.testing.assert_array_equal(twin.weight.detach().numpy(), model.weight.detach().numpy())
