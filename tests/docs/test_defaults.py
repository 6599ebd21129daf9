"""What the table of defaults in docs/layers.md says in words: here, in PyTorch, and by MXNet's own figures."""

import math

import numpy as np
import pytest

import ringtrain as rt
from ringtrain import nn

COVERED = set()  # the table's rows that a test here looks at


def covers(*names):
    COVERED.update(names)
    return lambda test: test


def ramp(*shape):
    """The numbers that make_mxnet.py works with: sin of 1, 2, 3, ..."""
    return np.sin(np.arange(1, np.prod(shape) + 1)).reshape(shape).astype(np.float32)


def near(got, want):
    # MXNet computed in float32, with results near 0 of terms near 1 (Kullback-Leibler), and its figures are rounded
    np.testing.assert_allclose(np.ravel(got), np.ravel(want), rtol=2e-5, atol=5e-6)


def uniform_in(values, bound):
    """Whether n values fill -bound .. bound: the farthest lies within 20 / n of the end, but for e^-20 of cases."""
    values = np.abs(np.ravel(values))
    return bound * (1 - 20 / values.size) < values.max() <= bound * (1 + 1e-6)


WEIGHTS = {
    "Linear": ((400, 300), {"weight": 1 / 20, "bias": 1 / 20}),
    "Conv2d": ((50, 60, 3), {"weight": 1 / math.sqrt(450), "bias": 1 / math.sqrt(450)}),
    "LSTM": ((90, 100), dict.fromkeys(["weight_ih_l0", "weight_hh_l0", "bias_ih_l0", "bias_hh_l0"], 1 / 10)),
}


@covers("weights of dense layers", "weights of convolutions", "weights of recurrent layers")
@pytest.mark.parametrize("kind", WEIGHTS)
def test_weights_are_uniform(kind, torch):
    arguments, bounds = WEIGHTS[kind]
    rt.seed(0)
    torch.manual_seed(0)
    for layer in (getattr(nn, kind)(*arguments), getattr(torch.nn, kind)(*arguments)):
        found = {name: p.detach().numpy() for name, p in layer.named_parameters()}
        assert found.keys() == bounds.keys()
        assert all(uniform_in(found[name], bound) for name, bound in bounds.items())


@covers("rows of embeddings")
def test_embeddings_are_normal(torch):
    torch.manual_seed(0)
    for layer in (nn.Embedding(300, 400), torch.nn.Embedding(300, 400)):
        values = layer.weight.detach().numpy()
        assert abs(values.std() - 1) < 0.02 and np.abs(values).max() > 3


def test_gluons_weights_are_uniform_and_biases_zero(mxnet):
    for kind in ("Dense", "Conv2D", "Embedding", "LSTM"):
        for name, (least, most, deviation) in mxnet["weights"][kind].items():
            if "bias" in name:
                assert least == most == 0
            else:
                assert (least, most) == (-0.07, 0.07) and deviation == round(0.07 / math.sqrt(3), 3)
    assert sorted(mxnet["weights"]["LSTM"]) == ["l0_h2h_bias", "l0_h2h_weight", "l0_i2h_bias", "l0_i2h_weight"]


@covers("axes of dense layers")
def test_axes_of_dense_layers(mxnet):
    assert nn.Linear(4, 5)(rt.zeros((2, 3, 4))).shape == (2, 3, 5)
    assert mxnet["layers"]["Dense of (2, 3, 4)"] == [2, 5]


@covers("order of gates", "axes of recurrent layers")
@pytest.mark.parametrize("kind", ["LSTM", "GRU", "RNN"])
def test_recurrent_layers_compute_what_gluons_do(kind, mxnet, torch):
    options = {"nonlinearity": "relu"} if kind == "RNN" else {}
    for layer in (getattr(nn, kind)(4, 2, **options), getattr(torch.nn, kind)(4, 2, **options)):
        parameters = dict(layer.named_parameters())
        library = rt if isinstance(layer, nn.Module) else torch
        for p in parameters.values():
            with library.no_grad():
                p[...] = library.from_numpy(ramp(*p.shape))
        near(layer(library.from_numpy(ramp(3, 2, 4)))[0].detach().numpy(), mxnet["layers"][kind])


@covers("batch norm", "running variance")
def test_running_statistics(mxnet, torch):
    x = ramp(5, 2)
    facts = mxnet["layers"]
    assert facts["BatchNorm running mean after forward"] == [0, 0], "they move in backward"
    near(facts["BatchNorm running mean"], 0.1 * x.mean(axis=0))
    near(facts["BatchNorm running variance"], 0.9 + 0.1 * x.var(axis=0))
    for library, layer in ((rt, nn.BatchNorm1d(2)), (torch, torch.nn.BatchNorm1d(2))):
        layer(library.from_numpy(x))
        near(layer.running_mean.numpy(), 0.1 * x.mean(axis=0))
        near(layer.running_var.numpy(), 0.9 + 0.1 * x.var(axis=0, ddof=1))


@covers("layer norm")
def test_layer_norm_takes_axes(mxnet):
    assert nn.LayerNorm((3, 4))(rt.zeros((2, 3, 4))).shape == (2, 3, 4)
    assert mxnet["signatures"]["LayerNorm"]["axis"] == -1


@covers("group norm", "instance norm", "RMS norm")
def test_shapes_of_norms(mxnet, torch):
    for library in (nn, torch.nn):
        assert library.GroupNorm(2, 4).weight.shape == (4,)
        assert library.InstanceNorm2d(4).weight is None
        out = library.RMSNorm(1)((rt if library is nn else torch).ones((1, 1)) * 1e-4).item()
        assert abs(out - 1e-4 / math.sqrt(1e-8 + np.finfo(np.float32).eps)) < 1e-6
    assert mxnet["layers"]["GroupNorm weight"] == [2]


@covers("dropout")
def test_dropout_divides(mxnet, torch):
    for library in (rt, torch):
        out = library.nn.Dropout(0.5)(library.ones((40,)))
        assert sorted(set(out.tolist())) == mxnet["layers"]["Dropout of ones"] == [0, 2]


@covers("PReLU")
def test_prelu_begins_at_a_quarter(mxnet):
    assert mxnet["weights"]["PReLU"] == {"alpha": [0.25, 0.25, 0]}


@covers("GELU")
@pytest.mark.parametrize("ours, theirs", [("GELU", "GELU"), ("SiLU", "Swish"), ("SELU", "SELU")])
def test_activations_compute_what_gluons_do(ours, theirs, mxnet):
    near(getattr(nn, ours)()(rt.from_numpy(ramp(6))).numpy(), mxnet["layers"][theirs])


@covers("softmax")
def test_the_axis_of_pytorchs_softmax(torch):
    for axes, axis in ((1, 0), (2, 1), (3, 0), (4, 1), (5, 1)):
        x = torch.ones([2] * (axes - 1) + [3]) if axis else torch.ones([3] + [2] * (axes - 1))
        with pytest.warns(UserWarning, match="Implicit dimension choice"):
            out = torch.nn.Softmax()(x)
        assert torch.allclose(out, torch.softmax(x, axis))
        assert (nn.Softmax()(rt.from_numpy(x.numpy())).numpy() == rt.softmax(rt.from_numpy(x.numpy()), axis=-1)).all()


def test_local_response_norm_computes_what_mxnets_does(mxnet):
    x = rt.from_numpy(ramp(1, 5, 2, 1))
    near(nn.LocalResponseNorm(3, alpha=0.5, k=1)(x).numpy(), mxnet["layers"]["LRN"])


@covers("a last window in the padding alone, `ceil_mode=True`")
def test_windows_in_the_padding(mxnet, torch):
    theirs = mxnet["layers"]["MaxPool1D ceil"]
    assert len(theirs) == 4 and theirs[-1] < -3.4e38
    for library in (rt, torch):
        out = library.nn.MaxPool1d(2, 2, 1, ceil_mode=True)(library.from_numpy(ramp(1, 1, 5)))
        near(out.numpy(), theirs[:3])


def test_average_pools_count_the_padding(mxnet):
    near(nn.AvgPool1d(3, 2, 1)(rt.from_numpy(ramp(1, 1, 6))).numpy(), mxnet["layers"]["AvgPool1D padded"])


@covers("a query that may look at nothing")
def test_a_query_that_may_look_at_nothing(torch):
    q = ramp(1, 2, 4)
    ours, theirs = nn.MultiheadAttention(4, 2), torch.nn.MultiheadAttention(4, 2)
    x = rt.from_numpy(q)
    assert not ours(x, x, x, attn_mask=np.ones((1, 1), bool))[0].detach().numpy().any(), "the bias begins as 0"
    t = torch.from_numpy(q)
    assert theirs(t, t, t, attn_mask=torch.ones(1, 1, dtype=torch.bool))[0].isnan().all()


X, OTHER, THIRD = ramp(2, 3), ramp(3, 2, 3)[1], ramp(3, 2, 3)[2]
SIGNS, CHANCES = np.sign(OTHER), (OTHER + 1) / 2
SHARES = np.exp(OTHER) / np.exp(OTHER).sum(axis=1, keepdims=True)
CLASSES = np.array([2, 0])


def each(kind, *inputs, **options):
    """A number for each sample: the mean over its other axes, as Gluon's losses give."""
    loss = getattr(nn, kind)(reduction="none", **options)(*map(rt.from_numpy, inputs)).numpy()
    return loss.reshape(len(loss), -1).mean(axis=1)


LOG = X - np.log(np.exp(X).sum(axis=1, keepdims=True))
LOSSES = {
    "L1Loss": lambda: each("L1Loss", X, OTHER),
    "L2Loss": lambda: each("MSELoss", X, OTHER) / 2,
    "HuberLoss": lambda: each("SmoothL1Loss", X, OTHER, beta=0.5),
    "SoftmaxCrossEntropyLoss": lambda: each("CrossEntropyLoss", X, CLASSES),
    "SigmoidBinaryCrossEntropyLoss": lambda: each("BCEWithLogitsLoss", X, CHANCES),
    "KLDivLoss": lambda: each("KLDivLoss", LOG, SHARES) * 3,  # a sum
    "HingeLoss": lambda: each("HingeLoss", X, SIGNS),
    "SquaredHingeLoss": lambda: each("SquaredHingeLoss", X, SIGNS),
    "LogisticLoss": lambda: each("SoftMarginLoss", X, SIGNS),
    "TripletLoss": lambda: np.maximum(0, 1 + ((X - OTHER) ** 2 - (X - THIRD) ** 2).sum(axis=1)),
    "PoissonNLLLoss": lambda: each("PoissonNLLLoss", X, CHANCES).mean(),
    "CosineEmbeddingLoss": lambda: each("CosineEmbeddingLoss", X, OTHER, np.array([1.0, -1.0], np.float32)),
    "CTCLoss": lambda: ctc(),
}


def ctc():
    """Gluon's: scores (N, T, C), the last class blank."""
    scores = rt.transpose(rt.log_softmax(rt.from_numpy(ramp(2, 5, 4))), (1, 0, 2))
    return nn.CTCLoss(blank=3, reduction="none")(scores, np.array([[1, 2], [0, 1]]), [5, 5], [2, 2]).numpy()


@covers("losses: what they give", "squared error", "cross-entropy", "Huber", "Kullback-Leibler", "logistic", "triplets")
@covers("Poisson", "CTC")
@pytest.mark.parametrize("name", LOSSES)
def test_losses_against_gluons(name, mxnet):
    near(LOSSES[name](), mxnet["losses"][name])


def test_triplets_by_distances_not_by_squares():
    a, b, c = (rt.from_numpy(v.astype(np.float64)) for v in (X, OTHER, THIRD))
    distance = [np.sqrt(((X.astype(float) - v + 1e-6) ** 2).sum(axis=1)) for v in (OTHER, THIRD)]
    near(nn.TripletMarginLoss()(a, b, c).item(), np.maximum(0, 1 + distance[0] - distance[1]).mean())


def test_classes_lie_on_axis_1():
    scores = rt.from_numpy(ramp(2, 3, 4))
    assert nn.CrossEntropyLoss(reduction="none")(scores, np.zeros((2, 4), int)).shape == (2, 4)


def test_ctc_is_divided_by_the_lengths(torch):
    scores = np.log(np.full((5, 2, 4), 0.25, np.float32))
    targets, lengths = np.array([[1, 2], [1, 0]]), ([5, 5], [2, 1])
    each_one = nn.CTCLoss(reduction="none")(rt.from_numpy(scores), targets, *lengths).numpy()
    mean = nn.CTCLoss()(rt.from_numpy(scores), targets, *lengths).item()
    near(mean, (each_one / [2, 1]).mean())
    near(mean, torch.nn.CTCLoss()(torch.from_numpy(scores), torch.from_numpy(targets), *lengths).item())


@covers("Xavier")
def test_xavier(torch):
    bound = math.sqrt(6 / (300 + 400))
    torch.manual_seed(0)
    assert uniform_in(nn.init.Xavier()((300, 400), "w", np.float32), bound)
    assert uniform_in(torch.nn.init.xavier_uniform_(torch.empty(300, 400)).numpy(), bound)
