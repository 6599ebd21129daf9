"""What all optimisers share: groups, buckets, state, and parameters that come and go."""

import copy
import json

import ml_dtypes
import numpy as np
import pytest

import ringtrain as rt
from ringtrain import nn, optim

from ..arrays import on_host
from . import references
from .conftest import SHAPES, normal, parameters, set_gradients, values

MAKERS = {
    "sgd": lambda p: optim.SGD(p, lr=0.1, momentum=0.9),
    "plain": lambda p: optim.SGD(p, lr=0.1),
    "lars": lambda p: optim.LARS(p, lr=0.1),
    "adam": lambda p: optim.Adam(p, lr=0.01),
    "amsgrad": lambda p: optim.Adam(p, lr=0.01, amsgrad=True),
    "adamw": lambda p: optim.AdamW(p, lr=0.01),
    "adamax": optim.Adamax,
    "nadam": optim.NAdam,
    "radam": optim.RAdam,
    "lamb": optim.LAMB,
    "rmsprop": lambda p: optim.RMSprop(p, momentum=0.5, centered=True),
    "adagrad": lambda p: optim.Adagrad(p, initial_accumulator_value=0.1),
    "adadelta": optim.Adadelta,
    "ftrl": optim.Ftrl,
    "lion": optim.Lion,
    "rprop": optim.Rprop,
    "adafactor": optim.Adafactor,
    "muon": optim.Muon,
}
maker = pytest.mark.parametrize("name", MAKERS)


def steps(optimizer, params, numbers):
    for step in numbers:
        set_gradients(params, step)
        optimizer.step()


def same(a, b):
    assert len(a) == len(b)
    for x, y in zip(a, b, strict=True):
        assert x.dtype == y.dtype
        np.testing.assert_array_equal(x, y)


def flat_state(optimizer):
    state = optimizer.state_dict()
    return [on_host(v) for _, entry in sorted(state["state"].items()) for _, v in sorted(entry.items())]


# --- groups ---------------------------------------------------------------------------------------------
def test_groups_have_their_own_options():
    params = parameters()
    groups = [
        {"params": params[:2]},
        {"params": params[2], "lr": 0.5},
        {"params": params[3:], "momentum": 0.5, "lr": 0.01},
    ]
    sgd = optim.SGD(groups, lr=0.1)
    assert [g["lr"] for g in sgd.param_groups] == [0.1, 0.5, 0.01]
    starts = values(params)
    states = [{} for _ in params]
    for t in (1, 2, 3):
        set_gradients(params, t)
        sgd.step()
        for i, options in enumerate([{"lr": 0.1}] * 2 + [{"lr": 0.5}] + [{"lr": 0.01, "momentum": 0.5}] * 3):
            starts[i] = references.sgd(starts[i], normal(starts[i].shape, 100 + t, i), states[i], t, **options)
    for got, exact in zip(values(params), starts, strict=True):
        np.testing.assert_allclose(got, exact, rtol=0, atol=1e-14)


def test_a_changed_rate_takes_effect():
    params = parameters(shapes=[(3,)])
    sgd = optim.SGD(params, lr=0.1)
    before = values(params)[0]
    sgd.param_groups[0]["lr"] = 2.0
    params[0].grad = np.ones(3)
    sgd.step()
    np.testing.assert_allclose(values(params)[0], before - 2.0)


def test_dtypes_may_differ():
    kinds = [np.float32, np.float64, np.float16, np.float32, ml_dtypes.bfloat16, np.float64]
    params = [
        nn.Parameter(rt.from_numpy(normal(s, i).astype(d))) for i, (s, d) in enumerate(zip(SHAPES, kinds, strict=True))
    ]
    alone = [nn.Parameter(rt.from_numpy(v)) for v in values(params)]
    sgd, singles = MAKERS["sgd"](params), [MAKERS["sgd"]([p]) for p in alone]
    for step in range(3):
        set_gradients(params, step)
        set_gradients(alone, step)
        sgd.step()
        for single in singles:
            single.step()
    assert [p.dtype for p in params] == [np.dtype(d) for d in kinds]
    same(values(params), values(alone))


@pytest.mark.parametrize(
    "make, error, message",
    [
        (lambda p: optim.SGD([]), ValueError, "at least one parameter"),
        (lambda p: optim.SGD([p[0], p[0]]), ValueError, "listed twice"),
        (lambda p: optim.SGD([rt.ones(3)]), TypeError, r"parameter 0 \(float32\[3\]\) is no leaf"),
        (lambda p: optim.SGD([p[0] * 2.0]), TypeError, "is no leaf that requires a gradient"),
        (lambda p: optim.SGD(["weight"]), TypeError, r"parameter 0 \(str\)"),
        (lambda p: optim.SGD([{"lr": 1.0}]), ValueError, "needs the key 'params'"),
        (
            lambda p: optim.SGD([{"params": p, "momentun": 1.0}]),
            ValueError,
            r"SGD has no option \['momentun'\]; it has .*lr",
        ),
        (lambda p: optim.SGD(p, lr=-1), ValueError, "SGD: lr must be a number >= 0; got -1"),
        (lambda p: optim.SGD(p, lr=float("nan")), ValueError, "lr must be a number >= 0; got nan"),
        (lambda p: optim.SGD([{"params": p, "lr": "big"}]), ValueError, "lr must be a number >= 0; got 'big'"),
        (lambda p: optim.SGD(p, nesterov=True), ValueError, "nesterov needs a momentum"),
        (lambda p: optim.SGD([{"params": p, "nesterov": True}]), ValueError, "nesterov needs a momentum"),
        (lambda p: optim.Adam(p, betas=(0.9, 1.0)), ValueError, r"Adam: betas must lie in \[0, 1\); got 1.0"),
        (lambda p: optim.Adam(p, betas=(0.9,)), ValueError, "betas are two fractions"),
        (lambda p: optim.AdamW(p, eps=-1e-8), ValueError, "AdamW: eps must be"),
        (lambda p: optim.RMSprop(p, alpha=1.5), ValueError, "RMSprop: alpha must lie"),
    ],
)
def test_bad_options_are_named(make, error, message):
    with pytest.raises(error, match=message):
        make(parameters())


# --- gradients that are not there -------------------------------------------------------------------------
@maker
def test_parameters_without_a_gradient_are_left_alone(name):
    params, twins = parameters(), parameters()
    optimizer, alone = MAKERS[name](params), [MAKERS[name]([p]) for p in twins]
    starts = values(params)
    for step in range(7):  # parameter i takes part where the bits of the step say so; 1 never does
        set_gradients(params, step)
        set_gradients(twins, step)
        for i, p in enumerate(params):
            if i == 1 or not (step >> (i % 3)) & 1:
                p.grad = None
            else:
                alone[i].step()
        optimizer.step()
    same(values(params), values(twins))
    same([values(params)[1]], [starts[1]])
    state = optimizer.state_dict()["state"]
    assert [state[i]["step"] for i in range(6)] == [s.state_dict()["state"][0]["step"] for s in alone]
    assert state[1]["step"] == 0 and not any(v.any() for k, v in state[1].items() if k != "step")


def test_a_frozen_parameter_is_left_alone():
    params = parameters()
    sgd = MAKERS["sgd"](params)
    steps(sgd, params, [0])
    params[0].requires_grad = False
    before = values(params)
    for p in params[1:]:
        p.grad = np.ones(p.shape)
    sgd.step()
    same([values(params)[0]], [before[0]])
    params[0].requires_grad = True
    params[0].grad = np.ones(params[0].shape)
    sgd.step()
    assert (values(params)[0] != before[0]).all()


@pytest.mark.cpu
def test_arrays_that_are_updated_together_begin_apart():
    """As far as a processor can tell by the last 12 bits of an address."""
    (bucket,) = optim.Adam(nn.Linear(33, 7).parameters()).buckets
    starts = sorted(a.ctypes.data % 4096 for a in (bucket.data, bucket.grad, *bucket.state.values()))
    assert starts == [0, 1024, 2048, 3072]


def test_gradients_may_be_zeros_instead_of_none():
    free, held = rt.tensor([1.0, 2.0], requires_grad=True), nn.Linear(2, 2)
    sgd = optim.SGD(held.parameters(), lr=0.1, momentum=0.9)
    (held(free) ** 2).sum().backward()
    sgd.zero_grad(set_to_none=False)
    assert all(not p.grad.numpy().any() for p in held.parameters())
    assert all(p._node.grad is p._node.buffer for p in held.parameters())
    assert free.grad.numpy().any()
    (held(free) ** 2).sum().backward()
    once = held.weight.grad.numpy().copy()
    held.zero_grad()
    assert held.weight.grad is None
    held.zero_grad(set_to_none=False)  # nothing to make zeros of
    assert held.weight.grad is None
    (held(free) ** 2).sum().backward()
    np.testing.assert_array_equal(held.weight.grad.numpy(), once)


def test_zero_grad_starts_gradients_anew():
    layer = nn.Linear(3, 2)
    sgd = optim.SGD(layer.parameters(), lr=0.1)
    for _ in range(2):
        sgd.zero_grad()
        assert layer.weight.grad is None
        layer(rt.ones((1, 3))).sum().backward()
        np.testing.assert_array_equal(layer.weight.grad.numpy(), np.ones((2, 3)))
    layer(rt.ones((1, 3))).sum().backward()
    np.testing.assert_array_equal(layer.weight.grad.numpy(), np.full((2, 3), 2))


# --- the graph -------------------------------------------------------------------------------------------
def test_a_step_is_seen_by_the_graph():
    layer = nn.Linear(3, 3)
    sgd = optim.SGD(layer.parameters(), lr=0.1)
    loss = layer(layer(rt.ones((1, 3)))).sum()
    loss.backward(retain_graph=True)
    sgd.step()
    with pytest.raises(RuntimeError, match="changed in place"):
        loss.backward()


def test_a_step_leaves_the_graphs_of_other_parameters_good():
    a, b = nn.Linear(3, 3), nn.Linear(3, 3)
    sgd = optim.SGD([*a.parameters(), *b.parameters()], lr=0.1)
    x = rt.ones((1, 3), dtype=np.float32).requires_grad_()
    first, second = a(x).sum(), b(x).sum()
    first.backward()
    sgd.step()
    second.backward()
    assert b.weight.grad is not None


def test_an_optimiser_may_be_built_between_forward_and_backward():
    layer = nn.Linear(3, 3, dtype=np.float64)
    x = rt.from_numpy(normal((2, 3), 1))
    layer(layer(x)).sum().backward()
    exact = [p.grad.numpy().copy() for p in layer.parameters()]
    layer.zero_grad()
    loss = layer(layer(x)).sum()
    sgd = optim.SGD(layer.parameters(), lr=0.1)
    loss.backward()
    same([p.grad.numpy() for p in layer.parameters()], exact)
    before = values(layer.parameters())
    sgd.step()
    for p, b, g in zip(values(layer.parameters()), before, exact, strict=True):
        np.testing.assert_allclose(p, b - 0.1 * g, rtol=1e-15, atol=1e-16)


def test_gradients_of_create_graph_are_taken():
    p = nn.Parameter(rt.from_numpy(np.array([2.0, 3.0])))
    sgd = optim.SGD([p], lr=1.0)
    (p * p).sum().backward(create_graph=True)
    sgd.step()
    np.testing.assert_array_equal(values([p])[0], [-2.0, -3.0])


# --- who owns the memory ---------------------------------------------------------------------------------
def test_data_assigned_after_construction_is_kept():
    params, twins = parameters(), parameters()
    adam, other = MAKERS["adam"](params), MAKERS["adam"](twins)
    steps(adam, params, [0])
    steps(other, twins, [0])
    new = normal(SHAPES[0], 77)
    params[0].data = rt.from_numpy(new.copy())
    with rt.no_grad():
        twins[0][...] = rt.from_numpy(new)
    steps(adam, params, [1, 2])
    steps(other, twins, [1, 2])
    same(values(params), values(twins))


def test_two_optimisers_on_the_same_parameters():
    params, twins = parameters(), values(parameters())
    first, second = optim.SGD(params, lr=0.1), optim.SGD(params[::-1], lr=0.01)
    for step in range(4):
        set_gradients(params, step)
        (first, second)[step % 2].step()
        for i, t in enumerate(twins):
            twins[i] = t - (0.1, 0.01)[step % 2] * normal(t.shape, 100 + step, i)
    for got, exact in zip(values(params), twins, strict=True):
        np.testing.assert_allclose(got, exact, rtol=0, atol=1e-14)


@pytest.mark.parametrize(
    "change", [lambda m: m.to(np.float64), lambda m: m[0].weight.replace(np.zeros((5, 5), np.float32))]
)
def test_a_model_converted_afterwards_is_an_error_and_nothing_is_updated(change):
    model = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3))
    sgd = optim.SGD(model.parameters(), lr=0.1)
    sgd.rebucket(1)
    model[1](model[1](rt.ones((1, 3)))).sum().backward()
    change(model)
    before = values(model.parameters())
    with pytest.raises(RuntimeError, match="convert or move the model first, then build the optimiser"):
        sgd.step()
    same(values(model.parameters()), before)


def test_a_conversion_that_changes_nothing_is_no_error():
    layer = nn.Linear(3, 3)
    sgd = optim.SGD(layer.parameters(), lr=0.1)
    layer.to(layer.weight.device).to(np.float32)
    before = values(layer.parameters())
    layer(rt.ones((1, 3))).sum().backward()
    sgd.step()
    assert all((a != b).all() for a, b in zip(values(layer.parameters()), before, strict=True))


@maker
@pytest.mark.parametrize("bucket_bytes", [1, 500, None])
def test_new_buckets_keep_everything(name, bucket_bytes):
    params, twins = parameters(), parameters()
    optimizer, other = MAKERS[name](params), MAKERS[name](twins)
    steps(optimizer, params, range(3))
    steps(other, twins, range(3))
    set_gradients(params, 3)
    set_gradients(twins, 3)
    params[2].grad = twins[2].grad = None
    optimizer.rebucket(bucket_bytes, order=params[::-1])
    assert len(optimizer.buckets) == {1: 6, 500: 2, None: 1}[bucket_bytes]
    assert params[2].grad is None
    same(*([p.grad.numpy() for p in ps if p.grad is not None] for ps in (params, twins)))
    optimizer.step()
    other.step()
    steps(optimizer, params, range(4, 6))
    steps(other, twins, range(4, 6))
    same(values(params), values(twins))
    same(flat_state(optimizer), flat_state(other))


# --- state -----------------------------------------------------------------------------------------------
@maker
@pytest.mark.parametrize("dtype", [np.float32, np.float16, ml_dtypes.bfloat16])
def test_a_saved_state_goes_on_bit_for_bit(name, dtype):
    params = parameters(dtype)
    optimizer = MAKERS[name](params)
    steps(optimizer, params, range(5))
    optimizer.param_groups[0]["lr"] = 0.007
    saved, at = copy.deepcopy(optimizer.state_dict()), values(params)
    saved["param_groups"] = json.loads(json.dumps(saved["param_groups"]))  # as a checkpoint has it
    steps(optimizer, params, range(5, 9))
    twins = [nn.Parameter(rt.from_numpy(v)) for v in at]
    other = MAKERS[name](twins)
    other.load_state_dict(saved)
    assert other.state_dict()["param_groups"] == optimizer.state_dict()["param_groups"]
    steps(other, twins, range(5, 9))
    same(values(params), values(twins))
    same(flat_state(optimizer), flat_state(other))


def test_the_state_is_numbered_by_group_and_copied():
    params = parameters()
    sgd = optim.SGD([{"params": params[3:]}, {"params": params[:3]}], lr=0.1, momentum=0.9)
    steps(sgd, params, [0])
    state = sgd.state_dict()
    assert [g["params"] for g in state["param_groups"]] == [[0, 1, 2], [3, 4, 5]]
    assert [state["state"][i]["momentum_buffer"].shape for i in range(6)] == SHAPES[3:] + SHAPES[:3]
    state["state"][3]["momentum_buffer"][...] = 99
    assert not (sgd.state_dict()["state"][3]["momentum_buffer"] == 99).any()


def test_states_that_do_not_fit_are_named_and_nothing_changes():
    params = parameters()
    adam = optim.Adam(params, lr=0.5)
    steps(adam, params, range(2))
    before, options = flat_state(adam), dict(adam.param_groups[0])

    saved = optim.Adam(parameters(), lr=0.1).state_dict()
    saved["state"][0]["exp_avg"] = np.zeros((13, 16))
    del saved["state"][2]["exp_avg_sq"], saved["state"][4]
    saved["param_groups"][0]["rho"] = 0.5
    with pytest.raises(ValueError) as caught:
        adam.load_state_dict(saved)
    lines = [line.strip() for line in str(caught.value).splitlines()]
    assert lines[0] == "the saved state does not fit Adam:"
    assert set(lines[1:]) == {
        "group 0: unexpected rho",
        "parameter 0: exp_avg is float64[13, 16], wanted [13, 17]",
        "parameter 2: missing exp_avg_sq",
        *(f"parameter 4: missing {slot}" for slot in ("step", "exp_avg", "exp_avg_sq")),
    }
    with pytest.raises(ValueError, match=r"groups of \[2\] parameters, this Adam of \[6\]"):
        adam.load_state_dict(optim.Adam(parameters(shapes=SHAPES[:2])).state_dict())
    for other in (optim.SGD(parameters()), optim.RMSprop(parameters())):
        with pytest.raises(ValueError, match="does not fit Adam"):
            adam.load_state_dict(other.state_dict())
        with pytest.raises(ValueError, match=f"does not fit {type(other).__name__}"):
            other.load_state_dict(adam.state_dict())
    same(flat_state(adam), before)
    assert adam.param_groups[0]["lr"] == options["lr"]


def test_a_family_without_an_update_says_so():
    params = parameters()
    optimizer = optim.Optimizer(params, {"lr": 1.0})
    set_gradients(params, 0)
    with pytest.raises(NotImplementedError, match="Optimizer has no update"):
        optimizer.step()
