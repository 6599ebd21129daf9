"""What CuPy offers, as a table of text: `python tests/stand_in/names.py > tests/stand_in/cupy.txt`.

To be run in an environment that has CuPy, SciPy and ml_dtypes; no GPU is needed. Each line is a name, then "ufunc" and
the loops that it has for numbers that are not complex (NumPy's characters; E is bfloat16), or the parameters of a
function or of an array's method. `x.` is cupyx, `special.` is cupyx.scipy.special.
"""

import inspect
import re

OWNERS = {"": "cupy", "linalg.": "cupy.linalg", "x.": "cupyx", "special.": "cupyx.scipy.special"}


def loops(ufunc):
    return " ".join(types for types in ufunc.types if not set(types) & set("FDG"))


def described(cupy, function):
    if isinstance(function, cupy.ufunc):
        return f"ufunc {loops(function)}"
    return re.sub(r"<[^>]*>", "None", str(inspect.signature(function)))  # a default that no source text gives


def public(owner):
    return [(name, getattr(owner, name)) for name in sorted(dir(owner)) if not name.startswith("_")]


def lines():
    import importlib

    import cupy
    from cupy._sorting.search import _where_ufunc

    yield f"# CuPy {cupy.__version__}"
    for prefix, module in OWNERS.items():
        for name, value in public(importlib.import_module(module)):
            if callable(value) and not isinstance(value, type) and (prefix, name) != ("", "where"):
                try:
                    yield f"{prefix}{name} {described(cupy, value)}"
                except ValueError:  # a compiled function without a signature
                    continue
    yield f"where ufunc {loops(_where_ufunc)}"
    for name, value in public(cupy.ndarray):
        found = re.match(r"\w+\.\w+(\(self.*?\))( ->|$)", (getattr(value, "__doc__", None) or "").split("\n")[0])
        if callable(value) and found:
            yield f"ndarray.{name} {re.sub(r'(int|Py_ssize_t|_ndarray_base) (?=[a-z])', '', found[1])}"


if __name__ == "__main__":
    print(*lines(), sep="\n")
