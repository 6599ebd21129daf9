"""Each optimiser's step on one float64 array, transcribed from its paper's (and PyTorch's) formulas."""

import numpy as np


def sgd(p, g, state, t, lr=0.01, momentum=0.0, dampening=0.0, weight_decay=0.0, nesterov=False):
    g = g + weight_decay * p
    if momentum:
        state["v"] = g if t == 1 else momentum * state["v"] + (1 - dampening) * g
        g = g + momentum * state["v"] if nesterov else state["v"]
    return p - lr * g


def _adam(p, g, state, t, lr, betas, eps):
    state["m"] = betas[0] * state.get("m", 0.0) + (1 - betas[0]) * g
    state["v"] = betas[1] * state.get("v", 0.0) + (1 - betas[1]) * g**2
    corrected = state["m"] / (1 - betas[0] ** t), state["v"] / (1 - betas[1] ** t)
    return p - lr * corrected[0] / (np.sqrt(corrected[1]) + eps)


def adam(p, g, state, t, lr=1e-3, betas=(0.9, 0.999), eps=1e-8, weight_decay=0.0):
    return _adam(p, g + weight_decay * p, state, t, lr, betas, eps)


def adamw(p, g, state, t, lr=1e-3, betas=(0.9, 0.999), eps=1e-8, weight_decay=1e-2):
    return _adam(p - lr * weight_decay * p, g, state, t, lr, betas, eps)


def rmsprop(p, g, state, t, lr=0.01, alpha=0.99, eps=1e-8, weight_decay=0.0, momentum=0.0, centered=False):
    g = g + weight_decay * p
    state["v"] = alpha * state.get("v", 0.0) + (1 - alpha) * g**2
    state["mean"] = alpha * state.get("mean", 0.0) + (1 - alpha) * g
    spread = state["v"] - state["mean"] ** 2 if centered else state["v"]
    change = g / (np.sqrt(spread) + eps)
    if momentum:
        change = state["b"] = momentum * state.get("b", 0.0) + change
    return p - lr * change
