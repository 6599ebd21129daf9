"""RNN, GRU and LSTM: one step of one direction at a time."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from ...ops import elementwise as e
from ...ops import shape
from ...ops.linalg import linear
from ...tensor import Tensor
from ..registry import handler
from ..values import array, made
from . import activation

_ACTIVATIONS: dict[str, tuple[Callable, tuple[str, ...]]] = {
    "relu": (e.relu, ()), "tanh": (e.tanh, ()), "sigmoid": (e.sigmoid, ()), "softplus": (e.softplus, ()),
    "softsign": (activation.softsign, ()), "elu": (activation.elu, ("alpha",)),
    "leakyrelu": (activation.leaky_relu, ("alpha",)), "thresholdedrelu": (activation.thresholded_relu, ("alpha",)),
    "hardsigmoid": (activation.hard_sigmoid, ("alpha", "beta")),
    "affine": (lambda x, alpha=1.0, beta=0.0: x * alpha + beta, ("alpha", "beta")),
    "scaledtanh": (lambda x, alpha=1.0, beta=1.0: e.tanh(x * beta) * alpha, ("alpha", "beta")),
}  # fmt: skip


def _functions(names: list[str], alphas: list[float], betas: list[float]) -> list[Callable]:
    """Activations by name; each that has an alpha or a beta takes the next one that is given."""
    spare = {"alpha": iter(alphas), "beta": iter(betas)}
    out = []
    for name in names:
        if name.lower() not in _ACTIVATIONS:
            raise NotImplementedError(f"an RNN with the activation {name!r}; there are {', '.join(_ACTIVATIONS)}")
        fn, wants = _ACTIVATIONS[name.lower()]
        given = {w: v for w in wants for v in [next(spare[w], None)] if v is not None}
        out.append(lambda x, fn=fn, given=given: fn(x, **given))
    return out


class Direction:
    """The parameters of one direction, and what its cell computes."""

    def __init__(
        self, w: Tensor, r: Tensor, b: Tensor | None, p: Tensor | None, fns: list[Callable], options: dict[str, Any]
    ) -> None:
        self.w, self.r, self.p, self.fns, self.options = w, r, p, fns, options
        gates = r.shape[0]
        self.wb: Tensor | None = None if b is None else b[:gates]
        self.rb: Tensor | None = None if b is None else b[gates:]
        self.hidden = r.shape[1]

    def cut(self, x: Tensor, i: int) -> Tensor:
        """Gate i of all gates side by side."""
        return x[..., i * self.hidden : (i + 1) * self.hidden]

    def use(self, i: int, x: Tensor) -> Tensor:
        """Activation i, its input clipped where the node says so."""
        bound = self.options["clip"]
        return self.fns[i](x if bound is None else e.clip(x, -bound, bound))

    def rnn(self, seen: Tensor, state: tuple) -> tuple:
        return (self.use(0, seen + linear(state[0], self.r, self.rb)),)

    def gru(self, seen: Tensor, state: tuple) -> tuple:
        """Gates z, r, h (Cho et al. 2014); linear_before_reset is cuDNN's form."""
        h, n = state[0], self.hidden
        both = linear(h, self.r[: 2 * n], None if self.rb is None else self.rb[: 2 * n])
        z = self.use(0, self.cut(seen, 0) + self.cut(both, 0))
        r = self.use(0, self.cut(seen, 1) + self.cut(both, 1))
        weight, bias = self.r[2 * n :], None if self.rb is None else self.rb[2 * n :]
        recalled = r * linear(h, weight, bias) if self.options["reset_last"] else linear(r * h, weight, bias)
        new = self.use(1, self.cut(seen, 2) + recalled)
        return ((1.0 - z) * new + z * h,)

    def lstm(self, seen: Tensor, state: tuple) -> tuple:
        """Gates i, o, f, c; with peepholes i, o, f also see the cell (Gers and Schmidhuber 2000)."""
        h, c = state
        gates = seen + linear(h, self.r, self.rb)
        i, o, f, g = (self.cut(gates, k) for k in range(4))
        if self.p is not None:
            i, f = i + self.cut(self.p, 0) * c, f + self.cut(self.p, 2) * c
        i = self.use(0, i)
        f = 1.0 - i if self.options["input_forget"] else self.use(0, f)
        c = f * c + i * self.use(1, g)
        o = self.use(0, o if self.p is None else o + self.cut(self.p, 1) * c)
        return o * self.fns[2](c), c

    def run(self, cell: str, x: Tensor, state: tuple, lengths: np.ndarray | None, back: bool) -> tuple[Tensor, tuple]:
        """x (T, B, I) -> (T, B, H) and the last state. A sample is left alone beyond its length, and gives 0 there."""
        outputs: list[Any] = [None] * x.shape[0]
        seen = linear(x, self.w, self.wb)
        for t in reversed(range(x.shape[0])) if back else range(x.shape[0]):
            new = getattr(self, cell)(seen[t], state)
            if lengths is None:
                outputs[t] = new[0]
            else:
                on = made((t < lengths)[:, None], x)
                new = tuple(e.where(on, n, s) for n, s in zip(new, state, strict=True))
                outputs[t] = e.where(on, new[0], 0.0)
            state = new
        return shape.stack(outputs), state


def _recur(
    cell: str, defaults: list[str], x: Tensor, w: Tensor, r: Tensor, b: Tensor | None, lengths: Tensor | None,
    states: tuple, p: Tensor | None, *, activations: list[str] | None, activation_alpha: list[float] | None,
    activation_beta: list[float] | None, direction: str, layout: int, **options: Any,
) -> tuple:  # fmt: skip
    """All directions: Y (T, directions, B, H) and the last states; layout 1 has the batch first."""
    if layout:
        x = shape.swapaxes(x, 0, 1)
        states = tuple(None if s is None else shape.swapaxes(s, 0, 1) for s in states)
    ways = {"forward": [False], "reverse": [True], "bidirectional": [False, True]}[direction]
    names = activations or defaults * len(ways)
    fns = _functions(names, activation_alpha or [], activation_beta or [])
    each = len(fns) // len(ways)
    start = made(np.zeros((x.shape[1], r.shape[-1]), x.dtype), x)
    ys, lasts = [], []
    for d, back in enumerate(ways):
        bias, peepholes = (None if t is None else t[d] for t in (b, p))
        way = Direction(w[d], r[d], bias, peepholes, fns[d * each : (d + 1) * each], options)
        state = tuple(start if s is None else s[d] for s in states)
        y, last = way.run(cell, x, state, None if lengths is None else array(lengths), back)
        ys.append(y)
        lasts.append(last)
    out = shape.stack(ys, 1)
    ends = tuple(shape.stack([last[k] for last in lasts]) for k in range(len(states)))
    if layout:
        return shape.transpose(out, (2, 0, 1, 3)), *(shape.swapaxes(t, 0, 1) for t in ends)
    return out, *ends


@handler("RNN", since=7, fixed=(4,))
def rnn(
    x: Tensor, w: Tensor, r: Tensor, b: Tensor | None = None, lengths: Tensor | None = None, h: Tensor | None = None, *,
    activation_alpha: list[float] | None = None, activation_beta: list[float] | None = None,
    activations: list[str] | None = None, clip: float | None = None, direction: str = "forward",
    hidden_size: int | None = None, layout: int = 0,
) -> tuple:  # fmt: skip
    return _recur("rnn", ["Tanh"], x, w, r, b, lengths, (h,), None, activations=activations,
                  activation_alpha=activation_alpha, activation_beta=activation_beta, direction=direction,
                  layout=layout, clip=clip)  # fmt: skip


@handler("GRU", since=7, fixed=(4,))
def gru(
    x: Tensor, w: Tensor, r: Tensor, b: Tensor | None = None, lengths: Tensor | None = None, h: Tensor | None = None, *,
    activation_alpha: list[float] | None = None, activation_beta: list[float] | None = None,
    activations: list[str] | None = None, clip: float | None = None, direction: str = "forward",
    hidden_size: int | None = None, layout: int = 0, linear_before_reset: int = 0,
) -> tuple:  # fmt: skip
    return _recur("gru", ["Sigmoid", "Tanh"], x, w, r, b, lengths, (h,), None, activations=activations,
                  activation_alpha=activation_alpha, activation_beta=activation_beta, direction=direction,
                  layout=layout, clip=clip, reset_last=bool(linear_before_reset))  # fmt: skip


@handler("LSTM", since=7, fixed=(4,))
def lstm(
    x: Tensor, w: Tensor, r: Tensor, b: Tensor | None = None, lengths: Tensor | None = None, h: Tensor | None = None,
    c: Tensor | None = None, p: Tensor | None = None, *, activation_alpha: list[float] | None = None,
    activation_beta: list[float] | None = None, activations: list[str] | None = None, clip: float | None = None,
    direction: str = "forward", hidden_size: int | None = None, input_forget: int = 0, layout: int = 0,
) -> tuple:  # fmt: skip
    return _recur("lstm", ["Sigmoid", "Tanh", "Tanh"], x, w, r, b, lengths, (h, c), p, activations=activations,
                  activation_alpha=activation_alpha, activation_beta=activation_beta, direction=direction,
                  layout=layout, clip=clip, input_forget=bool(input_forget))  # fmt: skip
