"""Batch normalisation over all ranks: what one rank gives that has all of the batch."""

import copy

import numpy as np
import pytest

import collectives
import ringtrain as rt
from ringtrain import nn

from .conftest import assert_same_on_all_ranks, normal, values
from .test_training import Ranks

pytestmark = [pytest.mark.mpi, pytest.mark.usefixtures("together")]

C = 3
PLANES = {"(N, C)": (), "(N, C, L)": (5,), "(N, C, H, W)": (4, 3)}
SIZES = {
    "even": lambda rank: 4,
    "uneven": lambda rank: 2 + 3 * rank,
    "none on rank 0": lambda rank: 5 * rank,
    "one each": lambda rank: 1,
}

OPTIONS = [{}, {"affine": False}, {"momentum": None}, {"track_running_stats": False}]


def batches(sizes, plane, dtype=np.float64, *seed):
    """Every rank's, with means and spreads of their own, known on all ranks."""
    return [(normal((sizes(r), C, *plane), 11, r, *seed) * (r + 1) + r).astype(dtype) for r in range(rt.size())]


def layers(dtype=np.float64, **options):
    weight, bias = normal((C,), 3) + 2.0, normal((C,), 4)
    made = rt.SyncBatchNorm(C, dtype=dtype, **options), nn.BatchNorm(C, dtype=dtype, **options)
    for layer in made:
        if layer.weight is not None:
            layer.load_state_dict({"weight": weight, "bias": bias}, strict=False)
    return made


def enough(parts):
    """Skips where one rank has no batch to normalise."""
    if sum(p.size for p in parts) < 2 * C:
        pytest.skip("needs more ranks")


def mine(whole, parts):
    return np.split(whole, np.cumsum([len(p) for p in parts])[:-1])[rt.rank()]


@pytest.mark.parametrize("options", OPTIONS, ids=str)
@pytest.mark.parametrize("sizes", SIZES)
@pytest.mark.parametrize("plane", PLANES)
def test_values_gradients_and_running_statistics(plane, sizes, options):
    """Three steps of training, then evaluation; loss = sum over ranks of sums with heads of their own."""
    sync, whole = layers(**options)
    for step in range(4):
        if step == 3 and options.get("track_running_stats", True):
            sync.eval(), whole.eval()
        parts = batches(SIZES[sizes], PLANES[plane], np.float64, step)
        enough(parts)
        heads = [normal(p.shape, 12, r, step) for r, p in enumerate(parts)]
        x, every = rt.from_numpy(parts[rt.rank()]).requires_grad_(), rt.from_numpy(np.concatenate(parts))
        every.requires_grad_()
        out, want = sync(x), whole(every)
        out.backward(heads[rt.rank()]), want.backward(np.concatenate(heads))
        for got, full in ((out.detach(), want.detach()), (x.grad, every.grad)):
            np.testing.assert_allclose(got.numpy(), mine(full.numpy(), parts), rtol=0, atol=1e-12)
        for (name, p), q in zip(sync.named_parameters(), whole.parameters(), strict=True):
            total = rt.allreduce(p.grad.numpy(), rt.Sum)
            np.testing.assert_allclose(total, q.grad.numpy(), rtol=0, atol=1e-12, err_msg=name)
            p.grad = q.grad = None
        for (name, b), c in zip(sync.named_buffers(), whole.buffers(), strict=True):
            np.testing.assert_allclose(b.numpy(), c.numpy(), rtol=1e-12, err_msg=name)


@pytest.mark.parametrize("sizes", ["even", "uneven", "none on rank 0"])
def test_second_derivatives(sizes):
    parts = batches(SIZES[sizes], (2,))
    enough(parts)
    heads, turns = ([normal(p.shape, seed, r) for r, p in enumerate(parts)] for seed in (12, 13))

    def second(layer, x, head, turn):
        x = rt.from_numpy(x).requires_grad_()
        (g,) = rt.grad((layer(x) ** 2 * rt.from_numpy(head)).sum(), [x], create_graph=True)
        (g * rt.from_numpy(turn)).sum().backward()
        return x.grad.numpy(), layer.weight.grad.numpy()

    sync, whole = layers()
    gx, gw = second(sync, *(values[rt.rank()] for values in (parts, heads, turns)))
    want_x, want_w = second(whole, *map(np.concatenate, (parts, heads, turns)))
    np.testing.assert_allclose(gx, mine(want_x, parts), rtol=1e-12, atol=1e-11)
    np.testing.assert_allclose(rt.allreduce(gw, rt.Sum), want_w, rtol=1e-12, atol=1e-11)


def model(dtype):
    return nn.Sequential(
        *[nn.Conv2d(1, C, 3, dtype=dtype), nn.BatchNorm2d(C, dtype=dtype), nn.ReLU(), nn.Flatten()],
        *[nn.Linear(C * 16, 4, dtype=dtype), nn.BatchNorm1d(4, dtype=dtype)],
    )


def test_training_is_that_of_one_rank_with_all_of_the_batch():
    n, batch = rt.size(), 3
    reference = model(np.float64)
    network = rt.convert_sync_batchnorm(copy.deepcopy(reference))
    assert [type(m) for m in network.modules()].count(rt.SyncBatchNorm) == 2
    sgd = rt.optim.SGD(network.parameters(), lr=0.2, momentum=0.5)
    optimizer = rt.DistributedOptimizer(sgd, network.named_parameters(), bucket_bytes=1)
    plain = rt.optim.SGD(reference.parameters(), lr=0.2, momentum=0.5)
    for step in range(20):
        x, y = normal((n * batch, 1, 6, 6), 1, step), np.random.default_rng([2, step]).integers(0, 4, n * batch)
        own = slice(rt.rank() * batch, (rt.rank() + 1) * batch)
        nn.cross_entropy(network(rt.from_numpy(x[own])), y[own]).backward()
        with Ranks():
            nn.cross_entropy(reference(rt.from_numpy(x)), y).backward()
        for each in (optimizer, plain):
            each.step(), each.zero_grad()
    for key, got in values(network).items():
        np.testing.assert_allclose(got, values(reference)[key], rtol=0, atol=1e-12, err_msg=key)
    for (name, b), c in zip(network.named_buffers(), reference.buffers(), strict=True):
        np.testing.assert_allclose(b.numpy(), c.numpy(), rtol=1e-12, atol=1e-13, err_msg=name)
    assert_same_on_all_ranks(network)


@pytest.mark.parametrize("dtype", [np.float32, np.float16])
def test_narrow_floats(dtype):
    """Means a hundred spreads away: the statistics are taken in float64, so that nothing cancels."""
    sync, whole = layers(np.float32)
    parts = [p + dtype(100.0) for p in batches(SIZES["uneven"], (5,), dtype)]
    out = sync(rt.from_numpy(parts[rt.rank()]))
    assert out.dtype == dtype
    want = copy.deepcopy(whole).to(np.float64)(rt.from_numpy(np.concatenate(parts).astype(np.float64)))
    np.testing.assert_allclose(out.detach().numpy(), mine(want.detach().numpy(), parts), rtol=1e-3, atol=2e-3)
    assert sync.running_mean.dtype == np.float32


def test_a_group_of_some_ranks():
    own = collectives.world.split(rt.rank() % 2)
    sync, whole = layers()
    sync.process_group = own
    parts = batches(SIZES["uneven"], (4,))
    members = list(range(rt.rank() % 2, rt.size(), 2))
    together = np.concatenate([parts[r] for r in members])
    out = sync(rt.from_numpy(parts[rt.rank()]))
    start = sum(len(parts[r]) for r in members if r < rt.rank())
    want = whole(rt.from_numpy(together)).detach().numpy()[start : start + len(parts[rt.rank()])]
    np.testing.assert_allclose(out.detach().numpy(), want, atol=2e-12)


@pytest.mark.usefixtures("several")
def test_what_all_ranks_are_told():
    with pytest.raises(ValueError, match="SyncBatchNorm in training needs more than one value a channel on all ranks"):
        rt.SyncBatchNorm(C)(rt.zeros((int(rt.rank() == 1), C)))
    with pytest.raises(rt.MismatchError):
        width = C + (rt.rank() == 0)
        rt.SyncBatchNorm(width)(rt.zeros((4, width)))
    with pytest.raises(ValueError, match=r"SyncBatchNorm wants an input \(N, 3, \.\.\.\)"):
        rt.SyncBatchNorm(C)(rt.zeros((4, C + 1)))
    assert rt.nn.SyncBatchNorm is rt.SyncBatchNorm


def test_conversion_keeps_what_is_there():
    inner = nn.BatchNorm2d(C)
    seen = []
    inner.register_forward_hook(lambda module, args, out: seen.append(type(module)))

    class Net(nn.Module):
        def __init__(self):
            self.blocks = [inner, {"again": inner}]
            self.pair = (nn.Linear(2, 2), nn.BatchNorm1d(2))
            self.other = nn.InstanceNorm2d(C, affine=True)

        def forward(self, x):
            return self.blocks[1]["again"](x)

    net = Net().eval()
    before = dict(net.named_parameters()) | dict(net.named_buffers())
    group = collectives.world
    assert rt.SyncBatchNorm.convert_sync_batchnorm(net, group) is net
    after = dict(net.named_parameters()) | dict(net.named_buffers())
    assert before.keys() == after.keys() and all(before[k] is after[k] for k in before)
    assert net.blocks[0] is net.blocks[1]["again"] and net.blocks[0].process_group is group
    assert [type(m).__name__ for m in net.children()] == ["SyncBatchNorm", "Linear", "SyncBatchNorm", "InstanceNorm2d"]
    assert not any(m.training for m in net.modules())
    net(rt.zeros((2, C, 4, 4)))
    assert seen == [rt.SyncBatchNorm]
    assert type(rt.convert_sync_batchnorm(nn.BatchNorm(2))) is rt.SyncBatchNorm
    again = rt.convert_sync_batchnorm(net)
    assert again.blocks[0].process_group is group
