"""The stand-in is as strict as CuPy: where it were not, nothing that runs on it would show anything."""

import ml_dtypes
import numpy as np
import pytest

from . import modules
from .arrays import Device, ndarray, traffic
from .modules import cupy, cupyx

ONES = np.ones(3, np.float32)


def there(values, dtype=None):
    return cupy.asarray(np.asarray(values), dtype)


REFUSED = [
    (lambda x: x + ONES, TypeError, "Unsupported type <class 'numpy.ndarray'>"),
    (lambda x: ONES * x, TypeError, "Unsupported type"),
    (lambda x: np.maximum(x, ONES), TypeError, "Unsupported type"),
    (lambda x: np.asarray(x), TypeError, "Implicit conversion"),
    (lambda x: ONES.__setitem__(slice(None), x), TypeError, "Implicit conversion"),
    (lambda x: x.__setitem__(slice(1, 3), ONES[:2]), ValueError, "non-scalar numpy.ndarray"),
    (lambda x: x.__setitem__(there([0, 0]), there([1.0, 2.0])), AssertionError, "to one place"),
    (lambda x: x.max(initial=0), TypeError, "unexpected keyword"),
    (lambda x: x.sum(where=x > 0), TypeError, "unexpected keyword"),
    (lambda x: cupy.add(x, x, where=x > 0), TypeError, "unexpected keyword"),
    (lambda x: cupy.concatenate([x, ONES]), TypeError, "Only cupy arrays"),
    (lambda x: cupy.sum([1, 2]), TypeError, "wants a cupy.ndarray"),
    (lambda x: cupy.lexsort_of_arrays(x), AttributeError, "no attribute"),
    (lambda x: cupy.errstate, AttributeError, "errstate"),
    (lambda x: x.astype(object), ValueError, "Unsupported dtype"),
    (lambda x: cupyx.scatter_max(x.astype("f2"), there([0]), 1), TypeError, "does not support float16"),
    (lambda x: cupy.argsort(x.astype(ml_dtypes.bfloat16)), TypeError, "bfloat16"),
    (lambda x: cupy.linalg.solve(there(np.eye(2)), there(np.ones((3, 2, 1)))), ValueError, "must have"),
]


@pytest.mark.parametrize(("use", "kind", "message"), REFUSED, ids=range(len(REFUSED)))
def test_it_refuses_what_cupy_refuses(use, kind, message):
    with pytest.raises(kind, match=message):
        use(there([1.0, 2.0, 3.0], "f4"))


def test_what_differs_from_numpy_without_an_error():
    x = there([1.0, 2.0, 3.0])
    assert x[there([3, -4])].tolist() == [1, 3]  # indices wrap round
    assert type(x.sum()) is ndarray and type(x[0]) is ndarray and x[0].base is x
    assert np.isnan(cupy.linalg.inv(there(np.zeros((2, 2)))).get()).all()
    with pytest.raises(np.linalg.LinAlgError), cupyx.errstate(linalg="raise"):
        cupy.linalg.inv(there(np.zeros((2, 2))))
    assert (x.astype("f4") * 2.0).dtype == np.float32
    assert (x.astype("i4") * 2.0).dtype == np.float64
    assert cupy.where(x > 1, x.astype(ml_dtypes.bfloat16), x.astype(ml_dtypes.bfloat16)).dtype == np.float32


def test_a_gpu_computes_on_its_own_arrays():
    with Device(1):
        x = there([1.0])
    with pytest.raises(ValueError, match="different from the current"):
        x + 1
    with Device(1):
        assert (x + 1).device == Device(1)


def test_reading_is_counted():
    x, before = there([1.0, 2.0]), traffic["read"]
    assert bool((x * 2 > 1).all()) and float(x[0]) == 1 and x.get().tolist() == [1, 2]
    assert traffic["read"] == before + 3


def test_the_table_is_whole():
    with modules.installed():
        from cupy import linalg

        assert callable(linalg.svd) and callable(cupy.take_along_axis) and not hasattr(cupy, "bincount_of")
