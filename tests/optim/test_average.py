"""EMA and SWA: the averages, and taking the parameters' place."""

import copy

import ml_dtypes
import numpy as np
import pytest

import ringtrain as rt
from ringtrain import nn, optim

from ..arrays import on_host
from .conftest import SHAPES, normal, parameters, set_gradients, values


def trained(average, params, steps=range(7)):
    """The parameters after each step."""
    sgd = optim.SGD(params, lr=0.1)
    seen = []
    for step in steps:
        set_gradients(params, step)
        sgd.step()
        average.update()
        seen.append(values(params))
    return seen


def test_ema():
    params = parameters()
    ema = optim.EMA(params, decay=0.9)
    seen = trained(ema, params)
    exact = seen[0]
    for now in seen[1:]:
        exact = [0.9 * a + 0.1 * p for a, p in zip(exact, now, strict=True)]
    for got, a in zip(map(on_host, ema.averages), exact, strict=True):
        np.testing.assert_allclose(got, a, rtol=0, atol=1e-14)


def test_ema_with_warmup():
    p = nn.Parameter(rt.from_numpy(np.zeros(1)))
    ema = optim.EMA([p], decay=0.5, warmup=True)
    exact = None
    for n in range(12):
        p.data = rt.from_numpy(np.array([float(n * n)]))
        ema.update()
        decay = min(0.5, (1 + n) / (10 + n))
        exact = float(n * n) if exact is None else decay * exact + (1 - decay) * n * n
    assert float(ema.averages[0][0]) == pytest.approx(exact, rel=1e-14)


def test_swa():
    params = parameters()
    swa = optim.SWA(params)
    seen = trained(swa, params)
    for i, got in enumerate(map(on_host, swa.averages)):
        np.testing.assert_allclose(got, np.mean([now[i] for now in seen], axis=0), rtol=0, atol=1e-14)


def test_pytorch_agrees():
    torch = pytest.importorskip("torch")
    from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

    for own, options in ((optim.EMA, {"multi_avg_fn": get_ema_multi_avg_fn(0.9)}), (optim.SWA, {})):
        params = parameters(shapes=[(3, 4), (4,)])
        model = torch.nn.ParameterList([torch.from_numpy(v) for v in values(params)])
        mine = own(params, 0.9) if own is optim.EMA else own(params)
        theirs = AveragedModel(model, **options)
        for now in trained(mine, params):
            for p, v in zip(model, now, strict=True):
                p.data = torch.from_numpy(v.copy())
            theirs.update_parameters(model)
        for got, want in zip(map(on_host, mine.averages), theirs.module, strict=True):
            np.testing.assert_allclose(got, want.detach().numpy(), rtol=1e-13)


@pytest.mark.parametrize("dtype", [np.float64, np.float32, np.float16, ml_dtypes.bfloat16])
def test_swapping_in_and_out(dtype):
    params = parameters(dtype)
    ema = optim.EMA(params, decay=0.9)
    trained(ema, params)
    before = values(params)
    with ema.applied():
        for p, average in zip(values(params), ema.averages, strict=True):
            np.testing.assert_array_equal(p, on_host(average).astype(dtype))
        with pytest.raises(RuntimeError, match="swap"):
            ema.update()
    for p, exact in zip(values(params), before, strict=True):
        np.testing.assert_array_equal(p, exact)
    with pytest.raises(ZeroDivisionError), ema.applied():
        _ = 1 / 0
    for p, exact in zip(values(params), before, strict=True):
        np.testing.assert_array_equal(p, exact)


def test_a_graph_recorded_before_swapping_is_not_gone_through():
    layer = nn.Linear(3, 3)
    ema = optim.EMA(layer.parameters())
    loss = layer(layer(rt.ones((1, 3)))).sum()
    ema.swap()
    with pytest.raises(RuntimeError, match="changed in place"):
        loss.backward()


@pytest.mark.parametrize("dtype", [np.float32, ml_dtypes.bfloat16])
@pytest.mark.parametrize("kind", [optim.EMA, optim.SWA])
def test_a_saved_average_goes_on_bit_for_bit(kind, dtype):
    params = parameters(dtype)
    average = kind(params)
    trained(average, params)
    saved, twins = copy.deepcopy(average.state_dict()), [nn.Parameter(rt.from_numpy(v)) for v in values(params)]
    other = kind(twins)
    other.load_state_dict(saved)
    trained(average, params, range(7, 11))
    trained(other, twins, range(7, 11))
    assert average.count == other.count == 11
    for a, b in zip(average.averages, other.averages, strict=True):
        np.testing.assert_array_equal(on_host(a), on_host(b))


def test_what_does_not_fit():
    state = optim.EMA(parameters()).state_dict()
    with pytest.raises(ValueError, match="has 6 parameters, this one 2"):
        optim.EMA(parameters(shapes=SHAPES[:2])).load_state_dict(state)
    state["averages"][0] = normal((2, 2), 1)
    with pytest.raises(ValueError, match=r"average 0 is float64\[2, 2\], wanted \[13, 17\]"):
        optim.EMA(parameters()).load_state_dict(state)
    with pytest.raises(ValueError, match=r"EMA: decay must lie in \[0, 1\)"):
        optim.EMA(parameters(), decay=1.0)
    with pytest.raises(TypeError, match="wants parameters"):
        optim.EMA([])
