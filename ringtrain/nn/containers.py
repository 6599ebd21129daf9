"""Containers: modules and parameters in order, or by name."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from ..ops.linalg import rectified_linear
from ..ops.shape import concatenate
from ..tensor import Tensor
from .activations import ReLU
from .layers import Linear
from .module import Module, Parameter


class Identity(Module):
    """Its input; it takes any arguments, so that it can stand in for another layer."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        pass

    def forward(self, x: Any) -> Any:
        return x


class _List(Module):
    """Parts in order, under the names "0", "1", ...: names are "0.weight", as PyTorch's users know them."""

    def __init__(self, parts: Iterable[Any] = ()) -> None:
        self._parts = [self._check(part) for part in parts]

    def _check(self, part: Any) -> Any:
        return part

    def _attributes(self) -> list[tuple[str, Any]]:
        others = [(name, value) for name, value in vars(self).items() if name != "_parts"]
        return [(str(i), part) for i, part in enumerate(self._parts)] + others

    def __getitem__(self, index: Any) -> Any:
        return type(self)(self._parts[index]) if isinstance(index, slice) else self._parts[index]

    def __setitem__(self, index: int, part: Any) -> None:
        self._parts[index] = self._check(part)

    def __delitem__(self, index: Any) -> None:
        del self._parts[index]

    def __len__(self) -> int:
        return len(self._parts)

    def __iter__(self) -> Iterator[Any]:
        return iter(self._parts)

    def append(self, part: Any) -> Any:
        """Adds a part at the end. Returns self."""
        self._parts.append(self._check(part))
        return self

    def insert(self, index: int, part: Any) -> Any:
        """Puts a part before another. Returns self."""
        self._parts.insert(index, self._check(part))
        return self

    def extend(self, parts: Iterable[Any]) -> Any:
        """Adds several at the end. Returns self."""
        self._parts.extend([self._check(part) for part in parts])
        return self

    def __repr__(self) -> str:
        if not self._parts:
            return f"{type(self).__name__}()"
        lines = [f"({i}): {part!r}".replace("\n", "\n  ") for i, part in enumerate(self._parts)]
        return f"{type(self).__name__}(\n  " + "\n  ".join(lines) + "\n)"


def _calls() -> tuple[Any, ...]:
    """What calls of a Linear and of a ReLU go through."""
    return (Linear.__call__, Linear.forward, ReLU.__call__, ReLU.forward)


_PLAIN = _calls()


def _plain_pair(linear: Any, after: Any = None) -> bool:
    """Whether a ReLU follows a Linear that has its shape, and nobody sees or changes what goes from one to the other.

    A hook puts a `forward` on its module; whoever watches modules puts a `__call__` of their own on the class.
    """
    if type(after) is not ReLU or "forward" in vars(linear) or "forward" in vars(after):
        return False
    return linear.in_features is not None and _calls() == _PLAIN


class Sequential(_List):
    """Modules, or functions of one tensor, one after the other."""

    def __init__(self, *layers: Any) -> None:
        super().__init__(layers)

    def _check(self, part: Any) -> Any:
        if not callable(part):
            raise TypeError(f"Sequential takes layers one by one, as in Sequential(a, b); got {part!r}")
        return part

    @property
    def layers(self) -> list[Any]:
        """The layers, in order."""
        return self._parts

    def forward(self, x: Any) -> Any:
        parts, i = self._parts, 0
        while i < len(parts):
            if type(parts[i]) is Linear and _plain_pair(*parts[i : i + 2]):
                x = rectified_linear(x, parts[i].weight, parts[i].bias)
                i += 2
            else:
                x = parts[i](x)
                i += 1
        return x

    def __getitem__(self, index: Any) -> Any:
        return Sequential(*self._parts[index]) if isinstance(index, slice) else self._parts[index]


class Concurrent(Sequential):
    """Layers side by side: each gets the input, and their results are concatenated along an axis (Gluon's of that
    name, and HybridConcurrent)."""

    def __init__(self, *layers: Any, axis: int = -1) -> None:
        super().__init__(*layers)
        self.axis = axis

    def forward(self, x: Any) -> Any:
        return concatenate([layer(x) for layer in self._parts], self.axis)

    def __getitem__(self, index: Any) -> Any:
        return Concurrent(*self._parts[index], axis=self.axis) if isinstance(index, slice) else self._parts[index]


class Lambda(Module):
    """A function of tensors as a layer (Gluon's of that name, and HybridLambda)."""

    def __init__(self, function: Callable[..., Any]) -> None:
        if not callable(function):
            raise TypeError(f"Lambda wants a function of tensors; got {function!r}")
        self.function = function

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        return self.function(*args, **kwargs)

    def extra_repr(self) -> str:
        return getattr(self.function, "__name__", repr(self.function))


class ModuleList(_List):
    """Modules in a list; `for layer in self.layers` uses them."""

    def _check(self, part: Any) -> Any:
        if not isinstance(part, Module):
            raise TypeError(f"ModuleList holds modules; got {part!r}")
        return part


def _parameter(part: Any) -> Any:
    return part if isinstance(part, Parameter) or not isinstance(part, Tensor) else Parameter(part)


class ParameterList(_List):
    """Parameters in a list; tensors become parameters."""

    def _check(self, part: Any) -> Any:
        if not isinstance(part, Tensor):
            raise TypeError(f"ParameterList holds parameters; got {part!r}")
        return _parameter(part)


class _Dict(Module):
    """Parts by name."""

    def __init__(self, parts: Mapping[str, Any] | Iterable[tuple[str, Any]] = ()) -> None:
        self._parts: dict[str, Any] = {}
        self.update(parts)

    def _check(self, part: Any) -> Any:
        return part

    def _attributes(self) -> list[tuple[str, Any]]:
        return [*self._parts.items(), *((name, value) for name, value in vars(self).items() if name != "_parts")]

    def __getitem__(self, name: str) -> Any:
        return self._parts[name]

    def __setitem__(self, name: str, part: Any) -> None:
        if not isinstance(name, str) or "." in name or not name:
            raise KeyError(f"{type(self).__name__}: {name!r} is no name; use text without a dot")
        self._parts[name] = self._check(part)

    def __delitem__(self, name: str) -> None:
        del self._parts[name]

    def __contains__(self, name: str) -> bool:
        return name in self._parts

    def __len__(self) -> int:
        return len(self._parts)

    def __iter__(self) -> Iterator[str]:
        return iter(self._parts)

    def keys(self) -> Iterable[str]:
        """The names, in order of assignment."""
        return self._parts.keys()

    def values(self) -> Iterable[Any]:
        """The parts."""
        return self._parts.values()

    def items(self) -> Iterable[tuple[str, Any]]:
        """(name, part) of all."""
        return self._parts.items()

    def update(self, parts: Mapping[str, Any] | Iterable[tuple[str, Any]]) -> None:
        """Adds parts, and replaces those of the same name."""
        for name, part in dict(parts).items():
            self[name] = part

    def pop(self, name: str) -> Any:
        """Takes a part out and returns it."""
        return self._parts.pop(name)

    def __repr__(self) -> str:
        if not self._parts:
            return f"{type(self).__name__}()"
        lines = [f"({name}): {part!r}".replace("\n", "\n  ") for name, part in self._parts.items()]
        return f"{type(self).__name__}(\n  " + "\n  ".join(lines) + "\n)"


class ModuleDict(_Dict):
    """Modules by name."""

    def _check(self, part: Any) -> Any:
        if not isinstance(part, Module):
            raise TypeError(f"ModuleDict holds modules; got {part!r}")
        return part


class ParameterDict(_Dict):
    """Parameters by name; tensors become parameters."""

    def _check(self, part: Any) -> Any:
        if not isinstance(part, Tensor):
            raise TypeError(f"ParameterDict holds parameters; got {part!r}")
        return _parameter(part)
