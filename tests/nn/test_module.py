"""What a module is made of: names, state, copies, conversions."""

import copy
import pickle

import ml_dtypes
import numpy as np
import pytest

import ringtrain as rt
from ringtrain import nn

from ..arrays import on_host


class Block(nn.Module):
    """Every kind of attribute that registers, and some that do not."""

    def __init__(self):
        self.first = nn.Linear(3, 4)
        self.scale = nn.Parameter(rt.full((), 2.0))
        self.table = rt.tensor([1.0, 2.0, 3.0])
        self.parts = [nn.Linear(4, 4), (nn.ReLU(), nn.Linear(4, 2))]
        self.heads = {"a": nn.Linear(2, 1), "b": {"c": nn.Parameter(rt.ones(5))}}
        self.again = self.first
        self._private = rt.ones((9,))
        self.sizes = [3, 4]
        self.label = "text"

    def forward(self, x):
        x = self.parts[0](self.first(x * self.table)) * self.scale
        return self.heads["a"](self.parts[1][1](x))


class Tied(nn.Module):
    """Two layers, one weight."""

    def __init__(self):
        self.encode = nn.Linear(3, 3, bias=False, dtype=np.float64)
        self.decode = nn.Linear(3, 3, bias=False, dtype=np.float64)
        self.decode.weight = self.encode.weight

    def forward(self, x):
        return self.decode(self.encode(x))


NAMES = [
    *["first.weight", "first.bias", "scale", "parts.0.weight", "parts.0.bias", "parts.1.1.weight", "parts.1.1.bias"],
    *["heads.a.weight", "heads.a.bias", "heads.b.c"],
]


def values(module):
    return {name: on_host(array) for name, array in module.state_dict().items()}


def same(a, b):
    return a.keys() == b.keys() and all(a[n].dtype == b[n].dtype and (a[n] == b[n]).all() for n in a)


def test_names_are_attribute_paths_in_order():
    block = Block()
    assert [n for n, _ in block.named_parameters()] == NAMES
    assert [n for n, _ in block.named_buffers()] == ["table"]
    assert [n for n, _ in block.named_modules()] == ["", "first", "parts.0", "parts.1.0", "parts.1.1", "heads.a"]
    assert len(list(block.parameters())) == len(NAMES) and len(list(block.buffers())) == 1
    # the state has a shared part under all its names, as PyTorch's has
    assert set(block.state_dict()) == {*NAMES, "table", "again.weight", "again.bias"}


def test_state_round_trip_into_another_model():
    source, target = Block(), Block()
    source.load_state_dict({"scale": np.array(7.0), "table": np.array([5.0, 6.0, 7.0])}, strict=False)
    assert not same(values(source), values(target))
    target.load_state_dict(source.state_dict())
    assert same(values(source), values(target))
    x = rt.tensor(np.arange(6).reshape(2, 3))
    assert (source(x).detach().numpy() == target(x).detach().numpy()).all()
    target.load_state_dict({"scale": np.array(1.0)}, strict=False)
    assert source.scale.item() == 7.0  # copied, not shared


def test_the_state_shares_the_memory_of_the_model():
    layer = nn.Linear(2, 2)
    layer.state_dict()["bias"][:] = 5
    assert (layer.bias.detach().numpy() == 5).all()


def test_load_converts_dtypes():
    layer = nn.Linear(2, 2, dtype=np.float64)
    state = {"weight": np.eye(2, dtype=ml_dtypes.bfloat16), "bias": rt.tensor([1, 2])}
    layer.load_state_dict(state)
    assert layer.weight.dtype == np.float64 and (layer.weight.detach().numpy() == np.eye(2)).all()
    assert layer.bias.detach().numpy().tolist() == [1.0, 2.0]


def test_everything_that_does_not_fit_is_listed_and_nothing_changes():
    block = Block()
    state = {name: array + 1 for name, array in values(block).items()}
    del state["first.bias"], state["heads.b.c"]
    state["parts.0.weight"] = np.zeros((4, 5), np.float32)
    state["scale"] = np.zeros(1, np.float32)
    state["parts.9.weight"] = np.zeros(2, np.float32)
    before = values(block)
    with pytest.raises(ValueError) as caught:
        block.load_state_dict(state)
    lines = str(caught.value).splitlines()
    assert lines[0] == "the state does not fit Block:"
    assert sorted(line.strip() for line in lines[1:]) == sorted(
        [
            "missing first.bias float32[4]",
            "missing heads.b.c float32[5]",
            "unexpected parts.9.weight float32[2]",
            "mis-shaped parts.0.weight: the model has float32[4, 4], the state float32[4, 5]",
            "mis-shaped scale: the model has float32[], the state float32[1]",
        ]
    )
    assert same(values(block), before)


def test_a_part_of_a_state_may_be_loaded_but_shapes_must_fit():
    block = Block()
    before = values(block)
    block.load_state_dict({"scale": np.array(3.0), "unknown": np.zeros(1)}, strict=False)
    assert block.scale.item() == 3.0
    assert same(
        {n: v for n, v in values(block).items() if n != "scale"}, {n: v for n, v in before.items() if n != "scale"}
    )
    with pytest.raises(ValueError, match="mis-shaped table"):
        block.load_state_dict({"scale": np.zeros((), np.float32), "table": np.zeros(4)}, strict=False)
    assert block.scale.item() == 3.0


def test_loading_is_seen_by_the_graph():
    layer = nn.Linear(2, 2)
    loss = layer(layer(rt.ones((1, 2)))).sum()
    layer.load_state_dict({n: a * 2 for n, a in values(layer).items()})
    with pytest.raises(RuntimeError, match="changed in place"):
        loss.backward()


def test_tied_parameters_are_one():
    tied = Tied()
    assert [n for n, _ in tied.named_parameters()] == ["encode.weight"]
    x = np.array([[1.0, -2.0, 3.0]])
    w = tied.encode.weight.detach().numpy().copy()
    tied(rt.from_numpy(x)).sum().backward()
    # y = x W'W', so dL/dW = 1' (xW') + (1' W)' x
    expected = np.ones((3, 1)) @ (x @ w.T) + (np.ones((1, 3)) @ w).T @ x
    np.testing.assert_allclose(tied.encode.weight.grad.numpy(), expected, rtol=1e-13)
    for twin in (copy.deepcopy(tied), pickle.loads(pickle.dumps(tied))):
        assert twin.decode.weight is twin.encode.weight and twin.encode.weight is not tied.encode.weight


def test_sequential_names_indexing_and_growth():
    model = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2))
    assert [n for n, _ in model.named_parameters()] == ["0.weight", "0.bias", "2.weight", "2.bias"]
    assert len(model) == 3 and model[-1] is model.layers[2] and isinstance(model[:2], nn.Sequential)
    assert model[:2][0] is model[0] and len(model[:2]) == 2
    model.append(lambda x: x * 2.0).append(nn.Linear(2, 1))
    assert [n for n, _ in model.named_parameters()][-2:] == ["4.weight", "4.bias"]
    x = rt.ones((5, 3))
    by_hand = model[4](model[2](model[0](x).relu()) * 2.0)
    assert (model(x).detach().numpy() == by_hand.detach().numpy()).all()
    outer = nn.Sequential(model, nn.Linear(1, 1))
    assert next(n for n, _ in outer.named_parameters()) == "0.0.weight"


def test_train_and_eval_reach_every_module():
    block = Block()
    assert all(m.training for m in block.modules())
    assert block.eval() is block and not any(m.training for m in block.modules())
    assert block.train().training and all(m.training for m in block.modules())


def test_zero_grad_drops_gradients():
    layer = nn.Linear(2, 2)
    layer(rt.ones((1, 2))).sum().backward()
    assert layer.bias.grad is not None
    layer.zero_grad()
    assert layer.weight.grad is None and layer.bias.grad is None


@pytest.mark.parametrize("dtype", [np.float64, np.float16, ml_dtypes.bfloat16, "float64"])
def test_to_a_dtype_converts_floats_and_nothing_else(dtype):
    class Mixed(nn.Module):
        def __init__(self):
            self.weight = nn.Parameter(rt.from_numpy(np.array([1.5, 2.5], np.float32)))
            self.mean = rt.tensor([0.25])
            self.count = rt.tensor([3])

    mixed = Mixed()
    assert mixed.to(dtype) is mixed
    assert mixed.weight.dtype == mixed.mean.dtype == np.dtype(dtype) and mixed.count.dtype == np.int64
    assert mixed.weight.detach().numpy().astype(np.float64).tolist() == [1.5, 2.5]
    (mixed.weight * mixed.weight).sum().backward()
    assert mixed.weight.grad.dtype == np.dtype(dtype)
    assert mixed.weight.grad.numpy().astype(np.float64).tolist() == [3.0, 5.0]


def test_hooks_survive_a_conversion():
    layer = nn.Linear(2, 1)
    seen = []
    remove = layer.weight.on_grad_ready(lambda p: seen.append(p.grad.dtype))
    layer.to(np.float64)
    layer(rt.from_numpy(np.ones((1, 2)))).sum().backward()
    assert seen == [np.float64]
    remove()
    layer(rt.from_numpy(np.ones((1, 2)))).sum().backward()
    assert len(seen) == 1


@pytest.mark.parametrize("duplicate", [copy.deepcopy, lambda m: pickle.loads(pickle.dumps(m))])
def test_copies_are_whole_and_apart(duplicate):
    block = Block()
    block(rt.ones((2, 3))).sum().backward()
    twin = duplicate(block)
    assert same(values(twin), values(block)) and twin.again is twin.first
    assert all(p.requires_grad and type(p) is nn.Parameter for p in twin.parameters())
    twin(rt.ones((2, 3))).sum().backward()
    twin.load_state_dict({"scale": np.array(9.0)}, strict=False)
    assert block.scale.item() == 2.0
    assert twin.first.weight.grad is not block.first.weight.grad


def test_a_printed_model_shows_its_parts():
    model = nn.Sequential(
        nn.Conv2d(1, 8, 3, stride=2, padding=1, groups=1), nn.Flatten(), nn.Linear(None, 10, bias=False)
    )
    lines = repr(model).splitlines()
    assert lines[0] == "Sequential(" and lines[-1] == ")"
    assert "(0): Conv2d(1, 8, kernel_size=(3, 3), stride=2, padding=1)" in lines[1]
    assert "(2): Linear(None, 10, bias=False)" in lines[3]
    text = repr(Block())
    assert "(first): Linear(3, 4)" in text and "sizes" not in text and "table" not in text
    assert (
        repr(nn.BatchNorm2d(4)) == "BatchNorm2d(4, eps=1e-05, momentum=0.1)"
        and repr(nn.Dropout(0.1)) == "Dropout(p=0.1)"
    )


def test_a_module_without_forward_says_so():
    class Empty(nn.Module):
        pass

    with pytest.raises(NotImplementedError, match="Empty has no forward"):
        Empty()(1)


def test_parameters_under_private_names_are_trained():
    block = nn.Module()
    block._w = nn.Parameter(rt.from_numpy(np.ones(3)))
    block._list = [nn.Linear(2, 2)]
    assert [n for n, _ in block.named_parameters()] == ["_w", "_list.0.weight", "_list.0.bias"]


def test_a_part_that_knows_its_owner_does_not_own_it():
    owner, part = nn.Module(), nn.Linear(2, 2)
    owner.part, part.owner = part, owner
    assert [n for n, _ in owner.named_parameters()] == ["part.weight", "part.bias"]
    assert [n for n, _ in part.named_parameters()] == ["weight", "bias"]


@pytest.mark.cpu
def test_converting_to_what_it_is_keeps_the_gradient():
    layer = nn.Linear(2, 2)
    layer(rt.ones((1, 2))).sum().backward()
    layer.to("cpu").to("cpu:0").to(np.float32)
    assert layer.weight.grad is not None


def test_a_parameter_made_of_a_tensor_shares_its_versions():
    t = rt.tensor([1.0, 2.0])
    y = (nn.Parameter(t) ** 3).sum()
    t += 9
    with pytest.raises(RuntimeError, match="changed in place"):
        y.backward()


def test_layers_name_what_they_cannot_be():
    with pytest.raises(TypeError, match="one by one"):
        nn.Sequential([nn.ReLU()])
    with pytest.raises(ValueError, match="kernel must be >= 1"):
        nn.Conv2d(3, 8, 0)
    with pytest.raises(ValueError, match="channels and kernel"):
        nn.Conv2d(3, -8, 3)
