"""What optimizers.py updates, the same for each library: parameters, gradients, options."""

import numpy as np

SHAPES = [(432, 432), (432,)] * 75  # 14.03 M parameters in 150 tensors
OPTIONS = {
    "sgd": ("SGD", {"lr": 0.01}),
    "momentum": ("SGD", {"lr": 0.01, "momentum": 0.9}),
    "adam": ("Adam", {"lr": 1e-3}),
    "adamw": ("AdamW", {"lr": 1e-3}),
}


def arrays():
    """(parameters, gradients) of float32."""
    rng = np.random.RandomState(0)
    draw = lambda: [rng.standard_normal(shape).astype(np.float32) for shape in SHAPES]
    return draw(), draw()
