"""Hooks: functions of the user's that are called before or after a module's forward, or in its backward.

The first hook puts a `forward` of its own on the module, and the last to go takes it away: a module without hooks
runs as if there were none.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..autograd import Op, mode
from ..tensor import Tensor, share, wrap

__all__ = ["Handle", "register"]


class Handle:
    """What removes a hook: `handle.remove()`, or the end of a `with` block."""

    def __init__(self, hooked: Hooked, kind: str, key: int) -> None:
        self._hooked, self._kind, self._key = hooked, kind, key

    def remove(self) -> None:
        """Takes the hook away; again it does nothing."""
        self._hooked.hooks[self._kind].pop(self._key, None)
        self._hooked.leave_if_idle()

    def __enter__(self) -> Handle:
        return self

    def __exit__(self, *error: Any) -> None:
        self.remove()


class Hooked:
    """The forward of a module with hooks."""

    def __init__(self, module: Any) -> None:
        self.module = module
        self.hooks: dict[str, dict[int, Callable]] = {"pre": {}, "post": {}, "backward_pre": {}, "backward": {}}
        self.count = 0

    def leave_if_idle(self) -> None:
        """Takes this forward off its module when it has no hooks left."""
        if not any(self.hooks.values()) and vars(self.module).get("forward") is self:
            del self.module.forward

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        module = self.module
        for hook in tuple(self.hooks["pre"].values()):
            new = hook(module, args)
            if new is not None:
                args = new if isinstance(new, tuple) else (new,)
        call = None
        if mode.grad and (self.hooks["backward"] or self.hooks["backward_pre"]):
            call = _Call(self)
            args = call.entered(args)
        out = type(module).forward(module, *args, **kwargs)
        for hook in tuple(self.hooks["post"].values()):
            new = hook(module, args, out)
            out = out if new is None else new
        return out if call is None else call.left(out)


class _Call:
    """One forward of a module with backward hooks: identity ops around it see its gradients."""

    def __init__(self, hooked: Hooked) -> None:
        self.hooked = hooked
        self.grad_output: tuple | None = None
        self.places: list[int] = []
        self.width = 0

    def entered(self, args: tuple) -> tuple:
        """The arguments, those in the graph behind one identity op."""
        self.width = len(args)
        self.places = [i for i, a in enumerate(args) if isinstance(a, Tensor) and a._node is not None]
        if not self.places:
            return args
        out = list(args)
        for i, t in zip(self.places, _passed([args[i] for i in self.places], self._arrived), strict=True):
            out[i] = t
        return tuple(out)

    def left(self, out: Any) -> Any:
        """The output, or the tensors of a tuple of outputs, behind one identity op."""
        outs = list(out) if isinstance(out, (tuple, list)) else [out]
        places = [i for i, t in enumerate(outs) if isinstance(t, Tensor) and t._node is not None]
        for i, t in zip(places, _passed([outs[i] for i in places], self._begun), strict=True):
            outs[i] = t
        return type(out)(outs) if isinstance(out, (tuple, list)) else outs[0]

    def _begun(self, grads: tuple) -> tuple:
        """The gradients of the outputs are there."""
        for hook in tuple(self.hooked.hooks["backward_pre"].values()):
            grads = _replaced(hook(self.hooked.module, grads), grads, "pre-backward")
        self.grad_output = grads
        if not self.places:  # no input wants a gradient, so nothing else will tell
            self._tell((None,) * self.width)
        return grads

    def _arrived(self, grads: tuple) -> tuple:
        """The gradients of the inputs are there."""
        if self.grad_output is None:  # a second derivative, which came in elsewhere than by the output
            return grads
        full: list[Any] = [None] * self.width
        for i, g in zip(self.places, grads, strict=True):
            full[i] = g
        told = self._tell(tuple(full))
        return tuple(told[i] for i in self.places)

    def _tell(self, grad_input: tuple) -> tuple:
        for hook in tuple(self.hooked.hooks["backward"].values()):
            grad_input = _replaced(hook(self.hooked.module, grad_input, self.grad_output), grad_input, "backward")
        self.grad_output = None
        return grad_input


def _replaced(new: Any, old: tuple, kind: str) -> tuple:
    if new is None:
        return old
    new = new if isinstance(new, tuple) else (new,)
    if len(new) != len(old):
        raise ValueError(f"a {kind} hook returned {len(new)} gradients; there are {len(old)}")
    return new


def _seen(xp: Any, g: Any, needs: Any, saw: Callable) -> list:
    """Shows the gradients, None where there is none, and passes on what comes back."""
    grads = g if isinstance(g, list) else [g]
    as_tensors = tuple(x if x is None or isinstance(x, Tensor) else wrap(x) for x in grads)
    out = saw(as_tensors)
    raw = not any(isinstance(x, Tensor) for x in grads)
    return [x._data if raw and isinstance(x, Tensor) else x for x in out]


_identity = Op(
    "module_boundary",
    lambda xp, *xs, saw: tuple(xs) if len(xs) > 1 else xs[0],
    _seen,
    joint=True,
)


def _passed(tensors: list[Tensor], saw: Callable) -> list[Tensor]:
    """The same tensors behind an op whose vjp shows their gradients to a function."""
    if not tensors:
        return []
    outs = _identity(*tensors, saw=saw)
    outs = list(outs) if isinstance(outs, tuple) else [outs]
    for source, out in zip(tensors, outs, strict=True):
        share(source, out)
    return outs


def register(module: Any, kind: str, hook: Callable) -> Handle:
    """Adds a hook of a kind: "pre", "post", "backward_pre" or "backward"."""
    hooked = vars(module).get("forward")
    if not isinstance(hooked, Hooked):
        hooked = Hooked(module)
        module.forward = hooked
    hooked.count += 1
    hooked.hooks[kind][hooked.count] = hook
    return Handle(hooked, kind, hooked.count)
