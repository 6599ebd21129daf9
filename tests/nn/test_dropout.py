"""Dropout: its rate, its scale, and masks that depend on nothing but seed, layer, step, call and sample."""

import copy
import math

import ml_dtypes
import numpy as np
import pytest

import ringtrain as rt
from ringtrain import nn, random


@pytest.fixture(autouse=True)
def fresh():
    """One rank, seed 5, and afterwards one rank again."""
    random.seed(5)
    yield
    random.state.offset, random.state.stride = 0, 1
    random.seed(0)


def as_rank(rank, ranks):
    random.state.offset, random.state.stride = rank, ranks


def mask(layer, shape):
    return layer(rt.ones(shape)).numpy()


@pytest.mark.parametrize("p", [0.1, 0.5, 0.9])
def test_rate_and_scale(p):
    out = mask(nn.Dropout(p), (100, 170))
    kept = out != 0
    assert (out[kept] == np.float32(1 / (1 - p))).all()
    assert abs(kept.mean() - (1 - p)) < 6 * math.sqrt(p * (1 - p) / out.size)


def test_nothing_and_everything():
    x = rt.tensor(np.random.default_rng(0).standard_normal((5, 7)), requires_grad=True)
    assert nn.Dropout(0.0)(x) is x
    assert not nn.Dropout(1.0)(x).detach().numpy().any()
    assert nn.Dropout(0.7).eval()(x) is x


@pytest.mark.parametrize("dtype", [np.float16, ml_dtypes.bfloat16, np.float64])
def test_dtypes(dtype):
    out = nn.Dropout(0.5)(rt.ones((13, 17), dtype=dtype)).numpy()
    assert out.dtype == np.dtype(dtype) and set(np.unique(out.astype(np.float64))) == {0.0, 2.0}


def test_the_gradient_goes_through_the_mask():
    x = rt.from_numpy(np.random.default_rng(0).standard_normal((13, 17))).requires_grad_()
    out = nn.Dropout(0.3)(x)
    out.sum().backward()
    kept = out.detach().numpy() != 0
    np.testing.assert_allclose(x.grad.numpy(), kept / 0.7, rtol=1e-15)


@pytest.mark.parametrize("ranks", [2, 3, 4])
@pytest.mark.parametrize("shape", [(12, 7), (12, 1), (24, 3, 5), (12,)])
def test_ranks_together_draw_the_mask_of_one(ranks, shape):
    whole = mask(nn.Dropout(0.4), shape)
    for rank in range(ranks):
        random.seed(5)
        as_rank(rank, ranks)
        part = mask(nn.Dropout(0.4), (shape[0] // ranks, *shape[1:]))
        np.testing.assert_array_equal(part, whole[rank::ranks])


def test_layers_steps_and_calls_differ_and_repeat():
    def drawn():
        random.seed(5)
        first, second = nn.Dropout(0.5), nn.Dropout(0.5)
        masks = [mask(first, (9, 11)), mask(second, (9, 11)), mask(first, (9, 11))]
        random.state.step += 1
        return [*masks, mask(first, (9, 11)), mask(first, (9, 11))]

    masks = drawn()
    for i, a in enumerate(masks):
        assert all((a != b).any() for b in masks[:i])
    for a, b in zip(masks, drawn(), strict=True):
        np.testing.assert_array_equal(a, b)


def test_evaluation_between_two_steps_changes_nothing():
    rt.seed(5)
    layer = nn.Dropout(0.5)
    rt.seed(5)
    twin = nn.Dropout(0.5)
    mask(layer, (4, 4)), mask(twin, (4, 4))
    twin.eval()(rt.ones((4, 4)))
    twin.train()
    np.testing.assert_array_equal(mask(layer, (4, 4)), mask(twin, (4, 4)))


def test_a_copy_has_masks_of_its_own():
    layer = nn.Dropout(0.3).eval()
    twin = copy.deepcopy(layer)
    assert twin.p == 0.3 and not twin.training
    assert (mask(layer.train(), (9, 9)) != mask(twin.train(), (9, 9))).any()


def test_optimisers_advance_the_step():
    layer, model = nn.Dropout(0.5), nn.Linear(2, 1)
    sgd = rt.optim.SGD(model.parameters(), lr=0.1)
    before = mask(layer, (9, 11))
    model(rt.ones((1, 2))).sum().backward()
    sgd.step()
    assert random.state.step == 1
    assert (mask(layer, (9, 11)) != before).any()


def test_training_goes_on_after_a_checkpoint_as_without(tmp_path):
    def start(seed):
        random.seed(seed)
        model = nn.Sequential(nn.Linear(6, 8), nn.Dropout(0.5), nn.Linear(8, 1), nn.Dropout(0.1))
        return model, rt.optim.SGD(model.parameters(), lr=0.1)

    def train(model, sgd, steps):
        for step in steps:
            x = np.random.default_rng(step).standard_normal((5, 6)).astype(np.float32)
            model(rt.from_numpy(x)).sum().backward()
            sgd.step()
            sgd.zero_grad()

    model, sgd = start(3)
    train(model, sgd, range(4))
    rt.checkpoint.save(tmp_path / "half", model, sgd, step=4)
    train(model, sgd, range(4, 8))
    resumed, its_sgd = start(99)
    assert rt.checkpoint.load(tmp_path / "half", resumed, its_sgd)["step"] == 4
    train(resumed, its_sgd, range(4, 8))
    for a, b in zip(model.parameters(), resumed.parameters(), strict=True):
        np.testing.assert_array_equal(a.detach().numpy(), b.detach().numpy())
