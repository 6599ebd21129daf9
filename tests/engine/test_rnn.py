"""Recurrent ops: the kernel against the composed form, and both against plain NumPy, one sample at a time."""

import ml_dtypes
import numpy as np
import pytest

import ringtrain as rt
from ringtrain import nn
from ringtrain.backend.numpy_ import BACKEND

KINDS = {"rnn tanh": (nn.rnn, 1, {}), "rnn relu": (nn.rnn, 1, {"nonlinearity": "relu"})}
KINDS |= {"lstm": (nn.lstm, 4, {}), "lstm projected": (nn.lstm, 4, {}), "gru": (nn.gru, 3, {})}
SHAPES = {"odd": (5, 3, 4, 3), "one step": (1, 2, 3, 5), "one sample": (7, 1, 2, 3), "one of all": (1, 1, 1, 1)}
LENGTHS = {"whole": None, "ragged": "ragged", "ragged, none": "empty"}


@pytest.fixture(params=["composed", "kernel"])
def way(request, monkeypatch):
    if request.param == "composed":
        monkeypatch.setitem(BACKEND.kernels, "rnn", None)


@pytest.fixture(params=[False, True], ids=["forward", "reverse"])
def reverse(request):
    return request.param


def made(name, shape, bias=True, dtype="f8"):
    """x, states and weights of a kind, by the order of its arguments."""
    steps, batch, features, hidden = shape
    rng = np.random.default_rng(7)
    rows, out = KINDS[name][1] * hidden, hidden - 1 or 1
    out = out if name == "lstm projected" else hidden
    sizes = [(steps, batch, features), (batch, out)]
    sizes += [(batch, hidden)] * name.startswith("lstm")
    sizes += [(rows, features), (rows, out)] + [(rows,)] * 2 * bias
    arrays = [rng.normal(size=size).astype(dtype) for size in sizes]
    if name == "lstm projected":
        arrays += [None] * (0 if bias else 2) + [rng.normal(size=(out, hidden)).astype(dtype)]
    return arrays


def lengths_of(kind, shape):
    steps, batch = shape[:2]
    if kind is None:
        return None
    counts = np.arange(steps, steps - batch, -1).clip(1)
    return counts if kind == "ragged" else np.append(counts[:-1], 0)


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def reference(name, arrays, lengths, reverse):
    """Outputs and last states, in float64, one sample after the other."""
    x, h0, *rest = arrays
    c0 = rest.pop(0) if name.startswith("lstm") else h0 * 0
    w, u, b, v, *projection = rest
    n = u.shape[0] // KINDS[name][1]
    out, hs, cs = np.zeros((*x.shape[:2], h0.shape[1])), h0.copy(), c0.copy()
    for s in range(x.shape[1]):
        length = x.shape[0] if lengths is None else lengths[s]
        for t in reversed(range(length)) if reverse else range(length):
            a, r = w @ x[t, s] + b, u @ hs[s] + v
            if name == "rnn tanh":
                hs[s] = np.tanh(a + r)
            elif name == "rnn relu":
                hs[s] = np.maximum(a + r, 0)
            elif name == "gru":
                reset, update = sigmoid((a + r)[:n]), sigmoid((a + r)[n : 2 * n])
                hs[s] = (1 - update) * np.tanh(a[2 * n :] + reset * r[2 * n :]) + update * hs[s]
            else:
                i, f, g, o = np.split(a + r, 4)
                cs[s] = sigmoid(f) * cs[s] + sigmoid(i) * np.tanh(g)
                h = sigmoid(o) * np.tanh(cs[s])
                hs[s] = projection[0] @ h if projection else h
            out[t, s] = hs[s]
    return [out, hs, cs] if name.startswith("lstm") else [out, hs]


def run(name, tensors, lengths, reverse):
    f, _, options = KINDS[name]
    return f(*tensors, **options, lengths=lengths, reverse=reverse)


EACH = [
    pytest.mark.parametrize("name", KINDS),
    pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES.keys()),
    pytest.mark.parametrize("kind", LENGTHS.values(), ids=LENGTHS.keys()),
]


def each(test):
    for mark in EACH:
        test = mark(test)
    return test


@each
def test_values(way, name, shape, kind, reverse):
    arrays, lengths = made(name, shape), lengths_of(kind, shape)
    found = run(name, [rt.from_numpy(a) for a in arrays], lengths, reverse)
    for mine, wanted in zip(found, reference(name, arrays, lengths, reverse), strict=True):
        np.testing.assert_allclose(mine.numpy(), wanted, rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize("name", KINDS)
@pytest.mark.parametrize("kind", LENGTHS.values(), ids=LENGTHS.keys())
@pytest.mark.parametrize("result", [None, 0, 1, -1], ids=["all", "outputs", "h", "last"])
def test_gradients_of_both_orders(way, name, kind, reverse, result):
    shape = (3, 3, 2, 3)
    inputs = [rt.tensor(a, "f8", requires_grad=True) for a in made(name, shape)]

    def f(*tensors):
        found = run(name, tensors, lengths_of(kind, shape), reverse)
        return found if result is None else found[result]

    rt.gradcheck(f, *inputs, order=2 if result is None else 1)


@pytest.mark.parametrize("name", KINDS)
def test_without_biases(way, name):
    arrays = made(name, (4, 2, 3, 3), bias=False)
    place = 5 if name.startswith("lstm") else 4
    given = [a for a in arrays if a is not None]
    zeros = np.zeros(len(arrays[place - 1]))
    gap = [None, None] if len(given) > place else []

    def f(*tensors):
        return run(name, [*tensors[:place], *gap, *tensors[place:]], None, False)

    found = f(*map(rt.from_numpy, given))
    wanted = reference(name, [*given[:place], zeros, zeros, *given[place:]], None, False)
    for mine, exact in zip(found, wanted, strict=True):
        np.testing.assert_allclose(mine.numpy(), exact, rtol=1e-12, atol=1e-13)
    rt.gradcheck(f, *[rt.tensor(a, "f8", requires_grad=True) for a in given])


@pytest.mark.parametrize("name", KINDS)
def test_backward_twice_adds_up(name):
    inputs = [rt.tensor(a, "f8", requires_grad=True) for a in made(name, (4, 2, 3, 3))]
    loss = sum((out * out).sum() for out in run(name, inputs, np.array([4, 2]), False))
    loss.backward(retain_graph=True)
    once = [t.grad.numpy().copy() for t in inputs]
    loss.backward()
    for t, g in zip(inputs, once, strict=True):
        np.testing.assert_allclose(t.grad.numpy(), 2 * g, rtol=1e-13)


@pytest.mark.parametrize("name", KINDS)
@pytest.mark.parametrize("dtype", ["float16", ml_dtypes.bfloat16, "float32"])
def test_other_floats(name, dtype):
    arrays = made(name, (4, 2, 3, 3), dtype=dtype)
    found = run(name, [rt.from_numpy(a) for a in arrays], None, False)
    assert {out.dtype for out in found} == {np.dtype(dtype)}
    wanted = reference(name, [a.astype("f8") for a in arrays], None, False)
    unit = float(ml_dtypes.finfo(dtype).eps)
    for mine, exact in zip(found, wanted, strict=True):
        bound = 8 * max(unit, 1e-7) * max(1, abs(exact).max())  # a rounding of the result, and float32's of 4 steps
        np.testing.assert_allclose(mine.numpy().astype("f8"), exact, rtol=0, atol=bound)


@pytest.mark.parametrize("name", KINDS)
def test_no_samples_and_no_data(name):
    arrays = made(name, (4, 0, 3, 3))
    inputs = [rt.tensor(a, "f8", requires_grad=True) for a in arrays]
    found = run(name, inputs, np.zeros(0, int), False)
    assert found[0].shape[:2] == (4, 0)
    sum(out.sum() for out in found).backward()
    assert all(not t.grad.numpy().any() for t in inputs)
    shapes = [rt.zeros(a.shape, device="meta") for a in made(name, (4, 2, 3, 3))]
    assert [t.shape for t in run(name, shapes, np.array([4, 2]), True)] == [
        t.shape for t in reference(name, made(name, (4, 2, 3, 3)), None, True)
    ]


@pytest.mark.cpu
def test_a_write_into_the_outputs_is_seen():
    inputs = [rt.tensor(a, "f8", requires_grad=True) for a in made("gru", (4, 2, 3, 3))]
    out, _ = nn.gru(*inputs)
    with rt.no_grad():
        out[0] = 0.0
    with pytest.raises(RuntimeError, match="changed in place"):
        out.sum().backward()


def test_inputs_that_do_not_fit():
    x, h, w, u, b, v = (rt.from_numpy(a) for a in made("gru", (4, 2, 3, 3)))
    with pytest.raises(ValueError, match=r"gru: for the input \(4, 2, 3\) h must have the shape \(2, 3\)"):
        nn.gru(x, h[:1], w, u, b, v)
    with pytest.raises(ValueError, match=r"w_hh must have the shape"):
        nn.gru(x, h, w, u[:3], b, v)
    with pytest.raises(ValueError, match="at least one step"):
        nn.gru(x[:0], h, w, u, b, v)
    with pytest.raises(ValueError, match="lengths are 2 integers"):
        nn.gru(x, h, w, u, b, v, lengths=[1.0, 2.0])
    with pytest.raises(ValueError, match=r"lengths lie in 0 .. 4; got 1 .. 5"):
        nn.gru(x, h, w, u, b, v, lengths=[1, 5])
    with pytest.raises(ValueError, match="nonlinearity 'elu' is unknown"):
        nn.rnn(x, h, w, u, b, v, "elu")
