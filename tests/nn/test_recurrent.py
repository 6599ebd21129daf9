"""Recurrent layers: PyTorch's values and gradients with PyTorch's state, lengths, dropout, open sizes."""

import copy

import numpy as np
import pytest

import ringtrain as rt
from ringtrain import nn, random

LAYERS = {
    "RNN": {},
    "RNN relu": {"nonlinearity": "relu", "num_layers": 2},
    "RNN both ways": {"bidirectional": True, "batch_first": True},
    "LSTM": {"num_layers": 2, "bidirectional": True},
    "LSTM batch first, no bias": {"batch_first": True, "bias": False},
    "LSTM projected": {"num_layers": 2, "proj_size": 2, "bidirectional": True},
    "GRU": {},
    "GRU deep": {"num_layers": 3, "bidirectional": True},
}
EACH = pytest.mark.parametrize("name", LAYERS)


def layer(name, features=4):
    return getattr(nn, name.split()[0])(features, 5, **LAYERS[name], dtype=np.float64)


def states(result):
    out, last = result
    return [out, *last] if isinstance(last, tuple) else [out, last]


def first(model, batch, lstm):
    rng = np.random.default_rng(3)
    rows = model.num_layers * (1 + model.bidirectional)
    h = rng.normal(size=(rows, batch, model.proj_size or 5))
    return [h, rng.normal(size=(rows, batch, 5))] if lstm else [h]


def check(mine, theirs):
    np.testing.assert_allclose(mine.numpy(), theirs.detach().numpy(), rtol=1e-10, atol=1e-12)


@EACH
@pytest.mark.parametrize("ragged", [False, True], ids=["whole", "ragged"])
@pytest.mark.parametrize("size", [(7, 3), (1, 1)], ids=["odd", "one"])
def test_equals_pytorch(name, ragged, size):
    torch = pytest.importorskip("torch")
    mine = layer(name)
    theirs = getattr(torch.nn, name.split()[0])(4, 5, **LAYERS[name], dtype=torch.float64)
    assert {n: p.shape for n, p in mine.named_parameters()} == {n: tuple(p.shape) for n, p in theirs.named_parameters()}
    mine.load_state_dict({n: p.detach().numpy() for n, p in theirs.named_parameters()})
    steps, batch = size
    shape = (batch, steps, 4) if mine.batch_first else (steps, batch, 4)
    x = np.random.default_rng(1).normal(size=shape)
    lengths = np.array([4, 7, 2])[:batch].clip(max=steps) if ragged else None
    begin = first(mine, batch, name.startswith("LSTM"))
    a, b = rt.tensor(x, "f8", requires_grad=True), torch.tensor(x, requires_grad=True)
    sa = [rt.tensor(s, "f8", requires_grad=True) for s in begin]
    sb = [torch.tensor(s, requires_grad=True) for s in begin]
    found = states(mine(a, tuple(sa) if len(sa) > 1 else sa[0], lengths))
    given = b
    if ragged:
        given = torch.nn.utils.rnn.pack_padded_sequence(
            b, torch.tensor(lengths), batch_first=mine.batch_first, enforce_sorted=False
        )
    out, *last = states(theirs(given, tuple(sb) if len(sb) > 1 else sb[0]))
    if ragged:
        out, _ = torch.nn.utils.rnn.pad_packed_sequence(out, batch_first=mine.batch_first, total_length=steps)
    wanted = [out, *last]
    heads = [np.random.default_rng(9 + k).normal(size=t.shape) for k, t in enumerate(found)]
    for one, other in zip(found, wanted, strict=True):
        check(one.detach(), other)
    rt.backward(found, [rt.from_numpy(h) for h in heads])
    torch.autograd.backward(wanted, [torch.tensor(h) for h in heads])
    for one, other in zip([a, *sa], [b, *sb], strict=True):
        check(one.grad, other.grad)
    for one, other in zip(mine.parameters(), theirs.parameters(), strict=True):
        check(one.grad, other.grad)


@pytest.mark.parametrize("name", ["RNNCell", "LSTMCell", "GRUCell"])
@pytest.mark.parametrize("shape", [(3, 4), (4,)], ids=["batch", "single"])
def test_cells_equal_pytorch(name, shape):
    torch = pytest.importorskip("torch")
    mine, theirs = getattr(nn, name)(4, 5, dtype=np.float64), getattr(torch.nn, name)(4, 5, dtype=torch.float64)
    mine.load_state_dict({n: p.detach().numpy() for n, p in theirs.named_parameters()})
    x = np.random.default_rng(1).normal(size=shape)
    found, wanted = None, None
    for _ in range(3):
        found, wanted = mine(rt.from_numpy(x), found), theirs(torch.tensor(x), wanted)
    pairs = [(found, wanted)] if name != "LSTMCell" else list(zip(found, wanted, strict=True))
    for one, other in pairs:
        check(one.detach(), other)
    sum(one.sum() for one, _ in pairs).backward()
    sum(other.sum() for _, other in pairs).backward()
    for one, other in zip(mine.parameters(), theirs.parameters(), strict=True):
        check(one.grad, other.grad)


@EACH
def test_a_sample_by_itself_gives_the_same(name):
    """With lengths, what lies behind a sample's end and beside it does not matter."""
    model = layer(name)
    x = np.random.default_rng(1).normal(size=(6, 3, 4))
    lengths = [6, 0, 3]
    whole = states(model(rt.from_numpy(x.swapaxes(0, 1) if model.batch_first else x), None, lengths))
    outs = whole[0].detach().numpy()
    outs = outs.swapaxes(0, 1) if model.batch_first else outs
    for k, length in enumerate(lengths):
        assert not outs[length:, k].any()
        if not length:
            assert all(not s.detach().numpy()[:, k].any() for s in whole[1:])
            continue
        alone = states(model(rt.from_numpy(x[:length, k])))
        np.testing.assert_allclose(outs[:length, k], alone[0].detach().numpy(), rtol=1e-12, atol=1e-14)
        for mine, wanted in zip(whole[1:], alone[1:], strict=True):
            np.testing.assert_allclose(mine.detach().numpy()[:, k], wanted.detach().numpy(), rtol=1e-12, atol=1e-14)


@EACH
def test_the_first_input_decides_an_open_size(name):
    random.seed(3)
    known = layer(name)
    random.seed(3)
    open_ = layer(name, None)
    with pytest.raises(RuntimeError, match="weight_ih_l0 has no shape yet"):
        list(open_.parameters())
    out = open_(rt.zeros((2, 3, 4), device="meta"))[0]
    assert out.shape == known(rt.zeros((2, 3, 4), dtype=np.float64))[0].shape
    for (n, p), (m, q) in zip(known.named_parameters(), open_.named_parameters(), strict=True):
        assert n == m
        np.testing.assert_array_equal(p.detach().numpy(), q.detach().numpy())
    assert open_.input_size == 4


def test_values_at_first_are_uniform():
    values = np.concatenate([p.detach().numpy().ravel() for p in nn.LSTM(300, 16).parameters()])
    assert abs(values).max() <= 0.25
    assert abs(values.std() - 0.5 / 12**0.5) < 0.25 * 0.02  # 20,000 values: 6 sigma of the estimate


def test_dropout_lies_between_layers_and_is_drawn_by_sample():
    """Half of the batch, as a rank of two would have it, sees its part of the masks."""
    random.seed(1)
    model = nn.GRU(4, 5, num_layers=2, dropout=0.5, dtype=np.float64)
    x = np.random.default_rng(1).normal(size=(3, 6, 4))
    whole = model(rt.from_numpy(x))[0].detach().numpy()
    assert not np.allclose(whole, model.eval()(rt.from_numpy(x))[0].detach().numpy())
    np.testing.assert_array_equal(
        model(rt.from_numpy(x))[0].detach().numpy(), model(rt.from_numpy(x))[0].detach().numpy()
    )
    random.seed(1)
    again = nn.GRU(4, 5, num_layers=2, dropout=0.5, dtype=np.float64)
    try:
        random.state.offset, random.state.stride = 1, 2
        part = again(rt.from_numpy(np.ascontiguousarray(x[:, 1::2])))[0].detach().numpy()
    finally:
        random.state.offset, random.state.stride = 0, 1
    np.testing.assert_allclose(part, whole[:, 1::2], rtol=1e-12)
    assert len(list(model.named_parameters())) == 8
    assert not np.allclose(copy.deepcopy(model).train()(rt.from_numpy(x))[0].detach().numpy(), whole)


def test_what_does_not_fit_is_named():
    with pytest.raises(ValueError, match="proj_size is for LSTM"):
        nn.LSTM(4, 5, proj_size=5)
    with pytest.raises(ValueError, match="num_layers must be >= 1"):
        nn.GRU(4, 5, num_layers=0)
    for sizes in ((4, 0), (2.5, 3), ("4", 3), (4, 2.5)):
        with pytest.raises(ValueError, match="input_size and hidden_size are integers >= 1; got"):
            nn.RNN(*sizes)
    model = nn.LSTM(4, 5)
    with pytest.raises(ValueError, match="LSTM wants 4 features"):
        model(rt.zeros((2, 3, 5)))
    with pytest.raises(ValueError, match=r"a pair \(h, c\)"):
        model(rt.zeros((2, 3, 4)), rt.zeros((1, 3, 5)))
    with pytest.raises(ValueError, match=r"a first state must be \(1, 3, 5\); got \(1, 2, 5\)"):
        model(rt.zeros((2, 3, 4)), (rt.zeros((1, 2, 5)), rt.zeros((1, 2, 5))))
    with pytest.raises(ValueError, match=r"\(T, B, features\)"):
        model(rt.zeros((4,)))
    assert repr(nn.GRU(None, 5, num_layers=2, batch_first=True)) == "GRU(None, 5, num_layers=2, batch_first=True)"
