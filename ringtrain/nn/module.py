"""Module: a part of a network that holds parameters, buffers and other modules.

What belongs to a module is what its attributes hold: Parameters, tensors (buffers), modules, and lists, tuples and
dicts of them. Names are attribute paths, such as "layers.0.weight". Tensors under a name that begins with an underscore
are private, and no buffers; parameters and modules belong to it under any name.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import numpy as np

from .. import backend as backends
from ..tensor import Leaf, Tensor, describe, raw, share
from . import hooks
from .summary import Summary, summarize

__all__ = ["LazyParameter", "Module", "Parameter"]


class Parameter(Tensor):
    """A tensor that training changes: a leaf that requires a gradient."""

    __slots__ = ()

    def __init__(self, data: Any, requires_grad: bool = True) -> None:
        super().__init__(raw(data), requires_grad)
        if isinstance(data, Tensor):
            share(data, self)

    def replace(self, data: Any) -> None:
        """Takes on new data, of any shape, dtype or device; the gradient so far is dropped."""
        data = raw(data)
        backends.of(data)
        self._data = data
        self._version[0] += 1
        if self._node is not None:
            old, self._node = self._node, Leaf(self)
            self._node.hooks, self._node.taps = old.hooks, old.taps


class LazyParameter:
    """The place of a parameter whose shape is known only after the first forward."""

    def __init__(self, what: str) -> None:
        self.what = what


class Module:
    """Subclass it: make parts in `__init__`, compute in `forward`, call the module."""

    training = True

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """What the module computes."""
        raise NotImplementedError(f"{type(self).__name__} has no forward")

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self.forward(*args, **kwargs)

    # --- what belongs to it -------------------------------------------------------------------------------
    def _attributes(self) -> Iterable[tuple[str, Any]]:
        """(name, value) of what may hold parts, in order of assignment."""
        return vars(self).items()

    def _walk(self, prefix: str = "", above: tuple[Module, ...] = ()) -> Iterator[tuple[str, Any]]:
        """(path, Module | Tensor | LazyParameter) of everything below, depth first, in order of assignment.

        above  the modules that this one is a part of: a part that knows its owner does not own it
        """
        for name, value in self._attributes():
            for path, part in entries(value, prefix + name, (*above, self)):
                buffer = isinstance(part, Tensor) and not isinstance(part, Parameter)
                if not (buffer and name.startswith("_")):
                    yield path, part

    def named_modules(self) -> Iterator[tuple[str, Module]]:
        """(path, module) of this module ("") and of all below, each module once."""
        yield from _unique([("", self), *((n, m) for n, m in self._walk() if isinstance(m, Module))])

    def modules(self) -> Iterator[Module]:
        return (m for _, m in self.named_modules())

    def named_children(self) -> Iterator[tuple[str, Module]]:
        """(path, module) of the modules that this one holds itself, each once."""
        found = []
        for name, value in self._attributes():
            inside = [(path, m) for path, m in entries(value, name, (self,)) if isinstance(m, Module)]
            below = {id(m) for _, child in inside for _, m in child._walk("", (self,))}
            found += [(path, m) for path, m in inside if id(m) not in below]
        yield from _unique(found)

    def children(self) -> Iterator[Module]:
        return (m for _, m in self.named_children())

    def apply(self, function: Callable[[Module], Any]) -> Module:
        """Calls function(module) for all below, and last for this one. Returns self."""
        for child in self.children():
            child.apply(function)
        function(self)
        return self

    def named_parameters(self) -> Iterator[tuple[str, Parameter]]:
        """(path, parameter), each parameter once, under its first name."""
        yield from _unique([(n, p) for n, p in self._tensors() if isinstance(p, Parameter)])

    def parameters(self) -> Iterator[Parameter]:
        return (p for _, p in self.named_parameters())

    def named_buffers(self) -> Iterator[tuple[str, Tensor]]:
        """(path, tensor) of the tensors that belong to the state but are not trained."""
        yield from _unique([(n, t) for n, t in self._tensors() if not isinstance(t, Parameter)])

    def buffers(self) -> Iterator[Tensor]:
        return (t for _, t in self.named_buffers())

    def _tensors(self) -> Iterator[tuple[str, Tensor]]:
        for name, value in self._walk():
            if isinstance(value, LazyParameter):
                raise RuntimeError(
                    f"{name} has no shape yet ({value.what}); run the model once, "
                    "on rt.zeros(shape, device='meta') if nothing is to be computed"
                )
            if isinstance(value, Tensor):
                yield name, value

    # --- state --------------------------------------------------------------------------------------------
    def state_dict(self) -> dict[str, Any]:
        """Path -> array of every parameter and buffer; the arrays are the module's own, not copies."""
        return {name: t._data for name, t in self._tensors()}

    def load_state_dict(self, state: Mapping[str, Any], strict: bool = True) -> None:
        """Copies values into parameters and buffers, converting dtypes.

        Raises ValueError that lists all names that are missing, unexpected (both only when strict) or of another
        shape; then nothing has been changed.
        """
        own = dict(self._tensors())
        missing = [f"missing {n} {describe(t)}" for n, t in own.items() if n not in state] if strict else []
        unexpected = [f"unexpected {n} {describe(raw(v))}" for n, v in state.items() if n not in own] if strict else []
        shapes = [
            f"mis-shaped {n}: the model has {describe(t)}, the state {describe(raw(state[n]))}"
            for n, t in own.items()
            if n in state and raw(state[n]).shape != t.shape
        ]
        if missing or unexpected or shapes:
            problems = "\n  ".join(missing + unexpected + shapes)
            raise ValueError(f"the state does not fit {type(self).__name__}:\n  {problems}")
        for name, t in own.items():
            if name in state:
                backend, index = backends.get(t.device)
                t._data[...] = backend.asarray(raw(state[name]), t.dtype, index)
                t._version[0] += 1

    def train(self, mode: bool = True) -> Module:
        """Sets this module and all below to training (dropout drops, batch norm measures). Returns self."""
        for module in self.modules():
            module.training = mode
        return self

    def eval(self) -> Module:
        """`train(False)`."""
        return self.train(False)

    def requires_grad_(self, value: bool = True) -> Module:
        """Whether all parameters are trained. Returns self."""
        for p in self.parameters():
            p.requires_grad_(value)
        return self

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Drops all gradients: they start anew with the next backward; or makes zeros of those there are."""
        for p in self.parameters():
            if type(p._node) is Leaf:
                p._node.clear(set_to_none)

    def to(self, target: Any) -> Module:
        """Moves to a device ("cuda:0", "cpu"), or converts all floats to a dtype, in place. Returns self.

        Build optimisers afterwards: they hold the parameters' memory.
        """
        is_device = isinstance(target, str) and target.partition(":")[0] in ("cpu", "cuda", "meta")
        for _, t in self._tensors():
            if is_device or t.dtype.kind == "f" or t.dtype.name == "bfloat16":
                data = t.detach().to(target)._data
                if data is t._data:  # nothing changes, and the gradient stays
                    continue
                if isinstance(t, Parameter):
                    t.replace(data)
                else:
                    t.data = data
        return self

    # --- hooks, summary -----------------------------------------------------------------------------------
    def register_forward_pre_hook(self, hook: Callable[[Module, tuple], Any]) -> hooks.Handle:
        """Calls hook(module, args) before forward; what it returns, if anything, takes the arguments' place."""
        return hooks.register(self, "pre", hook)

    def register_forward_hook(self, hook: Callable[[Module, tuple, Any], Any]) -> hooks.Handle:
        """Calls hook(module, args, output) after forward; what it returns, if anything, takes the output's place."""
        return hooks.register(self, "post", hook)

    def register_full_backward_pre_hook(self, hook: Callable[[Module, tuple], Any]) -> hooks.Handle:
        """Calls hook(module, grad_output) in backward before the module's own; a result takes its place."""
        return hooks.register(self, "backward_pre", hook)

    def register_full_backward_hook(self, hook: Callable[[Module, tuple, tuple], Any]) -> hooks.Handle:
        """Calls hook(module, grad_input, grad_output) when the gradients of the inputs are there.

        grad_input has a place for each positional argument, None where it wants no gradient; what the hook returns,
        if anything, takes its place.
        """
        return hooks.register(self, "backward", hook)

    def summary(self, *inputs: Any, dtype: Any = np.float32) -> Summary:
        """The modules with their output shapes and parameters: `print(model.summary((32, 784)))`.

        inputs  the shapes of the inputs, which are then of `dtype`, or tensors and other arguments as they are
        The model runs in evaluation without data (on device "meta" for shapes); lazy parameters get their shapes.
        """
        return summarize(self, *inputs, dtype=dtype)

    def __repr__(self) -> str:
        parts = {n: list(entries(m, n, (self,))) for n, m in vars(self).items() if n[0] != "_"}
        children = [(n, vars(self)[n]) for n, below in parts.items() if any(isinstance(m, Module) for _, m in below)]
        if not children:
            return f"{type(self).__name__}({self.extra_repr()})"
        lines = [f"({n}): {m!r}".replace("\n", "\n  ") for n, m in children]
        return f"{type(self).__name__}(\n  " + "\n  ".join(lines) + "\n)"

    def extra_repr(self) -> str:
        """What its line of a printed model says between the brackets."""
        return ""


def entries(value: Any, path: str, above: tuple[Module, ...]) -> Iterator[tuple[str, Any]]:
    """(path, part) of an attribute's value and of all below it."""
    if isinstance(value, (Tensor, LazyParameter)):
        yield path, value
    elif isinstance(value, Module):
        if not any(value is module for module in above):
            yield path, value
            yield from value._walk(path + ".", above)
    elif isinstance(value, (list, tuple)):
        for i, item in enumerate(value):
            yield from entries(item, f"{path}.{i}", above)
    elif isinstance(value, dict):
        for key, item in value.items():
            yield from entries(item, f"{path}.{key}", above)


def _unique(pairs: list[tuple[str, Any]]) -> Iterator[tuple[str, Any]]:
    seen: set[int] = set()
    for name, value in pairs:
        if id(value) not in seen:
            seen.add(id(value))
            yield name, value


def parameter(
    init: Any, shape: tuple[int, ...], name: str, dtype: Any = np.float32, requires_grad: bool = True
) -> Parameter:
    """A parameter on the default device, with its first values drawn under `name`."""
    backend, index = backends.get(None)
    return Parameter(backend.asarray(init(shape, name, dtype), None, index), requires_grad)
