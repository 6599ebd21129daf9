"""Recurrent layers and cells, with PyTorch's arguments, names of weights and initial values.

Gluon's `rnn.RNN`, `rnn.LSTM` and `rnn.GRU` are these with hidden_size first, input_size=0 for None, layout="TNC" for
batch_first=False, and weights l0_i2h_weight for weight_ih_l0; its cells are RNNCell, LSTMCell and GRUCell here.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from .. import random
from ..ops import rnn as ops
from ..ops.create import zeros
from ..ops.shape import concatenate, expand_dims, squeeze, stack, swapaxes
from ..tensor import Tensor, describe
from .dropout import Dropout
from .init import Uniform
from .module import LazyParameter, Module, parameter


class _Weights(Module):
    """Weights of one step, or of one direction of one layer, under names that end in `suffix`."""

    kind = ""
    _name: str
    input_size: int | None
    hidden_size: int
    bias: bool

    def _make(self, suffix: str, inputs: int | None, state: int, dtype: Any, projection: int = 0) -> None:
        """The weights for this many inputs (None: known at the first call) and state elements that are fed back."""
        rows = ops.GATES[self.kind] * self.hidden_size
        shapes: dict[str, Any] = {"weight_ih": inputs and (rows, inputs), "weight_hh": (rows, state)}
        if self.bias:
            shapes |= {"bias_ih": (rows,), "bias_hh": (rows,)}
        if projection:
            shapes["weight_hr"] = (projection, self.hidden_size)
        for name, shape in shapes.items():
            value: Any = LazyParameter(f"{type(self).__name__}'s input size comes from its first input")
            setattr(self, name + suffix, self._drawn(shape, name + suffix, dtype) if shape else value)

    def _drawn(self, shape: tuple[int, ...], name: str, dtype: Any) -> Any:
        return parameter(Uniform(1.0 / math.sqrt(self.hidden_size)), shape, f"{self._name}.{name}", dtype)

    def _of(self, suffix: str) -> tuple[Any, Any, Any, Any]:
        """w_ih, w_hh, b_ih, b_hh."""
        w_ih, w_hh = getattr(self, "weight_ih" + suffix), getattr(self, "weight_hh" + suffix)
        return w_ih, w_hh, getattr(self, "bias_ih" + suffix, None), getattr(self, "bias_hh" + suffix, None)

    def _take(self, x: Tensor, dtype: Any, suffixes: tuple[str, ...]) -> None:
        """Checks the input's features; the first input decides how many there are."""
        if self.input_size is None:
            self.input_size = x.shape[-1]
            rows = ops.GATES[self.kind] * self.hidden_size
            for suffix in suffixes:
                name = "weight_ih" + suffix
                setattr(self, name, self._drawn((rows, self.input_size), name, dtype))
        if x.shape[-1] != self.input_size:
            raise ValueError(f"{type(self).__name__} wants {self.input_size} features in the last axis; got {x.shape}")

    def _sizes(self, input_size: int | None, hidden_size: int) -> None:
        sizes = (hidden_size,) if input_size is None else (input_size, hidden_size)
        if not all(isinstance(n, (int, np.integer)) and n >= 1 for n in sizes):
            found = f"{input_size!r} -> {hidden_size!r}"
            raise ValueError(f"{type(self).__name__}: input_size and hidden_size are integers >= 1; got {found}")
        self.input_size, self.hidden_size = input_size, hidden_size


class _Recurrent(_Weights):
    """Layers on top of each other, each in one direction or two."""

    def __init__(
        self,
        input_size: int | None,
        hidden_size: int,
        num_layers: int = 1,
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        proj_size: int = 0,
        dtype: Any = np.float32,
    ) -> None:
        name = type(self).__name__
        self._sizes(input_size, hidden_size)
        if num_layers < 1:
            raise ValueError(f"{name}: num_layers must be >= 1; got {num_layers}")
        if proj_size and (self.kind != "lstm" or not 0 < proj_size < hidden_size):
            raise ValueError(f"{name}: proj_size is for LSTM, and smaller than hidden_size; got {proj_size}")
        self._name, self._dtype = random.next_name(name), dtype
        self.num_layers, self.bias, self.batch_first, self.dropout = num_layers, bias, batch_first, dropout
        self.bidirectional, self.proj_size = bidirectional, proj_size
        self._drops = [Dropout(dropout) for _ in range(num_layers - 1)]
        self._directions = ("", "_reverse") if bidirectional else ("",)
        out = proj_size or hidden_size
        for layer in range(num_layers):
            for direction in self._directions:
                inputs = out * len(self._directions) if layer else input_size
                self._make(f"_l{layer}{direction}", inputs, out, dtype, proj_size)

    def forward(self, x: Tensor, hx: Any = None, lengths: Any = None) -> Any:
        """Outputs of the last layer at every step, and the last state of every layer and direction.

        x        (T, B, input_size), (B, T, input_size) with batch_first, or (T, input_size) without a batch
        hx       the first state (num_layers * directions, B, hidden_size), layer by layer; zeros unless given. For
                 LSTM a pair (h, c), h of proj_size elements if there is a projection. Without a batch, no axis for it
        lengths  (B,) integers 0 .. T: the steps of each sample. Past a sample's end outputs are 0; its last state is
                 that of its own last step, where the reverse direction begins

        Returns (outputs, h), or (outputs, (h, c)) of LSTM. Outputs have x's axes and the features of both directions.
        """
        single = x.ndim == 2
        if not single and x.ndim != 3:
            axes = "(B, T, features)" if self.batch_first else "(T, B, features)"
            raise ValueError(f"{type(self).__name__} wants {axes} or (T, features); got {describe(x)}")
        self._take(x, self._dtype, tuple("_l0" + direction for direction in self._directions))
        states = self._first_states(hx, x, single)
        seq = expand_dims(x, 1) if single else swapaxes(x, 0, 1) if self.batch_first else x
        finals: list[tuple[Tensor, ...]] = []
        for layer in range(self.num_layers):
            if layer and self.dropout:  # the mask is drawn by sample: batch first
                seq = swapaxes(self._drops[layer - 1](swapaxes(seq, 0, 1)), 0, 1)
            outs = []
            for direction in self._directions:
                begin = tuple(s[len(finals)] for s in states)
                out, *last = self._run(seq, begin, f"_l{layer}{direction}", lengths, direction == "_reverse")
                outs.append(out)
                finals.append(tuple(last))
            seq = outs[0] if len(outs) == 1 else concatenate(outs, axis=2)
        ends = [stack(list(column)) for column in zip(*finals, strict=True)]
        if single:
            seq, ends = squeeze(seq, 1), [squeeze(e, 1) for e in ends]
        elif self.batch_first:
            seq = swapaxes(seq, 0, 1)
        return seq, (tuple(ends) if len(ends) > 1 else ends[0])

    def _first_states(self, hx: Any, x: Tensor, single: bool) -> list[Tensor]:
        """h, and c for LSTM, of shape (layers and directions, B, ...)."""
        name, batch = type(self).__name__, 1 if single else x.shape[0 if self.batch_first else 1]
        sizes = [self.proj_size or self.hidden_size] + [self.hidden_size] * (self.kind == "lstm")
        shapes = [(self.num_layers * len(self._directions), batch, size) for size in sizes]
        if hx is None:
            return [zeros(shape, dtype=x.dtype, device=x.device) for shape in shapes]
        given = list(hx) if isinstance(hx, (tuple, list)) else [hx]
        if len(given) != len(shapes):
            raise ValueError(f"{name}: the first state is {'a pair (h, c)' if len(shapes) > 1 else 'one tensor'}")
        given = [expand_dims(s, 1) for s in given] if single else given
        for s, shape in zip(given, shapes, strict=True):
            if s.shape != shape:
                raise ValueError(f"{name}: for the input {x.shape} a first state must be {shape}; got {s.shape}")
        return given

    def _run(self, x: Tensor, state: tuple, suffix: str, lengths: Any, reverse: bool) -> tuple:
        raise NotImplementedError

    def extra_repr(self) -> str:
        options = {"num_layers": 1, "bias": True, "batch_first": False, "dropout": 0.0, "bidirectional": False}
        options |= {"proj_size": 0}
        changed = [f"{n}={getattr(self, n)}" for n, usual in options.items() if getattr(self, n) != usual]
        return ", ".join([str(self.input_size), str(self.hidden_size), *changed])


class RNN(_Recurrent):
    """Elman's network (1990): see `rt.nn.rnn` for a step and `forward` for shapes. Gluon's `rnn.RNN`.

    input_size    features of an input; None: taken from the first input
    nonlinearity  "tanh" or "relu"
    batch_first   (B, T, features) instead of (T, B, features); states keep their axes
    dropout       between layers, in training

    Parameters weight_ih_l0 (hidden_size, input_size), weight_hh_l0, bias_ih_l0, bias_hh_l0, and so on by layer; those
    of the other direction end in _reverse; all drawn from +-1 / sqrt(hidden_size).
    """

    def __init__(
        self,
        input_size: int | None,
        hidden_size: int,
        num_layers: int = 1,
        nonlinearity: str = "tanh",
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        dtype: Any = np.float32,
    ) -> None:
        if nonlinearity not in ("tanh", "relu"):
            raise ValueError(f"RNN: nonlinearity {nonlinearity!r} is unknown; use 'tanh' or 'relu'")
        self.kind = f"rnn_{nonlinearity}"
        self.nonlinearity = nonlinearity
        super().__init__(input_size, hidden_size, num_layers, bias, batch_first, dropout, bidirectional, 0, dtype)

    def _run(self, x: Tensor, state: tuple, suffix: str, lengths: Any, reverse: bool) -> tuple:
        return ops.rnn(x, state[0], *self._of(suffix), self.nonlinearity, lengths, reverse)


class LSTM(_Recurrent):
    """Long short-term memory: see `rt.nn.lstm` for a step, `RNN` for the options. Gluon's `rnn.LSTM`.

    proj_size  outputs and fed-back states of this size, by weight_hr_l0 (proj_size, hidden_size); 0: no projection

    The weights stack the gates (i, f, g, o); weight_ih_l0 is (4 hidden_size, input_size).
    """

    kind = "lstm"

    def _run(self, x: Tensor, state: tuple, suffix: str, lengths: Any, reverse: bool) -> tuple:
        projection = getattr(self, "weight_hr" + suffix, None)
        return ops.lstm(x, state[0], state[1], *self._of(suffix), projection, lengths, reverse)


class GRU(_Recurrent):
    """Gated recurrent units: see `rt.nn.gru` for a step, `RNN` for the options. Gluon's `rnn.GRU`.

    The weights stack the gates (r, z, n); weight_ih_l0 is (3 hidden_size, input_size).
    """

    kind = "gru"

    def __init__(
        self,
        input_size: int | None,
        hidden_size: int,
        num_layers: int = 1,
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        dtype: Any = np.float32,
    ) -> None:
        super().__init__(input_size, hidden_size, num_layers, bias, batch_first, dropout, bidirectional, 0, dtype)

    def _run(self, x: Tensor, state: tuple, suffix: str, lengths: Any, reverse: bool) -> tuple:
        return ops.gru(x, state[0], *self._of(suffix), lengths, reverse)


class _Cell(_Weights):
    """One step: (B, input_size) or (input_size,), and the state before it."""

    def __init__(self, input_size: int | None, hidden_size: int, bias: bool = True, dtype: Any = np.float32) -> None:
        self._sizes(input_size, hidden_size)
        self._name, self._dtype, self.bias = random.next_name(type(self).__name__), dtype, bias
        self._make("", input_size, hidden_size, dtype)

    def _step(self, x: Tensor, hx: Any, states: int) -> list[Tensor]:
        """The states after a step; zeros before it unless given."""
        if x.ndim not in (1, 2):
            raise ValueError(f"{type(self).__name__} wants (B, features) or (features,); got {describe(x)}")
        self._take(x, self._dtype, ("",))
        if hx is None:
            shape = (*x.shape[:-1], self.hidden_size)
            hx = tuple(zeros(shape, dtype=x.dtype, device=x.device) for _ in range(states))
        before = hx if isinstance(hx, (tuple, list)) else (hx,)
        if len(before) != states:
            raise ValueError(f"{type(self).__name__}: the state is {'a pair (h, c)' if states > 1 else 'one tensor'}")
        single = x.ndim == 1
        if single:
            x, before = expand_dims(x, 0), [expand_dims(s, 0) for s in before]
        _, *after = self._run(expand_dims(x, 0), tuple(before))
        return [squeeze(s, 0) for s in after] if single else after

    def _run(self, x: Tensor, state: tuple) -> tuple:
        raise NotImplementedError

    def extra_repr(self) -> str:
        return f"{self.input_size}, {self.hidden_size}" + ("" if self.bias else ", bias=False")


class RNNCell(_Cell):
    """One step of `RNN`: forward(x, h) gives the next h. Weights weight_ih, weight_hh, bias_ih, bias_hh."""

    def __init__(
        self,
        input_size: int | None,
        hidden_size: int,
        bias: bool = True,
        nonlinearity: str = "tanh",
        dtype: Any = np.float32,
    ) -> None:
        if nonlinearity not in ("tanh", "relu"):
            raise ValueError(f"RNNCell: nonlinearity {nonlinearity!r} is unknown; use 'tanh' or 'relu'")
        self.kind, self.nonlinearity = f"rnn_{nonlinearity}", nonlinearity
        super().__init__(input_size, hidden_size, bias, dtype)

    def forward(self, x: Tensor, hx: Tensor | None = None) -> Tensor:
        return self._step(x, hx, 1)[0]

    def _run(self, x: Tensor, state: tuple) -> tuple:
        return ops.rnn(x, state[0], *self._of(""), self.nonlinearity)


class LSTMCell(_Cell):
    """One step of `LSTM`: forward(x, (h, c)) gives the next (h, c). Weights as in `RNNCell`."""

    kind = "lstm"

    def forward(self, x: Tensor, hx: Any = None) -> tuple[Tensor, Tensor]:
        h, c = self._step(x, hx, 2)
        return h, c

    def _run(self, x: Tensor, state: tuple) -> tuple:
        return ops.lstm(x, state[0], state[1], *self._of(""))


class GRUCell(_Cell):
    """One step of `GRU`: forward(x, h) gives the next h. Weights as in `RNNCell`."""

    kind = "gru"

    def forward(self, x: Tensor, hx: Tensor | None = None) -> Tensor:
        return self._step(x, hx, 1)[0]

    def _run(self, x: Tensor, state: tuple) -> tuple:
        return ops.gru(x, state[0], *self._of(""))
