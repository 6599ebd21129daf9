"""What only a device other than the CPU can get wrong: where things are, and when the host waits for them.

Runs on the GPU with `--device cuda`, otherwise on the stand-in for CuPy, whose `traffic` counts the waits.
"""

import copy

import numpy as np
import pytest

import collectives
import ringtrain as rt
from ringtrain import checkpoint, nn, optim
from ringtrain.backend import get, of

from ..conftest import elsewhere
from ..stand_in import modules
from ..stand_in.gpus import traffic


@pytest.fixture(autouse=True)
def gpu(request):
    if request.config.getoption("device") == "cpu":
        with modules.installed(), elsewhere("cuda"):
            yield
    else:
        yield


@pytest.fixture
def waits(request):
    if request.config.getoption("device") == "cuda":
        pytest.skip("a real GPU does not count how often it is waited for")

    def count(step):
        step()  # what is made once
        before = traffic["read"]
        step()
        return traffic["read"] - before

    return count


def other(values):
    """A tensor on the CPU."""
    return rt.tensor(values, device="cpu")


class Net(nn.Module):
    def __init__(self):
        self.embedding = nn.Embedding(7, 8)
        self.attention = nn.MultiHeadAttention(8, 2)
        self.norm = nn.LayerNorm(8)
        self.conv = nn.Conv1d(8, 6, 3, padding=1)
        self.batch_norm, self.dropout = nn.BatchNorm1d(6), nn.Dropout(0.25)
        self.head = nn.Linear(6, 5)

    def forward(self, x):
        x = self.embedding(x).swapaxes(0, 1)
        x = self.norm(x + self.attention(x, x, x, is_causal=True)[0])
        x = self.dropout(nn.gelu(self.batch_norm(self.conv(x.transpose(1, 2, 0)))))
        return self.head(x.mean(axis=2))


WORDS, LABELS = np.arange(20).reshape(4, 5) % 7, np.array([1, 0, 4, 2])


def trained(device, steps=3, kind=optim.Adam, lr=0.01):
    rt.seed(11)
    net = Net().to(device)
    adam = kind(net.parameters(), lr=lr)
    losses = []
    for _ in range(steps):
        adam.zero_grad()
        loss = nn.cross_entropy(net(rt.tensor(WORDS, device=device)), rt.tensor(LABELS, device=device))
        loss.backward()
        optim.clip_grad_norm_(adam, 0.5)
        adam.step()
        losses.append(loss.item())
    return net, adam, losses


# --- where things are -------------------------------------------------------------------------------------
def test_everything_is_made_on_the_default_device():
    model = nn.Sequential(nn.Linear(None, 3), nn.BatchNorm1d(3))
    model(rt.ones((2, 4)))
    made = [rt.tensor([1]), rt.zeros(2), rt.rand(2), rt.arange(3), *model.parameters(), *model.buffers()]
    assert {t.device for t in made} == {"cuda:0"}
    assert other([1]).device == "cpu" and rt.Tensor(np.ones(2)).device == "cpu"
    with pytest.raises(ValueError, match="'meta' have no values"):
        rt.set_default_device("meta")
    with pytest.raises(ValueError, match=r"cuda:99.*numbered from 0"):
        rt.zeros(2, device="cuda:99")


def test_a_second_gpu_is_current_once_it_is_the_default():
    if get("cuda")[0].xp.cuda.runtime.getDeviceCount() < 2:
        pytest.skip("needs two GPUs")
    rt.set_default_device("cuda:1")
    try:
        x = rt.tensor([1.0, 2.0], requires_grad=True)
        y = nn.softplus(x * np.array([2.0, 3.0], np.float32)).sum()
        y.backward()
        assert {t.device for t in (x, y, x.grad, x.to("cuda"), rt.ones(1))} == {"cuda:1"}
        assert x.detach().to("cuda:0").device == "cuda:0" and x.detach().to("cuda:0").tolist() == [1, 2]
    finally:
        rt.set_default_device("cuda:0")
        rt.set_default_device("cuda")


def test_arrays_of_the_host_come_along_and_tensors_do_not():
    t = rt.tensor([[1.0, 2.0], [3.0, 4.0]], requires_grad=True)
    a = np.array([[1.0, -1.0], [0.5, 2.0]], np.float32)
    for made in (t * a, a * t, t @ a, a @ t, rt.where(a > 0, t, a), rt.maximum(a, t), t[a[:, 0] > 0.7], rt.dot(a, t)):
        assert made.device == "cuda:0" and made.requires_grad
    (a @ t).sum().backward(create_graph=True)
    assert t.grad.tolist() == [[1.5, 1.5], [1.0, 1.0]]
    for mixed in (lambda: t + other([1.0, 2.0]), lambda: other([1.0, 2.0]) * t, lambda: t @ other([[1.0], [2.0]])):
        with pytest.raises(TypeError, match=r"float32\[.*\] is on device 'cpu', another tensor on 'cuda:0'.*x\.to"):
            mixed()
    with pytest.raises(TypeError, match="is on device 'cpu'"):
        t.detach()[0] = other([1.0, 2.0])
    t.detach()[0] = [7, 8]
    t.detach()[1] = a[0]
    assert t.tolist() == [[7, 8], [1, -1]]


def test_moving_there_and_back_is_part_of_the_graph():
    x = rt.tensor([1.0, 2.0], device="cpu", requires_grad=True)
    y = (x.to("cuda") * 3.0).to("cpu") * x
    y.sum().backward()
    assert (y.device, x.grad.device, x.grad.tolist()) == ("cpu", "cpu", [6.0, 12.0])
    moved = x.to("cuda")
    assert moved.to("cuda:0") is moved


def test_training_is_that_of_the_cpu():
    """The same weights, masks and batches, so the same losses but for rounding."""
    ours, _, losses = trained("cuda", kind=optim.SGD, lr=0.5)
    theirs, _, expected = trained("cpu", kind=optim.SGD, lr=0.5)
    np.testing.assert_allclose(losses, expected, rtol=2e-5)
    for (name, a), (_, b) in zip(ours.named_parameters(), theirs.named_parameters(), strict=True):
        assert (a.device, b.device) == ("cuda:0", "cpu")
        np.testing.assert_allclose(a.detach().numpy(), b.detach().numpy(), atol=1e-5, err_msg=name)


@pytest.mark.parametrize(("source", "target"), [("cuda", "cpu"), ("cpu", "cuda"), ("cuda", "cuda")])
def test_states_go_from_one_device_to_another(tmp_path, source, target):
    net, adam, _ = trained(source)
    checkpoint.save(tmp_path / "c", net, adam, step=3)
    twin, its_adam, _ = trained(target, steps=1)
    checkpoint.load(tmp_path / "c", twin, its_adam)
    third, third_adam, _ = trained(target, steps=1)
    third.load_state_dict(net.state_dict())
    third_adam.load_state_dict(adam.state_dict())
    for name, array in net.state_dict().items():
        for loaded in (twin, third):
            mine = loaded.state_dict()[name]
            assert of(mine) is get(target)[0]
            np.testing.assert_array_equal(of(mine).to_numpy(mine), of(array).to_numpy(array), err_msg=name)
    for made in (its_adam, third_adam):
        for number, entry in adam.state_dict()["state"].items():
            found = made.state_dict()["state"][number]["exp_avg"]
            np.testing.assert_array_equal(of(found).to_numpy(found), of(entry["exp_avg"]).to_numpy(entry["exp_avg"]))


def test_averages_copies_and_16_bits():
    net, _, _ = trained("cuda")
    half = copy.deepcopy(net).to(np.float16)
    average, adam = optim.EMA(half.parameters(), decay=0.5), optim.Adam(half.parameters(), lr=0.01)
    for _ in range(2):
        nn.cross_entropy(half(rt.tensor(WORDS)), LABELS).backward()
        adam.step()
        adam.zero_grad()
        average.update()
    before = half.head.weight.detach().numpy().copy()
    with average.applied():
        assert (half.head.weight.detach().numpy() != before).any()
    np.testing.assert_array_equal(half.head.weight.detach().numpy(), before)
    assert {p.device for p in half.parameters()} == {"cuda:0"}


def test_gradients_that_ranks_send_stay_on_the_device(monkeypatch):
    """The way between ranks itself is tested with tests/collectives and tests/gpu."""
    from ringtrain.distributed.optimizer import _allocator, _Shipment

    params = [nn.Parameter(rt.ones((3, 2))), nn.Parameter(rt.ones(5))]
    buffers, sgd = [], optim.SGD(params, lr=1.0)
    sgd.rebucket(None, _allocator(buffers, 2))
    shipment = _Shipment(sgd.buckets[0], "gradients", buffers[0][: sgd.buckets[0].size + 2])
    (params[0] * 2.0).sum().backward()
    for verb in ("allreduce_", "broadcast_"):
        monkeypatch.setattr(collectives, verb, lambda array, *_, **__: array)
    monkeypatch.setattr(collectives, "allgather_object", lambda x: [x])
    shipment.send(rt.Average, wait=True)
    shipment.receive()
    rt.broadcast_parameters({"a": params[0], "b": params[1]})
    assert of(buffers[0]) is get("cuda")[0]
    assert params[1].grad is None and params[0].grad.tolist() == [[2.0] * 2] * 3


# --- when the host waits ----------------------------------------------------------------------------------
def test_a_step_never_waits_but_to_check_what_the_device_holds(waits):
    net = Net()
    adam = optim.AdamW(net.parameters(), lr=0.01)
    average = optim.EMA(net.parameters())
    words, labels = rt.tensor(WORDS), rt.tensor(LABELS)

    def step(inputs, targets, then=lambda: None):
        adam.zero_grad()
        nn.cross_entropy(net(inputs), targets).backward()
        then()
        adam.step()
        average.update()

    assert waits(lambda: step(WORDS, LABELS)) == 0
    assert waits(lambda: step(words, LABELS)) == 1  # are they words of the table?
    assert waits(lambda: step(WORDS, labels)) == 1  # are they classes?
    assert waits(lambda: step(WORDS, LABELS, lambda: optim.clip_grad_norm_(adam, 1.0))) == 1
    assert waits(lambda: step(WORDS, LABELS, lambda: optim.clip_grad_value_(adam, 1.0))) == 0


@pytest.mark.parametrize("name", ["SGD", "RMSprop", "Adagrad", "Adadelta", "Adamax", "NAdam", "RAdam", "Lion", "Ftrl"])
def test_optimisers_never_wait(waits, name):
    layer = nn.Linear(3, 4).to(np.float16)
    made = getattr(optim, name)(layer.parameters(), lr=0.01)

    def step():
        layer(rt.ones((2, 3), np.float16)).sum().backward()
        made.step()

    assert waits(step) == 0


def test_recurrent_and_spatial_layers_never_wait(waits):
    layers = [
        (nn.LSTM(3, 4), rt.ones((5, 2, 3))),
        (nn.GRU(3, 4), rt.ones((5, 2, 3))),
        (nn.Sequential(nn.Conv2d(1, 2, 3), nn.MaxPool2d(2), nn.AdaptiveAvgPool2d(2)), rt.ones((2, 1, 8, 9))),
    ]
    for layer, x in layers:

        def step(layer=layer, x=x):
            out = layer(x)
            (out[0] if isinstance(out, tuple) else out).sum().backward()

        assert waits(step) == 0, layer
