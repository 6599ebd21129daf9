"""Recurrent layers over a whole sequence, one direction: Elman's, LSTM and GRU.

Weights and the order of their gates are PyTorch's (and cuDNN's and MXNet's): LSTM (i, f, g, o), GRU (r, z, n).
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ..dtypes import wide
from ..tensor import Tensor, raw
from .elementwise import relu, sigmoid, tanh, where
from .fused import fused
from .linalg import linear
from .shape import split, stack

GATES = {"rnn_tanh": 1, "rnn_relu": 1, "lstm": 4, "gru": 3}  # a weight has this many times hidden_size rows


def _elman(kind: str, x: Tensor, h: Tensor, c: Any, w_hh: Tensor, b_hh: Any, w_hr: Any) -> tuple[Tensor, Any]:
    activation = tanh if kind == "rnn_tanh" else relu
    return activation(x + linear(h, w_hh, b_hh)), None


def _lstm(kind: str, x: Tensor, h: Tensor, c: Tensor, w_hh: Tensor, b_hh: Any, w_hr: Any) -> tuple[Tensor, Any]:
    i, f, g, o = split(x + linear(h, w_hh, b_hh), 4, axis=1)
    c = sigmoid(f) * c + sigmoid(i) * tanh(g)
    h = sigmoid(o) * tanh(c)
    return (h if w_hr is None else linear(h, w_hr)), c


def _gru(kind: str, x: Tensor, h: Tensor, c: Any, w_hh: Tensor, b_hh: Any, w_hr: Any) -> tuple[Tensor, Any]:
    (xr, xz, xn), (hr, hz, hn) = split(x, 3, axis=1), split(linear(h, w_hh, b_hh), 3, axis=1)
    r, z = sigmoid(xr + hr), sigmoid(xz + hz)
    n = tanh(xn + r * hn)
    return n + z * (h - n), None


_STEPS = {"rnn_tanh": _elman, "rnn_relu": _elman, "lstm": _lstm, "gru": _gru}


def _composed(
    x: Tensor,
    h: Tensor,
    c: Any,
    w_ih: Tensor,
    w_hh: Tensor,
    b_ih: Any,
    b_hh: Any,
    w_hr: Any,
    lengths: Any,
    *,
    kind: str,
    reverse: bool,
) -> tuple:
    """x (T, B, I); the gates' part that comes from the inputs is one product for all steps."""
    step, inputs = _STEPS[kind], linear(x, w_ih, b_ih)
    outs: dict[int, Tensor] = {}
    for t in reversed(range(len(x))) if reverse else range(len(x)):
        out, cell = step(kind, inputs[t], h, c, w_hh, b_hh, w_hr)
        outs[t] = out
        if lengths is not None:
            inside = (t < raw(lengths))[:, None]
            outs[t], out = where(inside, out, 0.0), where(inside, out, h)
            cell = cell if c is None else where(inside, cell, c)
        h, c = out, cell
    sequence = stack([outs[t] for t in range(len(x))])
    return (sequence, h) if c is None else (sequence, h, c)


_recurrent = fused("rnn", _composed)


def rnn(
    x: Tensor,
    h: Tensor,
    w_ih: Tensor,
    w_hh: Tensor,
    b_ih: Tensor | None = None,
    b_hh: Tensor | None = None,
    nonlinearity: str = "tanh",
    lengths: Any = None,
    reverse: bool = False,
) -> tuple[Tensor, Tensor]:
    """h_t = tanh(w_ih x_t + b_ih + w_hh h_(t-1) + b_hh) (Elman 1990), or relu of it.

    x        (T, B, I): T steps of B samples, T >= 1
    h        (B, H), the state before the first step
    w_ih, w_hh, b_ih, b_hh   (H, I), (H, H), (H,), (H,)
    lengths  (B,) integers 0 .. T: how many steps of each sample count; None: all. Past its end a sample's outputs are
             0 and its state stays as it is; in reverse it begins at its own last step
    reverse  go from the last step to the first; outputs stay at their steps

    Returns the outputs (T, B, H) and the last state (B, H). Raises ValueError for shapes that do not fit.
    """
    if nonlinearity not in ("tanh", "relu"):
        raise ValueError(f"rnn: nonlinearity {nonlinearity!r} is unknown; use 'tanh' or 'relu'")
    return _run(f"rnn_{nonlinearity}", x, h, None, w_ih, w_hh, b_ih, b_hh, None, lengths, reverse)


def lstm(
    x: Tensor,
    h: Tensor,
    c: Tensor,
    w_ih: Tensor,
    w_hh: Tensor,
    b_ih: Tensor | None = None,
    b_hh: Tensor | None = None,
    w_hr: Tensor | None = None,
    lengths: Any = None,
    reverse: bool = False,
) -> tuple[Tensor, Tensor, Tensor]:
    """Long short-term memory (Hochreiter and Schmidhuber 1997, with the forget gate of Gers et al. 2000).

    (i, f, g, o) = w_ih x_t + b_ih + w_hh h_(t-1) + b_hh;  c_t = sigmoid(f) c_(t-1) + sigmoid(i) tanh(g);
    h_t = sigmoid(o) tanh(c_t), times w_hr (P, H) where there is one (Sak et al. 2014).

    x (T, B, I), h (B, H or P), c (B, H), w_ih (4H, I), w_hh (4H, H or P), b_ih and b_hh (4H,); lengths and reverse as
    in `rnn`. Returns the outputs (T, B, H or P), the last h and the last c.
    """
    return _run("lstm", x, h, c, w_ih, w_hh, b_ih, b_hh, w_hr, lengths, reverse)


def gru(
    x: Tensor,
    h: Tensor,
    w_ih: Tensor,
    w_hh: Tensor,
    b_ih: Tensor | None = None,
    b_hh: Tensor | None = None,
    lengths: Any = None,
    reverse: bool = False,
) -> tuple[Tensor, Tensor]:
    """Gated recurrent unit (Cho et al. 2014), with the reset gate after the product, as cuDNN has it.

    r = sigmoid(w_ir x + b_ir + w_hr h + b_hr), z likewise, n = tanh(w_in x + b_in + r (w_hn h + b_hn));
    h_t = (1 - z) n + z h_(t-1). The weights stack (r, z, n): w_ih (3H, I), w_hh (3H, H), b_ih and b_hh (3H,).

    x (T, B, I), h (B, H); lengths, reverse and results as in `rnn`.
    """
    return _run("gru", x, h, None, w_ih, w_hh, b_ih, b_hh, None, lengths, reverse)


def _run(kind: str, x: Tensor, *inputs: Any) -> Any:
    *tensors, lengths, reverse = inputs
    _check(kind, x, *tensors)
    counts = _lengths(kind, x, lengths)
    accumulator = wide(x.dtype)
    if accumulator is None:
        return _recurrent(x, *tensors, counts, kind=kind, reverse=reverse)
    wider = [t if t is None else t.astype(accumulator) for t in (x, *tensors)]
    return tuple(out.astype(x.dtype) for out in _recurrent(*wider, counts, kind=kind, reverse=reverse))


def _check(kind: str, x: Tensor, h: Tensor, c: Any, w_ih: Any, w_hh: Any, b_ih: Any, b_hh: Any, w_hr: Any) -> None:
    name = kind.partition("_")[0]
    if x.ndim != 3 or not x.shape[0]:
        raise ValueError(f"{name}: the input is (T, B, I) with at least one step; got {x.shape}")
    batch, rows = x.shape[1], w_ih.shape[0]
    hidden = rows // GATES[kind]
    out = hidden if w_hr is None else w_hr.shape[0]
    wanted = {
        "h": (h, (batch, out)),
        "c": (c, (batch, hidden)),
        "w_ih": (w_ih, (GATES[kind] * hidden, x.shape[2])),
        "w_hh": (w_hh, (rows, out)),
        "b_ih": (b_ih, (rows,)),
        "b_hh": (b_hh, (rows,)),
        "w_hr": (w_hr, (out, hidden)),
    }
    for part, (value, shape) in wanted.items():
        if value is not None and value.shape != shape:
            raise ValueError(f"{name}: for the input {x.shape} {part} must have the shape {shape}; got {value.shape}")


def _lengths(kind: str, x: Tensor, lengths: Any) -> Any:
    """The lengths as an array of x's backend; None where they cut nothing off."""
    if lengths is None or x.device == "meta":
        return None
    counts = raw(lengths) if isinstance(lengths, Tensor) else np.asarray(lengths)
    steps, batch = x.shape[:2]
    if counts.shape != (batch,) or counts.dtype.kind not in "iu":
        raise ValueError(f"{kind}: lengths are {batch} integers, one a sample; got {counts.dtype} {counts.shape}")
    if batch and (int(counts.min()) < 0 or int(counts.max()) > steps):
        raise ValueError(f"{kind}: lengths lie in 0 .. {steps}; got {int(counts.min())} .. {int(counts.max())}")
    if not batch or int(counts.min()) == steps:
        return None
    return x.backend.asarray(counts).copy()
