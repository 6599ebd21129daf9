"""Each optimiser's step on one float64 array, transcribed from its paper's (and PyTorch's or MXNet's) formulas."""

import numpy as np


def sgd(p, g, state, t, lr=0.01, momentum=0.0, dampening=0.0, weight_decay=0.0, nesterov=False):
    g = g + weight_decay * p
    if momentum:
        state["v"] = g if t == 1 else momentum * state["v"] + (1 - dampening) * g
        g = g + momentum * state["v"] if nesterov else state["v"]
    return p - lr * g


def nag(p, g, state, t, lr=0.01, momentum=0.9, weight_decay=0.0):
    """With the rate inside the buffer, as in Sutskever et al. 2013."""
    g = g + weight_decay * p
    state["v"] = momentum * state.get("v", 0.0) + lr * g
    return p - (momentum * state["v"] + lr * g)


def lars(p, g, state, t, lr=0.01, momentum=0.9, weight_decay=0.0, trust_coefficient=0.001, eps=0.0):
    """As MXNet has it, with a rate that does not change."""
    weight, gradient = np.sqrt((p**2).sum()), np.sqrt((g**2).sum())
    trust = 1.0
    if p.ndim > 1 and weight > 0 and gradient > 0 and trust_coefficient:
        trust = trust_coefficient * weight / (gradient + weight_decay * weight + eps)
    state["v"] = momentum * state.get("v", 0.0) + lr * trust * (g + weight_decay * p)
    return p - state["v"]


def _moments(g, state, betas):
    state["m"] = betas[0] * state.get("m", 0.0) + (1 - betas[0]) * g
    state["v"] = betas[1] * state.get("v", 0.0) + (1 - betas[1]) * g**2
    return state["m"], state["v"]


def _adam(p, g, state, t, lr, betas, eps, amsgrad):
    m, v = _moments(g, state, betas)
    if amsgrad:
        v = state["top"] = np.maximum(state.get("top", 0.0), v)
    return p - lr * m / (1 - betas[0] ** t) / (np.sqrt(v / (1 - betas[1] ** t)) + eps)


def adam(p, g, state, t, lr=1e-3, betas=(0.9, 0.999), eps=1e-8, weight_decay=0.0, amsgrad=False):
    return _adam(p, g + weight_decay * p, state, t, lr, betas, eps, amsgrad)


def adamw(p, g, state, t, lr=1e-3, betas=(0.9, 0.999), eps=1e-8, weight_decay=1e-2, amsgrad=False):
    return _adam(p - lr * weight_decay * p, g, state, t, lr, betas, eps, amsgrad)


def adamax(p, g, state, t, lr=2e-3, betas=(0.9, 0.999), eps=1e-8, weight_decay=0.0):
    g = g + weight_decay * p
    m, _ = _moments(g, state, betas)
    state["u"] = np.maximum(betas[1] * state.get("u", 0.0), np.abs(g) + eps)
    return p - lr / (1 - betas[0] ** t) * m / state["u"]


def nadam(
    p, g, state, t, lr=2e-3, betas=(0.9, 0.999), eps=1e-8, weight_decay=0.0, momentum_decay=4e-3, decoupled=False
):
    p, g = (p - lr * weight_decay * p, g) if decoupled else (p, g + weight_decay * p)
    mu, following = (betas[0] * (1 - 0.5 * 0.96 ** (s * momentum_decay)) for s in (t, t + 1))
    state["product"] = state.get("product", 1.0) * mu
    m, v = _moments(g, state, betas)
    blended = (1 - mu) * g / (1 - state["product"]) + following * m / (1 - state["product"] * following)
    return p - lr * blended / (np.sqrt(v / (1 - betas[1] ** t)) + eps)


def radam(p, g, state, t, lr=1e-3, betas=(0.9, 0.999), eps=1e-8, weight_decay=0.0, decoupled=False):
    p, g = (p - lr * weight_decay * p, g) if decoupled else (p, g + weight_decay * p)
    m, v = _moments(g, state, betas)
    n = 2 / (1 - betas[1]) - 1
    n_t = n - 2 * t * betas[1] ** t / (1 - betas[1] ** t)
    change = m / (1 - betas[0] ** t)
    if n_t > 5:
        change *= np.sqrt((n_t - 4) * (n_t - 2) * n / ((n - 4) * (n - 2) * n_t))
        change *= np.sqrt(1 - betas[1] ** t) / (np.sqrt(v) + eps)
    return p - lr * change


def lamb(
    p,
    g,
    state,
    t,
    lr=1e-3,
    betas=(0.9, 0.999),
    eps=1e-6,
    weight_decay=0.0,
    lower_bound=0.0,
    upper_bound=np.inf,
    bias_correction=True,
):
    m, v = _moments(g, state, betas)
    if bias_correction:
        m, v = m / (1 - betas[0] ** t), v / (1 - betas[1] ** t)
    d = m / (np.sqrt(v) + eps) + weight_decay * p
    weight = np.clip(np.sqrt((p**2).sum()), lower_bound, upper_bound)
    length = np.sqrt((d**2).sum())
    return p - lr * (weight / length if weight and length else 1.0) * d


def rmsprop(p, g, state, t, lr=0.01, alpha=0.99, eps=1e-8, weight_decay=0.0, momentum=0.0, centered=False):
    g = g + weight_decay * p
    state["v"] = alpha * state.get("v", 0.0) + (1 - alpha) * g**2
    state["mean"] = alpha * state.get("mean", 0.0) + (1 - alpha) * g
    spread = state["v"] - state["mean"] ** 2 if centered else state["v"]
    change = g / (np.sqrt(spread) + eps)
    if momentum:
        change = state["b"] = momentum * state.get("b", 0.0) + change
    return p - lr * change


def adagrad(p, g, state, t, lr=0.01, lr_decay=0.0, weight_decay=0.0, initial_accumulator_value=0.0, eps=1e-10):
    g = g + weight_decay * p
    state["s"] = state.get("s", initial_accumulator_value) + g**2
    return p - lr / (1 + (t - 1) * lr_decay) * g / (np.sqrt(state["s"]) + eps)


def adadelta(p, g, state, t, lr=1.0, rho=0.9, eps=1e-6, weight_decay=0.0):
    g = g + weight_decay * p
    state["v"] = rho * state.get("v", 0.0) + (1 - rho) * g**2
    d = np.sqrt(state.get("u", 0.0) + eps) / np.sqrt(state["v"] + eps) * g
    state["u"] = rho * state.get("u", 0.0) + (1 - rho) * d**2
    return p - lr * d


def ftrl(p, g, state, t, lr=0.1, l1=0.01, beta=1.0, weight_decay=0.0):
    """McMahan et al. 2013, algorithm 1."""
    n = state.get("n", np.zeros_like(p))
    sigma = (np.sqrt(n + g**2) - np.sqrt(n)) / lr
    z = state["z"] = state.get("z", 0.0) + g - sigma * p
    n = state["n"] = n + g**2
    return np.where(np.abs(z) <= l1, 0.0, -(z - np.sign(z) * l1) / ((beta + np.sqrt(n)) / lr + weight_decay))


def lion(p, g, state, t, lr=1e-4, betas=(0.9, 0.99), weight_decay=0.0):
    m = state.get("m", 0.0)
    state["m"] = betas[1] * m + (1 - betas[1]) * g
    return p - lr * (np.sign(betas[0] * m + (1 - betas[0]) * g) + weight_decay * p)


def rprop(p, g, state, t, lr=0.01, etas=(0.5, 1.2), step_sizes=(1e-6, 50.0)):
    sign = np.sign(g * state.get("before", np.zeros_like(p)))
    size = state.get("size", np.full_like(p, lr)) * np.select([sign > 0, sign < 0], [etas[1], etas[0]], 1.0)
    state["size"] = np.clip(size, *step_sizes)
    state["before"] = np.where(sign < 0, 0.0, g)
    return p - np.sign(state["before"]) * state["size"]


def adafactor(p, g, state, t, lr=0.01, beta2_decay=-0.8, eps=(None, 1e-3), d=1.0, weight_decay=0.0):
    if not p.size:
        return p
    least = 2.0**-52 if eps[0] is None else eps[0]
    rate = max(eps[1], np.sqrt((p**2).mean())) * min(lr, 1 / np.sqrt(t))
    beta = 1 - t**beta2_decay
    if p.ndim > 1:
        r = state["r"] = beta * state.get("r", 0.0) + (1 - beta) * (g**2).mean(-1, keepdims=True)
        c = state["c"] = beta * state.get("c", 0.0) + (1 - beta) * (g**2).mean(-2, keepdims=True)
        v = r * c / np.maximum(r.mean(-2, keepdims=True), least)
    else:
        v = state["v"] = beta * state.get("v", 0.0) + (1 - beta) * g**2
    u = g / np.sqrt(np.maximum(v, least**2))
    return p * (1 - lr * weight_decay) - rate * u / max(1.0, np.sqrt((u**2).mean()) / d)


def muon(
    p,
    g,
    state,
    t,
    lr=1e-3,
    weight_decay=0.1,
    momentum=0.95,
    nesterov=True,
    ns_steps=5,
    adjust_lr_fn=None,
    betas=(0.9, 0.999),
):
    if p.ndim != 2:
        return adamw(p, g, state, t, lr, betas, 1e-8, weight_decay)
    if not p.size:
        return p
    m = state["m"] = momentum * state.get("m", 0.0) + (1 - momentum) * g
    x = (1 - momentum) * g + momentum * m if nesterov else m
    u, s, v = np.linalg.svd(x / max(np.linalg.norm(x), 1e-7), full_matrices=False)
    for _ in range(ns_steps):  # the iteration acts on the singular values alone
        s = 3.4445 * s - 4.7750 * s**3 + 2.0315 * s**5
    rows, columns = p.shape
    size = 0.2 * np.sqrt(max(p.shape)) if adjust_lr_fn == "match_rms_adamw" else np.sqrt(max(1, rows / columns))
    return p * (1 - lr * weight_decay) - lr * size * (u * s) @ v
