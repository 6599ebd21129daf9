"""JAX's side of training_step.py: a whole step compiled as one function, with the arrays that it updates donated.

Networks are functions of their parameters (jax_networks.py). Images are (N, H, W, C), as XLA's convolutions on the CPU
want them.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from jax_networks import NETWORKS
from networks import IMAGES, SEQUENCES
from serve import serve


def cross_entropy(logits, y):
    """The mean over all samples and places."""
    right = jnp.take_along_axis(logits, y[..., None], axis=-1)[..., 0]
    return (jax.nn.logsumexp(logits, axis=-1) - right).mean()


def adam(lr, decay=0.0):
    """(slots of a parameter, rule): Adam, or with a decay AdamW."""

    def update(p, g, slots, t):
        m, v = 0.9 * slots[0] + 0.1 * g, 0.999 * slots[1] + 0.001 * g * g
        size = jnp.sqrt(v / (1 - 0.999**t)) + 1e-8
        return p * (1 - lr * decay) - lr / (1 - 0.9**t) * m / size, (m, v)

    return 2, update


def momentum(lr):
    """(slots of a parameter, rule): gradient descent with a momentum of 0.9."""

    def update(p, g, slots, t):
        m = 0.9 * slots[0] + g
        return p - lr * m, (m,)

    return 1, update


def compiled(apply, update):
    """step((parameters, state, slots, t), x, y) -> (the same after it, loss); parameters and slots are flat lists."""

    @functools.partial(jax.jit, donate_argnums=0)
    def step(training, x, y):
        params, state, slots, t = training

        def loss_of(params):
            logits, moved = apply(params, state, x)
            return cross_entropy(logits, y), moved

        (loss, state), grads = jax.value_and_grad(loss_of, has_aux=True)(params)
        leaves, tree = jax.tree.flatten(params)
        after = [update(*each, t) for each in zip(leaves, jax.tree.leaves(grads), slots, strict=True)]
        params, slots = tree.unflatten([p for p, _ in after]), [s for _, s in after]
        return (params, state, slots, t + 1), loss

    return step


def batches(work, rng):
    """Four of them, on the device."""
    if work in SEQUENCES:
        draw = lambda: rng.integers(0, 256, SEQUENCES[work], np.int32)
        return [(jnp.asarray(draw()), jnp.asarray(draw())) for _ in range(4)]
    batch, *sample = IMAGES[work]
    shape = (batch, *sample[1:], sample[0]) if len(sample) == 3 else (batch, *sample)
    data = [(rng.random(shape, np.float32), rng.integers(0, 10, batch, np.int32)) for _ in range(4)]
    return [(jnp.asarray(x), jnp.asarray(y)) for x, y in data]


def make(work):
    if work.startswith("tape"):
        raise NotImplementedError("compiled, it leaves no operations to time")
    params, state, apply = NETWORKS[work](np.random.default_rng(0))
    data = batches(work, np.random.default_rng(100))
    if work in SEQUENCES:
        count, update = adam(3e-4, decay=0.01)
    else:
        count, update = momentum(0.1) if work == "resnet20" else adam(1e-3)
    leaves = jax.tree.leaves(params)
    training = (params, state, [tuple(jnp.zeros_like(p) for _ in range(count)) for p in leaves], jnp.ones(()))
    train, done = compiled(apply, update), 0

    def step():
        nonlocal training, done
        x, y = data[done % 4]
        done += 1
        training, loss = train(training, x, y)
        return float(loss)

    return step, {"parameters": sum(p.size for p in leaves)}


if __name__ == "__main__":
    serve("jax", jax.__version__, make)
