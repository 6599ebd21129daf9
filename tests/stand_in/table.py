"""The table of what CuPy offers, `cupy.txt` (made by `names.py`), as loops and signatures."""

import inspect
from pathlib import Path

import ml_dtypes
import numpy as np

BFLOAT16 = np.dtype(ml_dtypes.bfloat16)
DTYPES = {np.dtype(character) for character in "?bBhHiIlLqQefdFD"} | {BFLOAT16}


def _dtypes(characters):
    return tuple(BFLOAT16 if c == "E" else np.dtype(c) for c in characters)


def _loop(types):
    given, made = types.split("->")
    return _dtypes(given), _dtypes(made)


def _signature(text):
    names = {}
    exec(f"def function{text}: pass", names)
    return inspect.signature(names["function"])


def _rows():
    for line in (Path(__file__).parent / "cupy.txt").read_text().splitlines():
        if not line.startswith("#"):
            yield line.split(" ", 1)


ROWS = dict(_rows())
LOOPS = {name: [_loop(types) for types in text.split()[1:]] for name, text in ROWS.items() if text.startswith("ufunc ")}
SIGNATURES = {name: _signature(text) for name, text in ROWS.items() if not text.startswith("ufunc")}
