"""Rotary positions: against complex numbers, and what they are for."""

import numpy as np
import pytest

import ringtrain as rt
from ringtrain import nn


def turned(x, places, base=10000.0, interleaved=False, width=None, scale=1.0):
    """Pairs as complex numbers, times exp(i angle)."""
    width = width or x.shape[-1]
    head, tail = x[..., :width], x[..., width:]
    a, b = (head[..., ::2], head[..., 1::2]) if interleaved else np.split(head, 2, -1)
    angles = places[..., None] * scale * base ** (-np.arange(0, width, 2) / width)
    z = (a + 1j * b) * np.exp(1j * angles)
    out = np.stack([z.real, z.imag], -1).reshape(head.shape) if interleaved else np.concatenate([z.real, z.imag], -1)
    return np.concatenate([out, tail], -1)


OPTIONS = [{}, {"interleaved": True}, {"rotary_dim": 4, "base": 500.0}, {"scale": 0.25}]


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_values(options):
    x = np.random.default_rng(0).standard_normal((2, 3, 5, 8))
    want = dict(options)
    want["width"] = want.pop("rotary_dim", None)
    for places in (None, np.arange(3, 8), np.arange(10).reshape(2, 1, 5)):
        got = nn.rotary_embedding(rt.from_numpy(x), places, **options)
        exact = turned(x, np.arange(5) if places is None else places, **want)
        np.testing.assert_allclose(got.numpy(), exact, atol=1e-12)


def test_scores_hang_on_distances_only():
    rng = np.random.default_rng(1)
    q, k = rng.standard_normal((1, 8)), rng.standard_normal((1, 8))
    at = lambda x, place: nn.rotary_embedding(rt.from_numpy(x), [place]).numpy()
    np.testing.assert_allclose(at(q, 7) @ at(k, 3).T, at(q, 104) @ at(k, 100).T, rtol=1e-10)
    assert abs(at(q, 7) @ at(k, 3).T - at(q, 7) @ at(k, 4).T) > 1e-3


def test_the_module_goes_on_from_an_offset():
    x = rt.from_numpy(np.random.default_rng(2).standard_normal((2, 9, 6)))
    layer = nn.RotaryEmbedding(6)
    whole = layer(x)
    np.testing.assert_array_equal(layer(x[:, 4:], offset=4).numpy(), whole[:, 4:].numpy())
    assert layer(rt.zeros((3, 4, 6), device="meta"), 2).shape == (3, 4, 6)
    assert nn.rotary_embedding(rt.zeros((3, 4, 6), dtype=np.float16)).dtype == np.float16


@pytest.mark.parametrize(("shape", "options", "message"), [
    ((4, 5), {}, r"an even rotary_dim up to D; got float32\[4, 5\], 5"),
    ((4, 6), {"rotary_dim": 8}, "up to D; got .*, 8"),
    ((4, 6), {"positions": [1, 2]}, r"positions \(..., 4\) for .*; got \(2,\)"),
])  # fmt: skip
def test_messages(shape, options, message):
    with pytest.raises(ValueError, match=message):
        nn.rotary_embedding(rt.zeros(shape), **options)
