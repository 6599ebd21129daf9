"""The rules of the house that a machine can check: imports go down only, and the packages stand apart."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

# A room may import rooms of a lower floor, and its own.
FLOORS = [
    ["backend", "dtypes", "errors"],
    ["random", "modes"],
    ["autograd", "plan", "tensor", "leaf", "backward"],
    ["ops", "gradcheck", "function", "linalg", "recompute", "watch", "anomaly"],
    ["nn", "optim", "data", "metrics", "profiler"],
    ["checkpoint", "distributed", "onnx", "parallel"],
    ["cli"],
]
LEVEL = {room: floor for floor, rooms in enumerate(FLOORS) for room in rooms}
MAY_COMMUNICATE = {"distributed", "parallel", "cli", "__init__"}


def imported(path: Path, package: Path) -> set[str]:
    """Absolute names of every module that a file imports, at any depth of the file."""
    here = list(path.relative_to(package.parent).with_suffix("").parts)
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = here[: len(here) - node.level] if node.level else []
            module = ".".join(base + ([node.module] if node.module else []))
            names |= {f"{module}.{alias.name}" for alias in node.names}
    return names


def sources(package: str) -> list[Path]:
    return sorted((ROOT / package).rglob("*.py"))


@pytest.mark.parametrize("path", sources("collectives"), ids=lambda p: p.name)
def test_collectives_never_import_ringtrain(path):
    assert not [name for name in imported(path, ROOT / "collectives") if name.split(".")[0] == "ringtrain"]


@pytest.mark.parametrize("path", sources("ringtrain"), ids=lambda p: str(p.relative_to(ROOT)))
def test_imports_go_down_only(path):
    room = path.relative_to(ROOT / "ringtrain").with_suffix("").parts[0]
    for name in imported(path, ROOT / "ringtrain"):
        parts = name.split(".")
        if parts[0] == "collectives":
            assert room in MAY_COMMUNICATE, f"{path}: only {sorted(MAY_COMMUNICATE)} may import collectives"
        if parts[0] != "ringtrain" or len(parts) < 2 or room in ("__init__", "__main__"):
            continue
        assert parts[1] in LEVEL, f"{path} imports {name}: give the room {parts[1]!r} a floor in this test"
        assert LEVEL[parts[1]] <= LEVEL[room], f"{path} ({room}) imports {name}: imports go down only"
