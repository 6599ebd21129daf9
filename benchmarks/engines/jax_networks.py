"""The networks of networks.py for JAX: apply(parameters, state, x) -> (logits, state).

The state is the running statistics of batch normalisation, and empty elsewhere. Weights are (in, out), of convolutions
(height, width, in, out).
"""

import functools
import math

import jax.numpy as jnp
from jax import lax, nn


def drawn(rng, fan_in, *shape):
    """Uniform within 1 / sqrt(fan in), as PyTorch draws weights and biases."""
    return jnp.asarray(rng.uniform(-1, 1, shape) / math.sqrt(fan_in), jnp.float32)


def dense_of(rng, a, b, bias=True):
    return {"w": drawn(rng, a, a, b), **({"b": drawn(rng, a, b)} if bias else {})}


def conv_of(rng, a, b, k, bias=True):
    fan_in = a * k * k
    return {"w": drawn(rng, fan_in, k, k, a, b), **({"b": drawn(rng, fan_in, b)} if bias else {})}


def norm_of(width):
    return {"scale": jnp.ones(width), "shift": jnp.zeros(width)}


def table_of(rng, count, width):
    return jnp.asarray(rng.standard_normal((count, width)), jnp.float32)


def dense(p, x):
    y = x @ p["w"]
    return y + p["b"] if "b" in p else y


def conv(p, x, stride=1, padding=0):
    axes = ("NHWC", "HWIO", "NHWC")
    y = lax.conv_general_dilated(x, p["w"], (stride, stride), [(padding, padding)] * 2, dimension_numbers=axes)
    return y + p["b"] if "b" in p else y


def pool(x):
    """The largest of each 2 x 2. With `reduce_window` the step of the network takes a third longer."""
    n, h, w, c = x.shape
    return x.reshape(n, h // 2, 2, w // 2, 2, c).max((2, 4))


def layer_norm(p, x):
    mean, var = x.mean(-1, keepdims=True), x.var(-1, keepdims=True)
    return (x - mean) * lax.rsqrt(var + 1e-5) * p["scale"] + p["shift"]


def attention(q, k, v, heads, causal):
    b, t, width = q.shape
    q, k, v = (x.reshape(b, t, heads, -1).swapaxes(1, 2) for x in (q, k, v))
    scores = q @ k.swapaxes(2, 3) / math.sqrt(width // heads)
    if causal:
        scores = jnp.where(jnp.tri(t, dtype=bool), scores, -jnp.inf)
    return (nn.softmax(scores) @ v).swapaxes(1, 2).reshape(b, t, width)


# --- networks: each returns (parameters, state, apply) -----------------------------------------------------
def mlp(rng):
    def apply(params, state, x):
        for p in params[:-1]:
            x = nn.relu(dense(p, x))
        return dense(params[-1], x), state

    return [dense_of(rng, 784, 128), dense_of(rng, 128, 128), dense_of(rng, 128, 10)], [], apply


def small(rng, kernel, flat, width, stride, padding, pooled):
    """Two convolutions of 32 and 64 channels, pooled or not, and two dense layers."""

    def apply(params, state, x):
        *convs, hidden, head = params
        for p in convs:
            x = nn.relu(conv(p, x, stride, padding))
            x = pool(x) if pooled else x
        return dense(head, nn.relu(dense(hidden, x.reshape(len(x), -1)))), state

    convs = [conv_of(rng, 1, 32, kernel), conv_of(rng, 32, 64, kernel)]
    return [*convs, dense_of(rng, flat, width), dense_of(rng, width, 10)], [], apply


def resnet20(rng):
    def normed_of(a, b, k):
        return conv_of(rng, a, b, k, bias=False) | norm_of(b)

    def apply(params, state, x):
        moved = []

        def normed(p, x, stride=1):
            y = conv(p, x, stride, len(p["w"]) // 2)
            mean, var, n = y.mean((0, 1, 2)), y.var((0, 1, 2)), y.size // y.shape[-1]
            old_mean, old_var = state[len(moved)]
            moved.append((0.9 * old_mean + 0.1 * mean, 0.9 * old_var + 0.1 * var * n / (n - 1)))
            return (y - mean) * lax.rsqrt(var + 1e-5) * p["scale"] + p["shift"]

        x = nn.relu(normed(params["stem"], x))
        for p in params["blocks"]:
            stride = 2 if "shortcut" in p else 1
            y = normed(p["second"], nn.relu(normed(p["first"], x, stride)))
            x = nn.relu(y + (normed(p["shortcut"], x, stride) if "shortcut" in p else x))
        return dense(params["head"], x.mean((1, 2))), moved

    blocks, widths, a = [], [16], 16
    for b in (16, 32, 64):
        for _ in range(3):
            blocks.append({"first": normed_of(a, b, 3), "second": normed_of(b, b, 3)})
            if a != b:
                blocks[-1]["shortcut"] = normed_of(a, b, 1)
            widths += [b] * len(blocks[-1])
            a = b
    params = {"stem": normed_of(3, 16, 3), "blocks": blocks, "head": dense_of(rng, 64, 10)}
    return params, [(jnp.zeros(w), jnp.ones(w)) for w in widths], apply


def gpt(rng, vocabulary=256, length=128, width=256, heads=4, depth=4):
    def block():
        square = {name: dense_of(rng, width, width) for name in ("q", "k", "v", "out")}
        mlp = {"up": dense_of(rng, width, 4 * width), "down": dense_of(rng, 4 * width, width)}
        return square | mlp | {"norm1": norm_of(width), "norm2": norm_of(width)}

    def apply(params, state, tokens):
        x = params["token"][tokens] + params["place"]
        for p in params["blocks"]:
            y = layer_norm(p["norm1"], x)
            x = x + dense(p["out"], attention(*(dense(p[name], y) for name in "qkv"), heads, causal=True))
            y = nn.gelu(dense(p["up"], layer_norm(p["norm2"], x)), approximate=True)
            x = x + dense(p["down"], y)
        return dense(params["head"], layer_norm(params["norm"], x)), state

    tables = {"token": table_of(rng, vocabulary, width), "place": table_of(rng, length, width)}
    ends = {"norm": norm_of(width), "head": dense_of(rng, width, vocabulary, bias=False)}
    return {**tables, "blocks": [block() for _ in range(depth)], **ends}, [], apply


def bert(rng, vocabulary=256, length=128, width=256, heads=4, depth=4):
    def layer():
        attends = {"qkv": dense_of(rng, width, 3 * width), "out": dense_of(rng, width, width)}
        mlp = {"up": dense_of(rng, width, 4 * width), "down": dense_of(rng, 4 * width, width)}
        return attends | mlp | {"norm1": norm_of(width), "norm2": norm_of(width)}

    def apply(params, state, tokens):
        x = params["token"][tokens] + params["place"]
        for p in params["layers"]:
            q, k, v = jnp.split(dense(p["qkv"], x), 3, axis=-1)
            x = layer_norm(p["norm1"], x + dense(p["out"], attention(q, k, v, heads, causal=False)))
            y = nn.gelu(dense(p["up"], x), approximate=False)
            x = layer_norm(p["norm2"], x + dense(p["down"], y))
        return dense(params["head"], x), state

    tables = {"token": table_of(rng, vocabulary, width), "place": table_of(rng, length, width)}
    return {**tables, "layers": [layer() for _ in range(depth)], "head": dense_of(rng, width, vocabulary)}, [], apply


def lstm(rng, vocabulary=256, width=256):
    def layer():
        """As PyTorch's: two biases, gates in the order i, f, g, o."""
        names = {"in": (width, 4 * width), "hidden": (width, 4 * width), "b_in": (4 * width,), "b_hidden": (4 * width,)}
        return {name: drawn(rng, width, *shape) for name, shape in names.items()}

    def run(p, x):
        """x (T, B, I) -> (T, B, H)."""

        def step(states, inputs):
            h, c = states
            i, f, g, o = jnp.split(inputs + h @ p["hidden"], 4, axis=1)
            c = nn.sigmoid(f) * c + nn.sigmoid(i) * jnp.tanh(g)
            h = nn.sigmoid(o) * jnp.tanh(c)
            return (h, c), h

        zeros = jnp.zeros((x.shape[1], width))
        return lax.scan(step, (zeros, zeros), x @ p["in"] + (p["b_in"] + p["b_hidden"]))[1]

    def apply(params, state, tokens):
        x = params["token"][tokens.T]
        for p in params["layers"]:
            x = run(p, x)
        return dense(params["head"], x.swapaxes(0, 1)), state

    layers = [layer(), layer()]
    return (
        {"token": table_of(rng, vocabulary, width), "layers": layers, "head": dense_of(rng, width, vocabulary)},
        [],
        apply,
    )


#: work -> function of a random generator
NETWORKS = {
    "mlp": mlp,
    "cnn": functools.partial(small, kernel=3, flat=2304, width=128, stride=2, padding=0, pooled=False),
    "lenet": functools.partial(small, kernel=5, flat=3136, width=512, stride=1, padding=2, pooled=True),
    "resnet20": resnet20,
    "gpt": gpt,
    "bert": bert,
    "lstm": lstm,
}
