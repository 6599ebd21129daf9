"""Containers, and layers beyond the affine one: names, state, growth, mistakes."""

import copy
import pickle

import numpy as np
import pytest

import ringtrain as rt
from ringtrain import nn


def names(module):
    return [name for name, _ in module.named_parameters()]


def test_sequential_inserts_and_slices():
    model = nn.Sequential(nn.Linear(2, 3), nn.Linear(3, 1))
    assert model.insert(1, nn.ReLU()) is model and names(model)[-1] == "2.bias"
    assert isinstance(model[1:], nn.Sequential) and list(model[1:]) == list(model)[1:] == model.layers[1:]
    model[1] = nn.Tanh()
    model.extend([nn.Sigmoid()])
    del model[0]
    assert [type(m).__name__ for m in model] == ["Tanh", "Linear", "Sigmoid"]
    with pytest.raises(TypeError, match="one by one"):
        model.append(3)


def test_module_list():
    class Stack(nn.Module):
        def __init__(self):
            self.layers = nn.ModuleList(nn.Linear(3, 3) for _ in range(3))
            self.layers.append(nn.Linear(3, 1)).insert(0, nn.ReLU())

        def forward(self, x):
            for layer in self.layers:
                x = layer(x)
            return x

    stack = Stack()
    assert len(stack.layers) == 5 and names(stack)[:2] == ["layers.1.weight", "layers.1.bias"]
    assert stack(rt.ones((2, 3))).shape == (2, 1)
    assert isinstance(stack.layers[:2], nn.ModuleList) and len(stack.layers[:2]) == 2
    assert "(1): Linear(3, 3)" in repr(stack)
    with pytest.raises(TypeError, match="ModuleList holds modules"):
        stack.layers.append(abs)


def test_module_dict():
    heads = nn.ModuleDict({"a": nn.Linear(2, 1)})
    heads["b"] = nn.Linear(2, 2)
    assert names(heads) == ["a.weight", "a.bias", "b.weight", "b.bias"]
    assert "a" in heads and len(heads) == 2 and list(heads) == list(heads.keys()) == ["a", "b"]
    assert [m for _, m in heads.items()] == list(heads.values())
    assert heads.pop("a").weight.shape == (1, 2) and names(heads) == ["b.weight", "b.bias"]
    del heads["b"]
    assert repr(heads) == "ModuleDict()"
    for wrong, kind in [("a.b", KeyError), ("", KeyError), ("c", TypeError)]:
        with pytest.raises(kind):
            heads[wrong] = nn.ReLU() if kind is KeyError else 3


def test_parameter_containers():
    rows = nn.ParameterList([rt.ones(2), nn.Parameter(np.ones(3))])
    table = nn.ParameterDict({"scale": rt.ones(())})
    assert names(rows) == ["0", "1"] and all(type(p) is nn.Parameter for p in rows)
    assert names(table) == ["scale"] and table["scale"].requires_grad
    with pytest.raises(TypeError, match="ParameterList holds parameters"):
        rows.append(2.0)
    with pytest.raises(TypeError, match="ParameterDict holds parameters"):
        table["x"] = None


@pytest.mark.parametrize("twin", [copy.deepcopy, lambda m: pickle.loads(pickle.dumps(m))])
def test_containers_copy_and_load(twin):
    model = nn.ModuleDict({"a": nn.ModuleList([nn.Linear(2, 2)]), "p": nn.Sequential(nn.PReLU(2))})
    other = twin(model)
    assert names(other) == names(model) == ["a.0.weight", "a.0.bias", "p.0.weight"]
    other.load_state_dict({n: a + 1 for n, a in model.state_dict().items()})
    assert other["p"][0].weight.tolist() == [1.25, 1.25] and model["p"][0].weight.tolist() == [0.25, 0.25]


def test_identity_flatten_unflatten():
    x = rt.ones((2, 6, 5))
    assert nn.Identity(3, bias=False)(x) is x
    assert nn.Unflatten(1, (2, -1))(x).shape == (2, 2, 3, 5) and nn.Unflatten(-1, (5, 1))(x).shape == (2, 6, 5, 1)
    assert nn.Flatten()(nn.Unflatten(1, (2, 3))(x)).shape == (2, 30)


def test_embedding():
    table = nn.Embedding(7, 3, padding_idx=-1, dtype=np.float64)
    assert (table.weight.detach().numpy()[6] == 0).all() and (table.weight.detach().numpy()[:6] != 0).all()
    out = table(np.array([[1, 6], [1, 2]]))
    assert out.shape == (2, 2, 3)
    out.sum().backward()
    assert table.weight.grad.numpy()[:, 0].tolist() == [0, 2, 1, 0, 0, 0, 0]
    assert table(rt.zeros((4, 5), dtype=np.int64, device="meta")).shape == (4, 5, 3)
    with pytest.raises(IndexError, match=r"outside 0 \.\. 6: 1 \.\. 7"):
        table(np.array([1, 7]))
    with pytest.raises(TypeError, match="embedding wants integers"):
        table(rt.ones(2))
    with pytest.raises(ValueError, match="padding row 7"):
        nn.Embedding(7, 3, padding_idx=7)
    bag = nn.EmbeddingBag(7, 3, mode="max")
    assert bag(np.array([[1, 2], [3, 4]])).shape == (2, 3) and bag(np.array([1, 2, 3]), np.array([0, 1])).shape == (
        2,
        3,
    )
    with pytest.raises(ValueError, match="offsets begin with 0"):
        bag(np.array([1, 2]), np.array([1]))
    with pytest.raises(ValueError, match="mode 'min' is unknown"):
        nn.EmbeddingBag(7, 3, mode="min")(np.array([[1]]))


def test_tables_that_are_there():
    table = rt.from_numpy(np.arange(6.0).reshape(3, 2))
    for kind, index in ((nn.Embedding, [2]), (nn.EmbeddingBag, [[2]])):
        layer = kind.from_pretrained(table, padding_idx=0)
        assert not layer.weight.requires_grad and layer.weight.dtype == np.float64
        assert layer(np.array(index)).numpy().tolist() == [[4, 5]]
        assert layer.weight.data is table.data and table.numpy()[0].tolist() == [0, 1]
        assert repr(layer).startswith(f"{kind.__name__}(3, 2") and "padding_idx=0" in repr(layer)
        assert kind.from_pretrained(np.ones((3, 2), np.float32), freeze=False).weight.requires_grad
        with pytest.raises(ValueError, match=r"from_pretrained wants a table \(n, d\); got \(3,\)"):
            kind.from_pretrained(np.ones(3))


def test_layers_of_two_inputs():
    a, b = rt.ones((5, 2)), rt.ones((5, 3))
    layer = nn.Bilinear(2, 3, 4)
    assert layer(a, b).shape == (5, 4) and abs(layer.weight.detach().numpy()).max() <= 1 / np.sqrt(2)
    with pytest.raises(ValueError, match="do not fit a weight"):
        layer(b, a)
    assert nn.CosineSimilarity()(a, a).tolist() == pytest.approx([1.0] * 5)
    assert nn.PairwiseDistance(keepdims=True)(a, a).shape == (5, 1)


ACTIVATIONS = [
    *[
        (nn.ReLU(), nn.relu),
        (nn.Tanh(), rt.tanh),
        (nn.Sigmoid(), rt.sigmoid),
        (nn.SELU(), nn.selu),
        (nn.SiLU(), nn.silu),
    ],
    *[(nn.GELU("tanh"), lambda x: nn.gelu(x, "tanh")), (nn.Softplus(2.0), lambda x: nn.softplus(x, 2.0, 20.0))],
    *[(nn.Softmax(0), lambda x: rt.softmax(x, 0)), (nn.LogSoftmax(), rt.log_softmax), (nn.Softmin(), nn.softmin)],
    *[(nn.LeakyReLU(0.3), lambda x: nn.leaky_relu(x, 0.3)), (nn.ELU(0.5), lambda x: nn.elu(x, 0.5))],
    *[(nn.CELU(0.5), lambda x: nn.celu(x, 0.5)), (nn.Mish(), nn.mish), (nn.LogSigmoid(), nn.logsigmoid)],
    *[
        (nn.Softsign(), nn.softsign),
        (nn.Tanhshrink(), nn.tanhshrink),
        (nn.Hardtanh(-2, 0.5), lambda x: x.clip(-2, 0.5)),
    ],
    *[(nn.ReLU6(), nn.relu6), (nn.Hardsigmoid(), nn.hardsigmoid), (nn.Hardswish(), nn.hardswish)],
    *[(nn.Hardshrink(0.2), lambda x: nn.hardshrink(x, 0.2)), (nn.Softshrink(0.2), lambda x: nn.softshrink(x, 0.2))],
    *[(nn.Threshold(0.1, 9.0), lambda x: nn.threshold(x, 0.1, 9.0)), (nn.GLU(0), lambda x: nn.glu(x, 0))],
    (nn.PReLU(3), lambda x: nn.leaky_relu(x, 0.25)),
]


@pytest.mark.parametrize(("module", "function"), ACTIVATIONS, ids=[repr(m) for m, _ in ACTIVATIONS])
def test_activation_modules_are_the_functions(
    module,
    function,
):
    x = rt.from_numpy(np.random.default_rng(0).standard_normal((4, 3)))
    np.testing.assert_array_equal(module(x).detach().numpy(), function(x).detach().numpy())


def test_loss_modules_are_the_functions():
    rng = np.random.default_rng(0)
    x, t = (rt.from_numpy(rng.uniform(0.1, 0.9, (4, 3))) for _ in range(2))
    weight = rt.from_numpy(np.array([1.0, 2.0, 0.5]))
    labels, signs = np.array([0, 2, 1, 1]), np.array([1, -1, 1, 1])
    pairs = [
        (nn.CrossEntropyLoss(weight, 1, 0.1, "sum"), nn.cross_entropy(x, labels, weight, 1, 0.1, "sum"), (x, labels)),
        (nn.NLLLoss(weight, 1), nn.nll_loss(x, labels, weight, 1), (x, labels)),
        (nn.BCELoss(weight), nn.binary_cross_entropy(x, t, weight), (x, t)),
        (nn.BCEWithLogitsLoss(pos_weight=weight), nn.binary_cross_entropy_with_logits(x, t, None, weight), (x, t)),
        (nn.SigmoidFocalLoss(gamma=1.0), nn.sigmoid_focal_loss(x, t, gamma=1.0, reduction="mean"), (x, t)),
        (nn.SmoothL1Loss(0.5), nn.smooth_l1_loss(x, t, 0.5), (x, t)),
        (nn.HuberLoss(0.5), nn.huber_loss(x, t, 0.5), (x, t)),
        (nn.PoissonNLLLoss(full=True), nn.poisson_nll_loss(x, t, full=True), (x, t)),
        (nn.GaussianNLLLoss(), nn.gaussian_nll_loss(x, t, t), (x, t, t)),
        (nn.KLDivLoss(True, "batchmean"), nn.kl_div(x, t, True, "batchmean"), (x, t)),
        (nn.CosineEmbeddingLoss(0.1), nn.cosine_embedding_loss(x, t, signs, 0.1), (x, t, signs)),
        (nn.TripletMarginLoss(0.5, swap=True), nn.triplet_margin_loss(x, t, x * 0.5, 0.5, swap=True), (x, t, x * 0.5)),
        (nn.MultiMarginLoss(2, weight=weight), nn.multi_margin_loss(x, labels, 2, weight=weight), (x, labels)),
        (nn.MultiLabelSoftMarginLoss(weight), nn.multilabel_soft_margin_loss(x, t, weight), (x, t)),
        (nn.HingeLoss(2.0), nn.hinge_loss(x, t, 2.0), (x, t)),
    ]
    for module, want, inputs in pairs:
        np.testing.assert_array_equal(module(*inputs).numpy(), want.numpy(), err_msg=type(module).__name__)
    assert list(dict(nn.NLLLoss(weight).named_buffers())) == ["weight"]
    assert repr(nn.HuberLoss(0.5)) == "HuberLoss(delta=0.5, reduction='mean')"


def test_targets_of_losses_by_name():
    x, labels, weight = rt.rand((4, 3)), np.array([0, 2, 1, 1]), rt.ones(3)
    assert nn.MSELoss()(x, target=x * 0).item() == nn.mse_loss(x, x * 0).item()
    assert nn.NLLLoss(weight)(x, target=labels).item() == nn.nll_loss(x, labels).item()


def test_layers_side_by_side():
    a, b = nn.Linear(3, 2), nn.Linear(3, 4)
    both = nn.Concurrent(a, b, nn.Identity())
    x = rt.from_numpy(np.arange(6, dtype=np.float32).reshape(2, 3))
    np.testing.assert_array_equal(both(x).detach().numpy()[:, 2:6], b(x).detach().numpy())
    assert both(x).shape == (2, 9)
    assert [n for n, _ in both.named_parameters()] == ["0.weight", "0.bias", "1.weight", "1.bias"]
    assert nn.Concurrent(a, nn.Linear(3, 2), axis=0)[:1](x).shape == (2, 2)
    with pytest.raises(TypeError, match="takes layers one by one"):
        nn.Concurrent([a, b])


def test_a_function_as_a_layer():
    layer = nn.Lambda(rt.square)
    assert layer(rt.tensor([3.0])).item() == 9.0
    assert nn.Sequential(layer, nn.Lambda(lambda x: x + 1))(rt.tensor([2.0])).item() == 5.0
    assert repr(layer) == "Lambda(square)"
    with pytest.raises(TypeError, match="Lambda wants a function"):
        nn.Lambda(3)
