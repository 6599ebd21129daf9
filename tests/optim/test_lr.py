"""Schedules: what they multiply by, and that they can be taken up again."""

import math

import numpy as np
import pytest

import ringtrain as rt
from ringtrain import nn, optim


def sgd(*rates):
    return optim.SGD([{"params": [nn.Parameter(rt.from_numpy(np.zeros(2)))], "lr": rate} for rate in rates])


def rates(optimizer):
    return [group["lr"] for group in optimizer.param_groups]


def test_warmup_cosine():
    optimizer = sgd(0.4, 0.1)
    schedule = optim.lr.WarmupCosine(optimizer, warmup=4, total=10, final=0.1)
    seen = [rates(optimizer)[0] / 0.4]
    for _ in range(13):
        schedule.step()
        assert rates(optimizer)[1] == pytest.approx(rates(optimizer)[0] / 4, rel=1e-15)
        seen.append(rates(optimizer)[0] / 0.4)
    falling = [0.1 + 0.9 * (1 + math.cos(math.pi * i / 6)) / 2 for i in range(7)]
    np.testing.assert_allclose(seen, [0.25, 0.5, 0.75, 1.0, *falling, 0.1, 0.1, 0.1], rtol=1e-14)


@pytest.mark.parametrize(
    "warmup, total, first, last", [(0, 5, 1.0, 0.0), (5, 5, 0.2, 0.0), (0, 1, 1.0, 0.0), (1, 1, 1.0, 0.0)]
)
def test_edges(warmup, total, first, last):
    optimizer = sgd(1.0)
    schedule = optim.lr.WarmupCosine(optimizer, warmup, total)
    assert rates(optimizer) == [first]
    for _ in range(total):
        schedule.step()
    assert rates(optimizer) == pytest.approx([last], abs=1e-15)


def test_the_state_resumes():
    optimizer = sgd(0.3, 0.2)
    schedule = optim.lr.WarmupCosine(optimizer, 3, 20)
    for _ in range(7):
        schedule.step()
    state, options = schedule.state_dict(), optimizer.state_dict()
    other = sgd(0.3, 0.2)
    other.load_state_dict(options)  # its rates are those of step 7, which must not become the base
    resumed = optim.lr.WarmupCosine(other, 3, 20)
    resumed.load_state_dict(state)
    for _ in range(5):
        assert rates(other) == rates(optimizer)
        schedule.step()
        resumed.step()
    with pytest.raises(ValueError, match="the saved schedule has 2 rates, this one 1"):
        optim.lr.WarmupCosine(sgd(0.1), 1, 2).load_state_dict(state)


@pytest.mark.parametrize("warmup, total", [(-1, 3), (4, 3), (0, 0)])
def test_bad_lengths(warmup, total):
    with pytest.raises(ValueError, match=f"wants 0 <= warmup <= total, total >= 1; got {warmup} and {total}"):
        optim.lr.WarmupCosine(sgd(0.1), warmup, total)


def test_a_schedule_of_ones_own():
    class Halving(optim.lr.Schedule):
        def factor(self, step):
            return 0.5**step

    optimizer = sgd(0.8)
    schedule = Halving(optimizer)
    schedule.step()
    schedule.step()
    assert rates(optimizer) == pytest.approx([0.2])
    with pytest.raises(NotImplementedError, match="Schedule has no factor"):
        optim.lr.Schedule(optimizer)
