"""Parameters that are computed from others at each use: weight norm, spectral norm, and the user's own.

A parametrized module is of a class of its own, a subclass of what it was, on which the parameter's name is a property
that computes; what it computes from lies under `parametrizations`, with PyTorch's names.
"""

from __future__ import annotations

from typing import Any

from .. import random
from ..autograd import no_grad
from ..ops.distance import normalize
from ..ops.linalg import matmul
from ..ops.norms import vector_norm
from ..ops.reduce import sum
from ..ops.shape import moveaxis, reshape
from ..tensor import Tensor, wrap
from .containers import ModuleDict
from .module import LazyParameter, Module, Parameter

__all__ = [
    "is_parametrized",
    "register_parametrization",
    "remove_parametrizations",
    "spectral_norm",
    "weight_norm",
]


class Parametrized(Module):
    """The functions behind one parameter, applied in order to `original`, or to `original0`, `original1`, ...

    The originals are the parameters that training changes.
    """

    def __init__(self, value: Parameter) -> None:
        self._steps: list[Module] = []
        self.original = value

    def _attributes(self) -> list[tuple[str, Any]]:
        others = [(name, part) for name, part in vars(self).items() if name != "_steps"]
        return others + [(str(i), step) for i, step in enumerate(self._steps)]

    def __getitem__(self, index: int) -> Module:
        return self._steps[index]

    def __len__(self) -> int:
        return len(self._steps)

    def _originals(self) -> list[Tensor]:
        if "original" in vars(self):
            return [self.original]
        return [value for name, value in vars(self).items() if name.startswith("original")]

    def forward(self) -> Tensor:
        values: Any = self._originals()
        for step in self._steps:
            out = step(*values)
            values = (out,)
        return values[0]

    def assign(self, value: Any) -> None:
        """Sets the originals to what gives the value, by the steps' `right_inverse`; the parameters stay the same."""
        with no_grad():
            for step in reversed(self._steps):
                value = step.right_inverse(value) if hasattr(step, "right_inverse") else value
            for own, new in zip(self._originals(), value if isinstance(value, tuple) else (value,), strict=True):
                own[...] = new

    def add(self, step: Module) -> None:
        """Puts another function behind those that are there."""
        value: Any = self.forward().detach() if self._steps else self.original.detach()
        with no_grad():
            inverse = step.right_inverse(value) if hasattr(step, "right_inverse") else value
            made = step(*inverse) if isinstance(inverse, tuple) else step(inverse)
        if made.shape != value.shape:
            raise ValueError(f"{type(step).__name__} gives {made.shape} for a parameter of shape {value.shape}")
        if isinstance(inverse, tuple):
            if self._steps:
                raise ValueError(f"{type(step).__name__} has several originals, and must be the first parametrization")
            wants = self.original.requires_grad
            del self.original
            for i, part in enumerate(inverse):
                setattr(self, f"original{i}", Parameter(part.copy(), wants))
            self._steps.append(step)
            return
        self._steps.append(step)
        self.assign(value)


def register_parametrization(module: Module, name: str, parametrization: Module) -> Module:
    """Makes module.<name> what the parametrization computes, at each use. Returns the module.

    parametrization  a module whose forward takes the original, or several, and gives a tensor of the parameter's shape;
                     with a `right_inverse` (value -> original, or a tuple of them) the parameter begins with the value
                     that it has, and can be assigned to

    Do so before building an optimiser: the parameters are new ones. Raises ValueError where there is no such parameter.
    """
    held = vars(module).get(name)
    if isinstance(held, LazyParameter):
        raise ValueError(f"{type(module).__name__}.{name} has no shape yet; run the model once")
    if is_parametrized(module, name):
        _all(module)[name].add(parametrization)
        return module
    if not isinstance(held, Parameter):
        raise ValueError(f"{type(module).__name__} has no parameter {name!r}")
    made = Parametrized(held)
    made.add(parametrization)
    if not is_parametrized(module):
        module.parametrizations = ModuleDict()  # type: ignore[attr-defined]
    del vars(module)[name]
    _all(module)[name] = made
    _retype(module)
    return module


def _retype(module: Module) -> None:
    """Gives the module the class that its parametrizations ask for; copies of it keep theirs."""
    plain = getattr(type(module), "_plain_class", type(module))
    names = list(_all(module))
    if not names:
        del vars(module)["parametrizations"]
        module.__class__ = plain
        return
    computed = {name: _computed(name) for name in names}
    module.__class__ = type(f"Parametrized{plain.__name__}", (plain,), {**computed, "_plain_class": plain})


def _computed(name: str) -> property:
    def value(self: Module) -> Tensor:
        return _all(self)[name]()

    def assign(self: Module, new: Any) -> None:
        _all(self)[name].assign(new)

    return property(value, assign)


def _all(module: Module) -> Any:
    return module.parametrizations  # type: ignore[attr-defined]


def is_parametrized(module: Module, name: str | None = None) -> bool:
    """Whether a parameter of the module (None: any of them) is computed."""
    return "parametrizations" in vars(module) and (name is None or name in _all(module))


def remove_parametrizations(module: Module, name: str) -> Module:
    """Makes module.<name> a parameter again, of the value that it has. Returns the module."""
    if not is_parametrized(module, name):
        raise ValueError(f"{type(module).__name__}.{name} is no parametrized parameter")
    value = getattr(module, name).detach().copy()
    wants = any(p.requires_grad for p in _all(module)[name]._originals())
    del _all(module)[name]
    _retype(module)
    setattr(module, name, Parameter(value, wants))
    return module


# --- weight norm, spectral norm ---------------------------------------------------------------------------
class _WeightNorm(Module):
    def __init__(self, dim: int | None) -> None:
        self.dim = dim

    def _norm(self, v: Tensor) -> Tensor:
        axes = tuple(i for i in range(v.ndim) if self.dim is None or i != self.dim % v.ndim)
        return vector_norm(v, 2, axes, True)

    def forward(self, g: Tensor, v: Tensor) -> Tensor:
        return v * (g / self._norm(v))

    def right_inverse(self, weight: Tensor) -> tuple[Tensor, Tensor]:
        return self._norm(weight), weight


def weight_norm(module: Module, name: str = "weight", dim: int | None = 0) -> Module:
    """A weight as a length times a direction, g v / |v| (Salimans and Kingma 2016). Returns the module.

    dim  the axis that has a length for each of its places; None: one for the whole. g is
         parametrizations.<name>.original0, v original1, as in PyTorch
    """
    return register_parametrization(module, name, _WeightNorm(dim))


class _SpectralNorm(Module):
    """Divides by the largest singular value, estimated by power iteration with the vectors u and v (buffers)."""

    def __init__(self, weight: Tensor, iterations: int, dim: int, eps: float, name: str) -> None:
        if iterations < 1 or weight.ndim < 1:
            raise ValueError(f"spectral_norm: n_power_iterations is >= 1; got {iterations} for {weight.shape}")
        self.iterations, self.dim, self.eps = iterations, dim % weight.ndim, eps
        if weight.ndim > 1:
            rows, columns = self._matrix(weight).shape
            self.u, self.v = (self._drawn(weight, n, f"{name}.{part}") for part, n in (("u", rows), ("v", columns)))
            self._iterate(self._matrix(weight.detach()), 15)

    def _drawn(self, weight: Tensor, n: int, name: str) -> Tensor:
        values = random.normal((n,), 0.0, 1.0, name, 0, weight.dtype)
        return normalize(wrap(weight.backend.asarray(values)), axis=0, eps=self.eps)

    def _matrix(self, weight: Tensor) -> Tensor:
        return reshape(moveaxis(weight, self.dim, 0), (weight.shape[self.dim], -1))

    def _iterate(self, matrix: Tensor, times: int) -> None:
        with no_grad():
            for _ in range(times):
                self.u[...] = normalize(matmul(matrix, self.v), axis=0, eps=self.eps)
                self.v[...] = normalize(matmul(matrix.T, self.u), axis=0, eps=self.eps)

    def forward(self, weight: Tensor) -> Tensor:
        if weight.ndim == 1:
            return normalize(weight, axis=0, eps=self.eps)
        matrix = self._matrix(weight)
        if self.training and random.state.replay is None:  # run again in backward, they have moved already
            self._iterate(matrix.detach(), self.iterations)
        u, v = self.u.copy(), self.v.copy()  # a later use moves them, and backward reads these
        return weight / sum(u * matmul(matrix, v))

    def right_inverse(self, value: Tensor) -> Tensor:
        return value


def spectral_norm(
    module: Module, name: str = "weight", n_power_iterations: int = 1, eps: float = 1e-12, dim: int = 0
) -> Module:
    """A weight divided by its largest singular value (Miyato et al. 2018). Returns the module.

    n_power_iterations  steps towards it at each use in training
    dim                 the axis that is the rows of the matrix: 1 for transposed convolutions (PyTorch chooses it by
                        the layer, here it is to be given)

    The weight itself is parametrizations.<name>.original. The vectors u and v are buffers, parametrizations.<name>.0.u
    and v (PyTorch's _u and _v), and drawn from the seed.
    """
    weight = getattr(module, name, None)
    if not isinstance(weight, Tensor):
        raise ValueError(f"{type(module).__name__} has no parameter {name!r} with a shape")
    step = _SpectralNorm(weight.detach(), n_power_iterations, dim, eps, random.next_name("spectral_norm"))
    return register_parametrization(module, name, step)
