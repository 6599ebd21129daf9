"""Permutations and draws that are a function of (seed, purpose, epoch), the same on every machine and NumPy version."""

import operator

import numpy as np

# What a draw is for. The number goes into the counter's high word, so that the same seed given to a split
# and to a sampler never makes the two orders depend on each other.
SAMPLER, SPLIT = 1, 2


def permutation(n: int, seed: int, purpose: int, epoch: int = 0) -> np.ndarray:
    """Indices 0..n-1 in an order drawn from Philox4x64-10 keyed (seed, epoch); int64, shape (n,).

    The order is the sorting order of n raw 64-bit words. NumPy promises the raw stream of a bit generator for
    ever, but not the algorithm of `Generator.permutation`: ranks with different NumPy versions must agree.

    Raises ValueError unless seed and epoch are unsigned 64-bit integers.
    """
    return np.argsort(_words(n, seed, purpose, epoch), kind="stable").astype(np.int64, copy=False)


def unit(n: int, seed: int, purpose: int, epoch: int = 0) -> np.ndarray:
    """Uniform in [0, 1), float64 of 53 random bits, shape (n,), drawn as `permutation` draws."""
    return (_words(n, seed, purpose, epoch) >> np.uint64(11)) * 2.0**-53


def _words(n: int, seed: int, purpose: int, epoch: int) -> np.ndarray:
    seed, epoch = operator.index(seed), operator.index(epoch)
    if not (0 <= seed < 2**64 and 0 <= epoch < 2**64):
        raise ValueError(f"seed and epoch must not be negative or exceed 64 bits, got {seed=}, {epoch=}")
    philox = np.random.Philox(counter=[0, 0, 0, purpose], key=np.array([seed, epoch], np.uint64))
    return philox.random_raw(n)
