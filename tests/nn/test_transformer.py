"""Multi-head attention and the layers of a transformer: PyTorch's numbers with PyTorch's state, masks, dropout."""

import copy
import pickle

import numpy as np
import pytest

import ringtrain as rt
from ringtrain import nn, random

from ..arrays import on_host

B, T, S, E, H = 3, 5, 7, 8, 4
PADDING = np.arange(S) >= np.array([[7], [4], [1]])
MASK = (np.random.default_rng(5).random((T, S)) > 0.7) & (np.arange(S) > 0)
FLOATS = np.random.default_rng(6).normal(size=(T, S))


def made(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape)


def load(mine, theirs):
    state = {n: p.detach().numpy() for n, p in theirs.named_parameters()}
    assert list(state) == [n for n, _ in mine.named_parameters()] or set(state) == {
        n for n, _ in mine.named_parameters()
    }
    mine.load_state_dict(state)


def check(mine, theirs):
    np.testing.assert_allclose(mine.detach().numpy(), theirs.detach().numpy(), rtol=1e-10, atol=1e-12)


def compare(torch, mine, theirs, inputs, call):
    """Values and gradients of call(module, tensors) in both libraries."""
    load(mine, theirs)
    ours = [rt.tensor(x, "f8", requires_grad=True) for x in inputs]
    others = [torch.tensor(x, requires_grad=True) for x in inputs]
    out, wanted = call(mine, ours, np.asarray), call(theirs, others, torch.tensor)
    check(out, wanted)
    head = made(*out.shape, seed=9)
    out.backward(rt.from_numpy(head))
    wanted.backward(torch.tensor(head))
    for a, b in zip(ours, others, strict=True):
        check(a.grad, b.grad)
    grads = {n: p.grad for n, p in theirs.named_parameters()}
    for n, p in mine.named_parameters():
        check(p.grad, grads[n])


OPTIONS = {
    "none": {},
    "padding": {"key_padding_mask": PADDING},
    "mask": {"attn_mask": MASK},
    "floats": {"attn_mask": FLOATS},
    "both": {"attn_mask": MASK, "key_padding_mask": PADDING},
    "floats and padding": {"attn_mask": FLOATS, "key_padding_mask": np.where(PADDING, -np.inf, 0.0)},
    "mask a head": {"attn_mask": np.broadcast_to(MASK, (B * H, T, S)) & (made(B * H, T, S) > 0)},
}


@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS.keys())
@pytest.mark.parametrize("weights", [False, True], ids=["by block", "weights"])
@pytest.mark.parametrize(
    "kind",
    [
        *[{}, {"bias": False, "batch_first": True}, {"kdim": 6, "vdim": 5}],
        *[{"add_bias_kv": True}, {"add_zero_attn": True, "batch_first": True}],
        {"add_bias_kv": True, "add_zero_attn": True, "kdim": 6, "vdim": 5},
    ],
    ids=str,
)
def test_attention_equals_pytorch(options, weights, kind):
    torch = pytest.importorskip("torch")
    mine = nn.MultiHeadAttention(E, H, **kind, dtype=np.float64)
    theirs = torch.nn.MultiheadAttention(E, H, **kind, dtype=torch.float64)
    shapes = [(T, B, E), (S, B, kind.get("kdim", E)), (S, B, kind.get("vdim", E))]
    if kind.get("batch_first"):
        shapes = [(b, t, f) for t, b, f in shapes]

    def call(module, tensors, convert):
        given = {k: convert(v) for k, v in options.items()}
        out, found = module(*tensors, need_weights=weights, average_attn_weights=False, **given)
        assert (found is not None) == weights
        return (out.sum() + (found * found).sum()) if weights else out

    compare(torch, mine, theirs, [made(*s, seed=k) for k, s in enumerate(shapes)], call)


@pytest.mark.parametrize("shape", [(T, B, E), (1, 1, E), (T, E)], ids=["batch", "one", "single"])
@pytest.mark.parametrize("kind", [{}, {"add_bias_kv": True, "add_zero_attn": True}], ids=["plain", "added"])
def test_self_attention_equals_pytorch(shape, kind):
    torch = pytest.importorskip("torch")
    mine, theirs = (
        nn.MultiHeadAttention(E, H, **kind, dtype=np.float64),
        torch.nn.MultiheadAttention(E, H, **kind, dtype=torch.float64),
    )
    causal = ~np.tri(shape[0], dtype=bool)

    def call(module, tensors, convert):
        more = {"is_causal": True} if module is mine else {"attn_mask": convert(causal)}
        out, found = module(*tensors * 3, need_weights=True, **more)
        return out.sum() + (found * found).sum()

    compare(torch, mine, theirs, [made(*shape)], call)


def test_grouped_heads_are_whole_heads_that_repeat():
    few = nn.MultiHeadAttention(E, H, num_kv_heads=2, dtype=np.float64)
    assert few.in_proj_weight.shape == (E + 2 * 4, E)
    many = nn.MultiHeadAttention(E, H, dtype=np.float64)
    wide = {}
    for name, value in few.state_dict().items():
        wide[name] = value = on_host(value)
        if name.startswith("in_proj"):
            value = value + made(*value.shape) * (value.ndim == 1)  # a bias that is not 0
            few.load_state_dict(few.state_dict() | {name: value})
            parts = np.split(value, [E, E + 4])
            doubled = [np.repeat(p.reshape(2, 2, *p.shape[1:]), 2, axis=0).reshape(E, *p.shape[1:]) for p in parts[1:]]
            wide[name] = np.concatenate([parts[0], *doubled])
    many.load_state_dict(wide)
    x = rt.from_numpy(made(T, B, E))
    np.testing.assert_allclose(few(x, x, x)[0].detach().numpy(), many(x, x, x)[0].detach().numpy(), rtol=1e-12)


def test_added_keys_have_the_width_of_grouped_heads():
    model = nn.MultiHeadAttention(64, 8, add_bias_kv=True, num_kv_heads=2)
    assert model.bias_k.shape == model.bias_v.shape == (1, 1, 16)
    assert 0.25 / 2 < model.bias_k.detach().numpy().std() < 0.25 * 2  # PyTorch's xavier_normal_: 1 / sqrt(16)
    assert model(rt.ones((T, B, 64)), rt.ones((S, B, 64)), rt.ones((S, B, 64)))[0].shape == (T, B, 64)


def test_what_a_mask_forbids_does_not_matter():
    """True in either mask forbids: what lies there may be anything, and the weights there are 0."""
    model = nn.MultiHeadAttention(E, H, batch_first=True, dtype=np.float64)
    q, k = made(B, T, E), made(B, S, E, seed=1)
    other = np.where(PADDING[:, :, None], 1e3, k)
    found = []
    for keys in (k, other):
        t = rt.from_numpy(keys)
        out, weights = model(rt.from_numpy(q), t, t, key_padding_mask=PADDING, attn_mask=MASK, need_weights=True)
        assert not weights.detach().numpy()[np.broadcast_to(MASK | PADDING[:, None], (B, T, S))].any()
        np.testing.assert_allclose(weights.detach().numpy().sum(axis=-1), 1, rtol=1e-12)
        found.append(out.detach().numpy())
    np.testing.assert_array_equal(*found)


def test_a_float_mask_gets_its_gradient():
    model = nn.MultiHeadAttention(E, H, dtype=np.float64)
    x, mask = rt.from_numpy(made(T, B, E)), rt.tensor(made(T, T), "f8", requires_grad=True)
    rt.gradcheck(lambda m: model(x, x, x, attn_mask=m)[0], mask)


def test_dropout_of_weights():
    random.seed(2)
    model = nn.MultiHeadAttention(E, H, dropout=0.5, dtype=np.float64)
    x = rt.from_numpy(made(T, B, E))
    whole = model.eval()(x, x, x, need_weights=True, average_attn_weights=False)[1].detach().numpy()
    dropped = model.train()(x, x, x, need_weights=True, average_attn_weights=False)[1].detach().numpy()
    kept = dropped != 0
    assert 0.3 < kept.mean() < 0.7  # of 300: 7 sigma
    np.testing.assert_allclose(dropped[kept], 2 * whole[kept], rtol=1e-12)
    random.seed(2)
    again = nn.MultiHeadAttention(E, H, dropout=0.5, dtype=np.float64)
    again(x, x, x)
    assert not np.array_equal(again(x, x, x)[0].detach().numpy(), again(x, x, x)[0].detach().numpy())


LAYERS = {
    "norm last": {},
    "norm first": {"norm_first": True, "activation": "gelu"},
    "batch first": {"batch_first": True, "layer_norm_eps": 1e-2},
    "no bias": {"bias": False, "norm_first": True},
}


@pytest.mark.parametrize("options", LAYERS.values(), ids=LAYERS.keys())
@pytest.mark.parametrize("kind", ["layer", "stack", "stack and norm"])
@pytest.mark.parametrize("part", ["Encoder", "Decoder"])
def test_transformers_equal_pytorch(options, kind, part):
    torch = pytest.importorskip("torch")
    models = []
    for package, dtype in ((nn, np.float64), (torch.nn, torch.float64)):
        layer = getattr(package, f"Transformer{part}Layer")(E, H, 13, 0.0, **options, dtype=dtype)
        if kind != "layer":
            norm = package.LayerNorm(E, dtype=dtype) if kind == "stack and norm" else None
            more = {"enable_nested_tensor": False} if package is torch.nn and part == "Encoder" else {}
            layer = getattr(package, f"Transformer{part}")(layer, 2, norm, **more)
        models.append(layer)
    rng = torch.Generator().manual_seed(0)
    for p in models[1].parameters():  # no two weights alike
        p.data += 0.3 * torch.randn(p.shape, dtype=torch.float64, generator=rng)
    first = options.get("batch_first")
    tgt, memory = ((B, T, E), (B, S, E)) if first else ((T, B, E), (S, B, E))
    causal = ~np.tri(T, dtype=bool)

    def call(module, tensors, convert):
        if part == "Encoder":
            return module(tensors[0], convert(causal), convert(PADDING[:, :T]))
        return module(*tensors, convert(causal), memory_key_padding_mask=convert(PADDING), memory_mask=convert(MASK))

    inputs = [made(*tgt)] + [made(*memory, seed=1)] * (part == "Decoder")
    compare(torch, *models, inputs, call)


@pytest.mark.parametrize("activation", ["relu", nn.silu, nn.tanh], ids=["by name", "an op", "an elementwise op"])
def test_activations_are_copied_and_pickled(activation):
    stack = nn.TransformerEncoder(nn.TransformerEncoderLayer(E, H, 16, 0.0, activation), 2).eval()
    x = rt.tensor(made(T, B, E), "f4")
    twin = pickle.loads(pickle.dumps(stack))
    assert twin.layers[1].activation is stack.layers[0].activation
    np.testing.assert_array_equal(twin(x).detach().numpy(), stack(x).detach().numpy())


def test_layers_of_a_stack_drop_differently_and_share_nothing():
    layer = nn.TransformerEncoderLayer(E, H, 16, dropout=0.3)
    stack = nn.TransformerEncoder(layer, 2)
    assert len({id(p) for p in stack.parameters()}) == 2 * len(list(layer.parameters()))
    x = rt.from_numpy(made(T, B, E).astype("f4"))
    one, other = (part(x).detach().numpy() for part in stack.layers)
    assert not np.array_equal(one, other)
    stack.eval()
    one, other = (part(x).detach().numpy() for part in stack.layers)
    np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("batch_first", [False, True])
def test_dropout_does_not_depend_on_the_number_of_ranks(batch_first):
    random.seed(1)
    model = nn.TransformerEncoderLayer(E, H, 16, dropout=0.4, batch_first=batch_first, dtype=np.float64)
    same = copy.deepcopy(model.state_dict())
    x = made(4, T, E)

    def run(m, part):
        out = m(rt.from_numpy(np.ascontiguousarray(part if batch_first else part.swapaxes(0, 1)))).detach().numpy()
        return out if batch_first else out.swapaxes(0, 1)

    whole = run(model, x)
    random.seed(1)
    again = nn.TransformerEncoderLayer(E, H, 16, dropout=0.4, batch_first=batch_first, dtype=np.float64)
    again.load_state_dict(same)
    try:
        random.state.offset, random.state.stride = 1, 2
        part = run(again, x[1::2])
    finally:
        random.state.offset, random.state.stride = 0, 1
    np.testing.assert_allclose(part, whole[1::2], rtol=1e-11)


def test_positions():
    table = nn.sinusoids(11, 7, np.float64)
    for p in (0, 3, 10):
        for k in range(7):
            angle = p / 10000 ** ((k - k % 2) / 7)
            assert abs(table[p, k] - (np.cos(angle) if k % 2 else np.sin(angle))) < 1e-13
    x = rt.zeros((11, 2, 7), dtype=np.float64)
    found = nn.PositionalEncoding(7)(x).numpy()
    np.testing.assert_array_equal(found, np.broadcast_to(table[:, None], found.shape))
    found = nn.PositionalEncoding(7, batch_first=True)(x.swapaxes(0, 1)).numpy()
    np.testing.assert_array_equal(found, np.broadcast_to(table, found.shape))
    with pytest.raises(ValueError, match="up to 10 steps of 7 features"):
        nn.PositionalEncoding(7, max_len=10)(x)


def test_what_does_not_fit_is_named():
    with pytest.raises(ValueError, match="num_heads must divide embed_dim"):
        nn.MultiHeadAttention(8, 3)
    with pytest.raises(ValueError, match="num_kv_heads must divide"):
        nn.MultiHeadAttention(8, 4, num_kv_heads=3)
    model = nn.MultiHeadAttention(E, H)
    x = rt.zeros((T, B, E))
    with pytest.raises(ValueError, match=r"key_padding_mask is \(3, 5\); got \(5, 3\)"):
        model(x, x, x, np.zeros((5, 3), bool))
    with pytest.raises(ValueError, match=r"attn_mask \(5, 6\) does not broadcast"):
        model(x, x, x, attn_mask=np.zeros((5, 6), bool))
    with pytest.raises(ValueError, match="differ in the batch"):
        model(x, x[:, :2], x[:, :2])
    with pytest.raises(ValueError, match="must end in"):
        model(x, x, x[:2])
    with pytest.raises(ValueError, match="activation 'elu' is unknown"):
        nn.TransformerEncoderLayer(8, 2, activation="elu")


WHOLE = [{}, {"batch_first": True, "norm_first": True, "activation": "gelu", "bias": False}]


@pytest.mark.filterwarnings("ignore:enable_nested_tensor")
@pytest.mark.parametrize("options", WHOLE, ids=str)
def test_the_whole_transformer_is_pytorchs(options):
    torch = pytest.importorskip("torch")
    sizes = {"d_model": E, "nhead": H, "num_encoder_layers": 2, "num_decoder_layers": 3, "dim_feedforward": 12}
    mine = nn.Transformer(**sizes, dropout=0.0, **options, dtype=np.float64)
    theirs = torch.nn.Transformer(**sizes, dropout=0.0, **options).double()
    shapes = [(B, S, E), (B, T, E)] if options else [(S, B, E), (T, B, E)]
    inputs = [made(*shape, seed=i) for i, shape in enumerate(shapes)]

    def call(module, tensors, wrap):
        masks = {"src_key_padding_mask": wrap(PADDING), "memory_key_padding_mask": wrap(PADDING)}
        causal = np.triu(np.full((T, T), -np.inf), 1)
        return module(*tensors, tgt_mask=wrap(causal), **masks)

    compare(torch, mine, theirs, inputs, call)
    # PyTorch's names in PyTorch's order; each layer begins with its own matrices, in Xavier's bounds
    fresh = nn.Transformer(**sizes)
    assert list(fresh.state_dict()) == list(torch.nn.Transformer(**sizes).state_dict())
    a, b = (fresh.encoder.layers[i].linear1.weight.detach().numpy() for i in (0, 1))
    bound = np.sqrt(6 / (E + 12))
    assert not np.array_equal(a, b) and 0.8 * bound < abs(a).max() <= bound
    mask = nn.Transformer.generate_square_subsequent_mask(4)
    np.testing.assert_array_equal(mask.numpy(), torch.nn.Transformer.generate_square_subsequent_mask(4).numpy())
    with pytest.raises(ValueError, match=r"src \(2, 3, 5\) and tgt \(2, 3, 8\) must have 8 features"):
        fresh(rt.zeros((2, 3, 5)), rt.zeros((2, 3, 8)))
