"""Parameters of awkward shapes, and gradients that differ at every step."""

import numpy as np
import pytest

import ringtrain as rt
from ringtrain import nn

SHAPES = [(13, 17), (), (5,), (0, 3), (1, 2, 3), (40,)]
STEPS = 50


def normal(shape, *seed):
    return np.random.default_rng([*seed]).standard_normal(shape)


def parameters(dtype=np.float64, shapes=SHAPES):
    return [nn.Parameter(rt.from_numpy(normal(s, i).astype(dtype))) for i, s in enumerate(shapes)]


def set_gradients(params, step):
    """Drawn in float64 and rounded to the parameter's dtype, so that every dtype sees about the same."""
    for i, p in enumerate(params):
        p.grad = normal(p.shape, 100 + step, i).astype(p.dtype)


def values(params):
    return [np.array(p.detach().numpy()) for p in params]


@pytest.fixture
def without_kernels(monkeypatch):
    """The composed forms over `xp`, on a backend that has no fused kernels."""
    from ringtrain.backend import get

    monkeypatch.setattr(get("cpu")[0], "kernel", lambda name: None, raising=False)
