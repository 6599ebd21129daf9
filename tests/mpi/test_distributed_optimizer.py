"""DistributedOptimizer: what is sent when, and calls in unusual orders."""

import copy

import numpy as np
import pytest

import collectives
import ringtrain as rt
from ringtrain import nn

from .conftest import EVERY_SIZE, Branches, assert_same_on_all_ranks, mlp, normal, values

pytestmark = [pytest.mark.mpi, pytest.mark.usefixtures("together")]


def small(bucket_bytes=1):
    model = nn.Sequential(nn.Linear(3, 4, dtype=np.float64), nn.Linear(4, 2, dtype=np.float64))
    sgd = rt.optim.SGD(model.parameters(), lr=0.1)
    return model, rt.DistributedOptimizer(sgd, model.named_parameters(), bucket_bytes=bucket_bytes)


def loss_of(model, *seed):
    return model(rt.from_numpy(normal((5, 3), *seed))).sum()


def averaged(model, *seed):
    """The gradients of the mean over ranks of loss_of(model, *seed, rank), computed on this rank alone."""
    twin = copy.deepcopy(model)
    for rank in range(rt.size()):
        (loss_of(twin, *seed, rank) / rt.size()).backward()
    return {name: p.grad.numpy() for name, p in twin.named_parameters()}


def assert_gradients(model, expected):
    for name, p in model.named_parameters():
        np.testing.assert_allclose(p.grad.detach().numpy(), expected[name], rtol=0, atol=1e-12, err_msg=name)


@pytest.mark.usefixtures("several")
def test_a_second_backward_is_an_error_that_names_the_parameter():
    model, optimizer = small()
    loss_of(model, 1, rt.rank()).backward()
    with pytest.raises(RuntimeError, match=r"the gradient of 1.\w+ was computed 2 times before step\(\); .* is 1"):
        loss_of(model, 2, rt.rank()).backward()
    optimizer.zero_grad()  # and then all is as before
    expected = averaged(model, 3)
    loss_of(model, 3, rt.rank()).backward()
    optimizer.synchronize()
    assert_gradients(model, expected)
    with pytest.raises(RuntimeError, match=r"computed after synchronize\(\) and would not be sent"):
        loss_of(model, 4, rt.rank()).backward()
    optimizer.zero_grad()


@pytest.mark.parametrize("bucket_bytes", EVERY_SIZE)
def test_zero_grad_while_gradients_are_under_way(bucket_bytes):
    model = Branches()
    sgd = rt.optim.SGD(model.parameters(), lr=0.1)
    # the first bucket to leave has the parameter that odd ranks do not reach: they have sent nothing
    named = sorted(model.named_parameters(), key=lambda pair: pair[0] == "some")
    optimizer = rt.DistributedOptimizer(sgd, named, bucket_bytes=bucket_bytes)
    start = values(model)
    for _ in range(3):
        # ranks differ in which buckets are complete, so in how many have been sent
        model(rt.from_numpy(normal((4, 7), rt.rank())), rt.rank() % 2 == 0).sum().backward()
        optimizer.zero_grad()
        assert all(p.grad is None for p in model.parameters())
    optimizer.step()
    assert all((values(model)[name] == start[name]).all() for name in start)
    x = rt.from_numpy(normal((4, 7), 1))
    twin = copy.deepcopy(model)
    twin(x, True).sum().backward()
    model(x, True).sum().backward()
    optimizer.synchronize()
    for name in ("common", "some", "last"):
        got, wanted = (dict(m.named_parameters())[name].grad.numpy() for m in (model, twin))
        np.testing.assert_allclose(got, wanted, rtol=0, atol=1e-12)
    optimizer.zero_grad()


def test_synchronize_then_clip_then_step():
    model, optimizer = small(4 << 20)
    expected, start = averaged(model, 1), values(model)
    loss_of(model, 1, rt.rank()).backward()
    optimizer.synchronize()
    assert_gradients(model, expected)
    norm = np.sqrt(sum((p.grad.numpy() ** 2).sum() for p in model.parameters()))
    for p in model.parameters():
        p.grad = p.grad * (0.5 / norm)
    optimizer.synchronize()  # nothing is sent again
    optimizer.step()
    total = np.sqrt(sum((g**2).sum() for g in expected.values()))
    for name, got in values(model).items():
        np.testing.assert_allclose(got, start[name] - 0.1 * expected[name] * 0.5 / total, rtol=0, atol=1e-12)
    assert_same_on_all_ranks(model)


def test_step_without_zero_grad_adds_up_as_on_one_rank():
    model, optimizer = small()
    loss_of(model, 1, rt.rank()).backward()
    optimizer.step()
    first = {n: p.grad.numpy().copy() for n, p in model.named_parameters()}
    second = averaged(model, 2)
    loss_of(model, 2, rt.rank()).backward()
    optimizer.synchronize()
    assert_gradients(model, {n: first[n] + second[n] for n in first})
    optimizer.zero_grad()


def test_gradients_made_with_create_graph_are_sent():
    model, optimizer = small()
    expected = averaged(model, 1)
    loss_of(model, 1, rt.rank()).backward(create_graph=True)
    optimizer.synchronize()
    assert_gradients(model, expected)
    optimizer.zero_grad()


def test_a_parameter_frozen_and_thawed_is_still_averaged():
    model, optimizer = small()
    model[0].weight.requires_grad = False
    start = values(model)
    loss_of(model, 1, rt.rank()).backward()
    optimizer.step()
    optimizer.zero_grad()
    assert (values(model)["0.weight"] == start["0.weight"]).all()
    model[0].weight.requires_grad = True
    expected = averaged(model, 2)
    loss_of(model, 2, rt.rank()).backward()
    optimizer.synchronize()
    assert_gradients(model, expected)
    optimizer.zero_grad()


def test_another_one_may_follow_on_the_same_parameters():
    model, optimizer = small()
    for phase in range(3):
        sgd = rt.optim.SGD(model.parameters(), lr=0.1)
        optimizer = rt.DistributedOptimizer(sgd, model.named_parameters(), bucket_bytes=1)
        for step in range(2):
            expected = averaged(model, phase, step)
            loss_of(model, phase, step, rt.rank()).backward()
            optimizer.synchronize()
            assert_gradients(model, expected)
            optimizer.step()
            optimizer.zero_grad()


def test_hooks_see_the_gradients_of_this_rank_in_backward_order():
    model = mlp(np.float64)
    seen = []
    for name, p in model.named_parameters():
        p.on_grad_ready(lambda p, name=name: seen.append((name, p.grad.numpy().copy())))
    optimizer = rt.DistributedOptimizer(
        rt.optim.SGD(model.parameters(), lr=0.1), model.named_parameters(), bucket_bytes=1
    )
    x = normal((4, 13), rt.rank())
    twin = copy.deepcopy(model)
    model(rt.from_numpy(x)).sum().backward()
    twin(rt.from_numpy(x)).sum().backward()
    assert [name.split(".")[0] for name, _ in seen] == ["4", "4", "2", "2", "0", "0"]
    for name, gradient in seen:
        np.testing.assert_array_equal(gradient, dict(twin.named_parameters())[name].grad.numpy())
    optimizer.zero_grad()


@pytest.mark.usefixtures("several")
@pytest.mark.parametrize("backwards", [False, True])
def test_a_bucket_leaves_when_it_is_complete_and_those_before_it_have_left(monkeypatch, backwards):
    model, events = small()[0], []
    for name, p in model.named_parameters():
        p.on_grad_ready(lambda p, name=name: events.append(name))
    named = list(model.named_parameters())[:: -1 if backwards else 1]
    sgd = rt.optim.SGD(model.parameters(), lr=0.1)
    optimizer = rt.DistributedOptimizer(sgd, named, bucket_bytes=1)

    def noted(send):
        def sent(array, op, name):
            events.append(name)
            return send(array, op, name=name)

        return sent

    monkeypatch.setattr(collectives, "allreduce_async_", noted(collectives.allreduce_async_))
    monkeypatch.setattr(collectives, "allreduce_", noted(collectives.allreduce_))
    loss_of(model, rt.rank()).backward()
    order = [name for name, _ in named[::-1]]
    buckets = [f"gradients {i + 1} of 4 ({name} ... {name})" for i, name in enumerate(order)]
    expected, waiting, ready = [], list(zip(order, buckets, strict=True)), set()
    for name in [e for e in events if not e.startswith("gradients")]:
        expected.append(name)
        ready.add(name)
        while len(waiting) > 1 and waiting[0][0] in ready:  # the last one is left to synchronize()
            expected.append(waiting.pop(0)[1])
    assert events == expected and len(waiting) == 1
    optimizer.synchronize()
    assert events == [*expected, waiting[0][1]]
    optimizer.step()


def test_two_models_with_an_optimiser_each():
    (a, first), (b, second) = small(), small()
    for step in range(2):
        expected = [averaged(a, step), averaged(b, step)]
        loss_of(a, step, rt.rank()).backward()
        loss_of(b, step, rt.rank()).backward()
        first.synchronize()
        second.synchronize()
        assert_gradients(a, expected[0])
        assert_gradients(b, expected[1])
        for optimizer in (second, first):
            optimizer.step()
            optimizer.zero_grad()


# --- what may be wrong ------------------------------------------------------------------------------------
def test_bad_arguments_are_named():
    model = mlp(np.float64)
    sgd = rt.optim.SGD(model.parameters(), lr=0.1)
    named = list(model.named_parameters())
    with pytest.raises(ValueError, match="backward_passes_per_step must be >= 1; got 0"):
        rt.DistributedOptimizer(sgd, named, backward_passes_per_step=0)
    with pytest.raises(ValueError, match="by Average or Sum, not by"):
        rt.DistributedOptimizer(sgd, named, op=rt.Max)
    with pytest.raises(ValueError, match=r"names 5 parameters, but not number 0 of the optimiser's 6"):
        rt.DistributedOptimizer(sgd, named[1:])
    with pytest.raises(ValueError, match=r"names more than once: \['0.bias'\]"):
        rt.DistributedOptimizer(sgd, [*named, ("0.bias", mlp(np.float32)[0].bias)])
    with pytest.raises(ValueError, match="a parameter under two names"):
        rt.DistributedOptimizer(sgd, [*named, ("again", named[0][1])])
    with pytest.raises(TypeError, match=r"\(name, parameter\) pairs"):
        rt.DistributedOptimizer(sgd, [p for _, p in named])


@pytest.mark.mpi
def test_parameters_in_another_order_are_named_on_every_rank(several):
    names = ["a", "b", "c", "d"] if rt.rank() == 0 else ["a", "c", "b", "d"]
    named = [(n, nn.Parameter(np.zeros(3, np.float32))) for n in names]
    with pytest.raises(rt.MismatchError, match="parameter 1: rank 0 has"):
        rt.DistributedOptimizer(rt.optim.SGD([p for _, p in named], lr=1.0), named)
    rt.barrier()


@pytest.mark.mpi
def test_a_group_added_after_wrapping_is_an_error(several):
    layer, late = nn.Linear(2, 2), nn.Linear(2, 2)
    sgd = rt.optim.SGD(layer.parameters(), lr=0.1)
    wrapped = rt.DistributedOptimizer(sgd, layer.named_parameters())
    sgd.add_param_group({"params": list(late.parameters())})
    with pytest.raises(RuntimeError, match="wrap it"):
        wrapped.step()


@pytest.mark.usefixtures("several")
@pytest.mark.parametrize("bucket_bytes", EVERY_SIZE)
def test_clipping_takes_the_averaged_gradients(bucket_bytes):
    model, optimizer = small(bucket_bytes)
    expected = averaged(model, 1)
    exact = np.sqrt(sum((g**2).sum() for g in expected.values()))
    loss_of(model, 1, rt.rank()).backward()
    with pytest.raises(RuntimeError, match="still to be averaged over the ranks; pass the DistributedOptimizer"):
        rt.optim.clip_grad_norm_(model.parameters(), 0.5)
    assert rt.optim.clip_grad_norm_(optimizer, 0.5) == pytest.approx(exact, rel=1e-12)
    assert_gradients(model, {name: g * 0.5 / (exact + 1e-6) for name, g in expected.items()})
    rt.optim.clip_grad_value_(model.parameters(), 0.1)  # they are averaged now
    optimizer.step()
    assert_same_on_all_ranks(model)
    optimizer.zero_grad()


@pytest.mark.parametrize("dtype", [np.float64, np.float16])
@pytest.mark.parametrize("name", ["LARS", "LAMB", "Adafactor", "Muon", "NAdam", "Lion"])
def test_optimisers_that_look_at_whole_parameters(name, dtype):
    """They do on each rank what they do on one, however buckets are cut."""
    model, twin = mlp(dtype), mlp(dtype)
    twin.load_state_dict(model.state_dict())
    alone = getattr(rt.optim, name)(twin.parameters(), lr=0.01)
    optimizer = rt.DistributedOptimizer(
        getattr(rt.optim, name)(model.parameters(), lr=0.01), model.named_parameters(), bucket_bytes=1000
    )
    x = rt.from_numpy(normal((8, 13), 5).astype(dtype))  # the same on every rank: the average is exact
    for _ in range(3):
        for net, opt in ((model, optimizer), (twin, alone)):
            opt.zero_grad()
            (net(x) * net(x)).sum().backward()
            opt.step()
    for key, got in values(model).items():
        np.testing.assert_allclose(
            got.astype(np.float64),
            values(twin)[key].astype(np.float64),
            rtol=0,
            atol=1e-9 if dtype is np.float64 else 2e-3,
        )
    assert_same_on_all_ranks(model)
