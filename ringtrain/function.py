"""Function: an operation with a forward and a backward of the user's own."""

from __future__ import annotations

from typing import Any

from .autograd import Node, mode, no_grad
from .tensor import Tensor, describe, is_float, wrap

__all__ = ["Function"]


class Context:
    """What forward leaves for backward: `save_for_backward(*tensors)` and any attribute.

    needs_input_grad   for each argument of forward, whether its gradient is wanted
    """

    def __init__(self, name: str, needs: tuple[bool, ...]) -> None:
        self._name = name
        self.needs_input_grad = needs
        self._saved: tuple[tuple[Tensor, list, int], ...] = ()

    def save_for_backward(self, *tensors: Tensor) -> None:
        """Keeps tensors, inputs or outputs, and checks at backward that nobody wrote into them."""
        self._saved = tuple((t, t._version, t._version[0]) for t in tensors)

    @property
    def saved_tensors(self) -> tuple[Tensor, ...]:
        for t, cell, count in self._saved:
            if t._version is not cell or cell[0] != count:  # `t += x` gives t another cell
                raise RuntimeError(
                    f"a tensor that {self._name}.forward kept by save_for_backward was changed in place since; "
                    "change a copy of it instead"
                )
        return tuple(t for t, _, _ in self._saved)


class _Plan:
    """Calls the user's backward, on tensors, in both kinds of pass. The node saves the context, and frees it."""

    arrays = ()
    placed = False

    def __init__(self, function: type[Function], count: int) -> None:
        self.function = function
        self.count = count

    def run(self, xp: Any, g: Any, saved: Any) -> list:
        parts = g if type(g) is list else [g]
        given = [p if p is None or isinstance(p, Tensor) else wrap(p) for p in parts]
        results = self.function.backward(saved[0], *given)
        results = list(results) if isinstance(results, (tuple, list)) else [results]
        if len(results) != self.count:
            raise RuntimeError(
                f"{self.function.__name__}.backward gave {len(results)} gradients for the {self.count} arguments "
                "of forward; return None for those that have none"
            )
        if mode.grad:
            return results
        # what has been written to before is no new result: the gradient of a parameter, perhaps, whose place is wanted
        data = [r._data.copy() if isinstance(r, Tensor) and r._version[0] else r for r in results]
        return [r._data if isinstance(r, Tensor) else r for r in data]


class Function:
    """A differentiable operation written by hand; subclass it, and call `YourFunction.apply(...)`.

    forward(ctx, *args) runs without recording and returns a tensor or a tuple of them; backward(ctx, *grads)
    gets the outputs' gradients and returns one gradient, or None, for each argument of forward. Backward written
    with ops can itself be differentiated.
    """

    name = "Function"
    broadcasts = False

    @staticmethod
    def forward(ctx: Context, *args: Any) -> Any:
        raise NotImplementedError("a Function needs a static method forward(ctx, *args)")

    @staticmethod
    def backward(ctx: Context, *grads: Any) -> Any:
        raise NotImplementedError("a Function needs a static method backward(ctx, *grads)")

    @classmethod
    def apply(cls, *args: Any) -> Any:
        """Runs forward, and records the call where an argument wants a gradient."""
        edges = tuple(a._node if isinstance(a, Tensor) else None for a in args)
        ctx = Context(cls.__name__, tuple(edge is not None for edge in edges))
        with no_grad():
            result = cls.forward(ctx, *args)
        outs = result if isinstance(result, tuple) else (result,)
        if not all(isinstance(out, Tensor) for out in outs):
            raise TypeError(
                f"{cls.__name__}.forward must return a tensor or a tuple of them; got {', '.join(map(describe, outs))}"
            )
        # a forward that returns its argument must not put the argument itself into the graph
        outs = tuple(out.detach() if any(out is a for a in args) else out for out in outs)
        if mode.grad and any(ctx.needs_input_grad):
            node = object.__new__(Node)
            node.op, node.plan = cls, _Plan(cls, len(args))
            node.edges = edges
            node.slots = tuple(a._slot if isinstance(a, Tensor) else None for a in args)
            node.saved, node.cells, node.stamp, node.taps = (ctx,), (), 0, None
            single = len(outs) == 1
            node.shape = outs[0].shape if single else [t.shape for t in outs]
            node.dtype = outs[0].dtype if single else [t.dtype for t in outs]
            for slot, t in enumerate(outs):
                if is_float(t.dtype):
                    t._node, t._slot = node, None if single else slot
        return outs if isinstance(result, tuple) else outs[0]

    def __init_subclass__(cls) -> None:
        cls.name = cls.__name__
