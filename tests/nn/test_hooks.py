"""Hooks before and after forward and in backward; summaries."""

import copy

import numpy as np
import pytest

import ringtrain as rt
from ringtrain import nn


class Product(nn.Module):
    """Two inputs, two outputs."""

    def forward(self, a, b, scale=1.0):
        return a * b * scale, a + b


def leaf(*values):
    return rt.from_numpy(np.array(values)).requires_grad_()


def test_without_hooks_a_module_is_as_it_was():
    layer = nn.Linear(2, 2)
    before = dict(vars(layer))
    first = layer.register_forward_hook(lambda m, args, out: None)
    second = layer.register_full_backward_hook(lambda m, gi, go: None)
    assert "forward" in vars(layer) and [n for n, _ in layer.named_parameters()] == ["weight", "bias"]
    first.remove()
    assert "forward" in vars(layer)
    second.remove()
    second.remove()
    assert vars(layer) == before


def test_forward_hooks_see_and_replace():
    layer, seen = nn.ReLU(), []
    layer.register_forward_pre_hook(lambda m, args: seen.append(("pre", m, args[0].tolist())))
    double = layer.register_forward_pre_hook(lambda m, args: args[0] * 2.0)
    layer.register_forward_hook(lambda m, args, out: seen.append(("post", args[0].tolist(), out.tolist())))
    layer.register_forward_hook(lambda m, args, out: out + 1.0)
    x = rt.tensor([-1.0, 3.0])
    assert layer(x).tolist() == [1, 7]
    assert seen == [("pre", layer, [-1, 3]), ("post", [-2, 6], [0, 6])]
    double.remove()
    assert layer(x).tolist() == [1, 4]


def test_a_handle_ends_with_its_block():
    layer, seen = nn.ReLU(), []
    with layer.register_forward_hook(lambda *a: seen.append(1)):
        layer(rt.ones(1))
    layer(rt.ones(1))
    assert seen == [1] and "forward" not in vars(layer)


def test_backward_hooks_see_the_gradients_of_inputs_and_outputs():
    module, seen = Product(), []
    module.register_full_backward_hook(
        lambda m, gi, go: seen.append([None if g is None else g.tolist() for g in gi + go])
    )
    a, b = leaf(2.0, 3.0), leaf(5.0, 7.0)
    product, total = module(a, b, scale=2.0)
    (product.sum() * 10.0 + total.sum()).backward()
    assert seen == [[[101, 141], [41, 61], [10, 10], [1, 1]]]
    assert a.grad.tolist() == [101, 141] and b.grad.tolist() == [41, 61]
    seen.clear()
    module(a, rt.from_numpy(np.array([1.0, 2.0])))[0].sum().backward()
    assert seen == [[[1, 2], None, [1, 1], None]]


def test_backward_hooks_replace():
    module = nn.ReLU()
    module.register_full_backward_pre_hook(lambda m, go: (go[0] * 3.0,))
    module.register_full_backward_hook(lambda m, gi, go: (gi[0] + go[0] * 100.0,))
    x = leaf(1.0, -2.0)
    module(x).sum().backward()
    assert x.grad.tolist() == [303, 300]
    wrong = nn.ReLU()
    wrong.register_full_backward_hook(lambda m, gi, go: (gi[0], gi[0]))
    with pytest.raises(ValueError, match="returned 2 gradients; there are 1"):
        wrong(leaf(1.0)).sum().backward()


def test_backward_hooks_where_no_input_wants_a_gradient():
    layer, seen = nn.Linear(2, 1, dtype=np.float64), []
    layer.register_full_backward_hook(lambda m, gi, go: seen.append((gi, go[0].tolist())))
    layer(rt.from_numpy(np.ones((1, 2)))).sum().backward()
    assert seen == [((None,), [[1.0]])]
    with rt.no_grad():
        layer(rt.from_numpy(np.ones((1, 2))))


def test_second_derivatives_through_hooks():
    module = nn.Tanh()
    module.register_full_backward_hook(lambda m, gi, go: (gi[0] * 2.0,))
    x = leaf(0.3, -0.7)
    (g,) = rt.grad(module(x).sum(), [x], create_graph=True)
    second = rt.grad(g.sum(), x)
    t = np.tanh(x.detach().numpy())
    np.testing.assert_allclose(g.detach().numpy(), 2 * (1 - t * t), rtol=1e-14)
    np.testing.assert_allclose(second.numpy(), -4 * t * (1 - t * t), rtol=1e-14)


def test_a_hook_sees_one_sample_without_a_batch_once():
    adaptive = nn.AdaptiveLogSoftmaxWithLoss(4, 10, [3])
    for layer, inputs in [
        (nn.InstanceNorm1d(3), (rt.rand((3, 5)),)),
        (nn.MaxPool1d(2), (rt.rand((3, 5)),)),
        (adaptive, (rt.rand(4), 2)),
    ]:
        seen = []
        layer.register_forward_hook(lambda module, args, out, seen=seen: seen.append(args[0].shape))
        layer(*inputs)
        assert seen == [inputs[0].shape]


def test_a_copy_has_hooks_of_its_own():
    layer, seen = nn.ReLU(), []
    layer.register_forward_hook(_Note(seen))
    twin = copy.deepcopy(layer)
    twin(rt.ones(1))
    assert seen == [] and twin.forward.module is twin
    layer(rt.ones(1))
    assert len(seen) == 1


class _Note:
    def __init__(self, seen):
        self.seen = seen

    def __call__(self, module, args, out):
        self.seen.append(module)


def test_children_apply_and_requires_grad():
    inner = nn.Sequential(nn.Linear(2, 3), nn.ReLU())
    model = nn.Sequential(inner, nn.Linear(3, 1))
    assert [n for n, _ in model.named_children()] == ["0", "1"]
    assert list(model.children()) == [inner, model[1]]
    seen = []
    assert model.apply(lambda m: seen.append(type(m).__name__)) is model
    assert seen == ["Linear", "ReLU", "Sequential", "Linear", "Sequential"]
    assert model.requires_grad_(False) is model and not any(p.requires_grad for p in model.parameters())
    assert all(p.requires_grad for p in model.requires_grad_().parameters())


class Tied(nn.Module):
    def __init__(self):
        self.table = nn.Embedding(11, 4)
        self.mix = nn.Linear(None, 4)
        self.drop = nn.Dropout(0.5)
        self.out = nn.Linear(4, 11, bias=False)
        self.out.weight = self.table.weight

    def forward(self, words):
        return self.out(self.drop(self.mix(self.table(words))))


def test_summary():
    model = Tied()
    model.drop.eval()
    summary = model.summary((2, 3), dtype=np.int64)
    assert summary.rows == [
        ("", "Tied", "float32[2, 3, 11]", 0),
        ("table", "Embedding", "float32[2, 3, 4]", 44),
        ("mix", "Linear", "float32[2, 3, 4]", 20),
        ("drop", "Dropout", "float32[2, 3, 4]", 0),
        ("out", "Linear", "float32[2, 3, 11]", 0),
    ]
    assert (summary.parameters, summary.trainable, summary.nbytes) == (64, 64, 256)
    text = str(summary)
    assert "table    Embedding  float32[2, 3, 4]           44" in text and text.endswith("64 trainable, 0.00 MB")
    assert model.training and not model.drop.training and not any("forward" in vars(m) for m in model.modules())
    model.table.requires_grad_(False)
    assert model.summary(np.zeros((1, 2), np.int64)).trainable == 20


def test_summary_leaves_the_model_as_it_was_after_an_error():
    model = nn.Sequential(nn.Linear(2, 3), nn.Linear(4, 1))
    with pytest.raises(ValueError, match="the weight"):
        model.summary((5, 2))
    assert model.training and not any("forward" in vars(m) for m in model.modules())
