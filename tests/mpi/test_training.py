"""Data-parallel training on as many ranks as there are: the same as one rank on all of the data."""

import copy
import hashlib

import numpy as np
import pytest

import collectives
import ringtrain as rt
from ringtrain import nn, random

pytestmark = pytest.mark.mpi

EVERY_SIZE = [1, 3000, 4 << 20]  # bytes a bucket: one for each parameter, a few, one for all
several = pytest.mark.skipif("rt.size() == 1", reason="needs two ranks")


@pytest.fixture(scope="module", autouse=True)
def job():
    rt.init(timeout=60)
    yield
    rt.barrier()


@pytest.fixture(autouse=True)
def together(job):
    """Every test starts from the same seed, and on all ranks at once."""
    rt.seed(7)
    rt.barrier()


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


class Branches(nn.Module):
    """A part that all ranks use, and parts that some do not reach."""

    def __init__(self):
        self.common = nn.Parameter(normal((7, 3), 1))
        self.some = nn.Parameter(normal((3,), 2))
        self.never = nn.Parameter(normal((5,), 3))
        self.last = nn.Parameter(normal((2, 3), 4))

    def forward(self, x, reach):
        h = x @ self.common
        return (h * self.some if reach else h) @ self.last.T


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
    assert [numbered[i]["step"] for i in range(4)] == [3, 3 if any(map(reaches, range(rt.size()))) else 0, 0, 3]
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


@several
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
    optimizer = rt.DistributedOptimizer(sgd, model.named_parameters(), bucket_bytes=bucket_bytes)
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


# --- making ranks equal -----------------------------------------------------------------------------------
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


@several
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


# --- gradients of the collectives -------------------------------------------------------------------------
def everyones(shape_of):
    """Each rank's input, known on all."""
    return [normal(shape_of(r), 5, r) for r in range(rt.size())]


COLLECTIVES = {  # name: (shape of rank r's input, the operation, what it does to all inputs at once)
    "allreduce average": (lambda r: (3, 5), lambda x: rt.allreduce(x), lambda xs: [sum(xs) / len(xs)] * len(xs)),
    "allreduce sum": (lambda r: (), lambda x: rt.allreduce(x, rt.Sum), lambda xs: [sum(xs)] * len(xs)),
    "allreduce scaled": (
        lambda r: (13,),
        lambda x: rt.allreduce(x, rt.Sum, prescale=0.5, postscale=3.0),
        lambda xs: [1.5 * sum(xs)] * len(xs),
    ),
    "allgather": (lambda r: (r + 2, 3), lambda x: rt.allgather(x), lambda xs: [np.concatenate(xs)] * len(xs)),
    "allgather with an empty rank": (
        lambda r: (r, 2),
        lambda x: rt.allgather(x),
        lambda xs: [np.concatenate(xs)] * len(xs),
    ),
    "broadcast": (
        lambda r: (4, 2),
        lambda x: rt.broadcast(x, rt.size() - 1),
        lambda xs: [xs[-1]] * len(xs),
    ),
    "reducescatter average": (
        lambda r: (7, 2),
        lambda x: rt.reducescatter(x),
        lambda xs: np.array_split(sum(xs) / len(xs), len(xs)),
    ),
    "reducescatter sum": (
        lambda r: (2, 3),
        lambda x: rt.reducescatter(x, rt.Sum),
        lambda xs: np.array_split(sum(xs), len(xs)),
    ),
}


@pytest.mark.parametrize("name", COLLECTIVES)
def test_gradients_of_collectives(name):
    """The loss is the sum over ranks of <output squared, weights>; central differences of the global function."""
    shape_of, collective, of_all = COLLECTIVES[name]
    xs = everyones(shape_of)
    weights = [normal(out.shape, 6, r) for r, out in enumerate(of_all(xs))]

    def total(inputs):
        return sum((w * out**2).sum() for w, out in zip(weights, of_all(inputs), strict=True))

    x = rt.from_numpy(xs[rt.rank()].copy()).requires_grad_()
    out = collective(x)
    np.testing.assert_allclose(out.detach().numpy(), of_all(xs)[rt.rank()], rtol=1e-12, atol=1e-12)
    (out * out * rt.from_numpy(weights[rt.rank()])).sum().backward()
    gradients = rt.allgather_object(x.grad.numpy())
    assert [g.shape for g in gradients] == [a.shape for a in xs]
    directions = [normal(a.shape, 7, r) for r, a in enumerate(xs)]
    eps = 1e-5
    ahead, behind = (total([a + s * eps * d for a, d in zip(xs, directions, strict=True)]) for s in (1, -1))
    analytic = sum((g * d).sum() for g, d in zip(gradients, directions, strict=True))
    assert analytic == pytest.approx((ahead - behind) / (2 * eps), rel=1e-6, abs=1e-6)
    # one rank's input alone: a gradient of the right sum but on the wrong rank would pass the above
    r = rt.size() - 1
    ahead, behind = (total([*xs[:r], xs[r] + s * eps * directions[r]]) for s in (1, -1))
    assert (gradients[r] * directions[r]).sum() == pytest.approx((ahead - behind) / (2 * eps), rel=1e-6, abs=1e-6)


def test_collectives_without_a_gradient():
    with pytest.raises(RuntimeError, match="gradient of reducescatter exists for Sum and Average, not for"):
        rt.reducescatter(rt.ones((4, 2)).requires_grad_(), rt.Max)
    out = rt.allreduce(rt.ones(3).requires_grad_(), rt.Max)
    with pytest.raises(RuntimeError, match="gradient of allreduce exists for Sum and Average, not for"):
        out.sum().backward()
    x = rt.ones(3)
    assert type(rt.allreduce(np.ones(3))) is np.ndarray and not rt.allreduce(x).requires_grad
    y = rt.ones(3).requires_grad_()
    z = (y * x).sum()
    assert rt.allreduce_(x, rt.Sum) is x and x.numpy()[0] == rt.size()
    with pytest.raises(RuntimeError, match="changed in place"):
        z.backward()
    pair = rt.grouped_allreduce([rt.ones(2), np.full(3, float(rt.rank()))], rt.Sum)
    assert isinstance(pair[0], rt.Tensor) and pair[1][0] == sum(range(rt.size()))
    assert rt.allreduce_async(rt.ones(2), rt.Sum).wait().numpy()[0] == rt.size()
