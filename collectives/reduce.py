"""What is computed while bytes move: the operations, their scales, and in which precision.

An average is a sum divided by the number of ranks, once, after the last addition. Sixteen-bit
floats are widened to float32, combined there, scaled there and rounded once at the end, so that
neither the number of ranks nor an intermediate overflow costs precision.
"""

from dataclasses import dataclass
from enum import Enum

import ml_dtypes
import numpy as np

BFLOAT16 = np.dtype(ml_dtypes.bfloat16)
FLOAT16 = np.dtype(np.float16)
FLOATS = frozenset([FLOAT16, BFLOAT16, np.dtype(np.float32), np.dtype(np.float64)])


class Op(Enum):
    """How an allreduce combines the values of the ranks."""

    Average = "Average"
    Sum = "Sum"
    Min = "Min"
    Max = "Max"
    Product = "Product"

    # Members are single objects, so identity is a valid hash; Enum's own costs a Python call.
    __hash__ = object.__hash__

    def __repr__(self) -> str:
        return self.value


UFUNC = {
    Op.Average: np.add,
    Op.Sum: np.add,
    Op.Min: np.minimum,
    Op.Max: np.maximum,
    Op.Product: np.multiply,
}


def is_wide(dtype: np.dtype) -> bool:
    """Whether values of this dtype are combined in float32 instead of their own precision."""
    return dtype in (FLOAT16, BFLOAT16)


def check(dtype: np.dtype, op: Op, prescale: float, postscale: float) -> None:
    """Raise TypeError or ValueError, with the remedy, for what cannot be reduced."""
    if not isinstance(op, Op):
        raise TypeError(f"op={op!r} is not an operation: pass Average, Sum, Min, Max or Product")
    if dtype in FLOATS:
        return
    if not dtype.isnative:
        raise TypeError(f"{dtype.str} is not in this machine's byte order: x.astype({dtype.name!r}) is")
    if dtype == np.bool_:
        if op not in (Op.Min, Op.Max):
            raise TypeError(f"{op!r} of bool is not defined: use Max for any, Min for all, or integers")
    elif dtype.kind in "iu":
        if op is Op.Average:
            raise TypeError(
                f"Average of {dtype} would have to round: use op=Sum and divide, or convert to a float dtype"
            )
    else:
        raise TypeError(f"{dtype} cannot be reduced: convert to a float of 16, 32 or 64 bits, an integer dtype or bool")
    if dtype.kind in "iub" and (prescale != 1 or postscale != 1):
        raise ValueError(f"prescale={prescale}, postscale={postscale} of {dtype}: scales need a float dtype")


@dataclass(slots=True)
class Reduction:
    """One operation with its scales, over `size` ranks: postscale * op(prescale * x of each rank)."""

    op: Op
    size: int
    prescale: float = 1.0
    postscale: float = 1.0

    @property
    def ufunc(self) -> np.ufunc:
        return UFUNC[self.op]

    def prepare(self, own: np.ndarray) -> None:
        """What a rank does to its own values before they meet others."""
        if self.prescale != 1:
            with np.errstate(all="ignore"):
                own *= self.prescale

    def accumulate(self, into: np.ndarray, other: np.ndarray) -> None:
        """Combine `other` into `into`. Overflow follows IEEE or wraps, and does not warn."""
        with np.errstate(all="ignore"):
            UFUNC[self.op](into, other, out=into)

    def finish(self, total: np.ndarray) -> None:
        """What happens once to values that hold the contribution of every rank."""
        divisor = self.size if self.op is Op.Average else 1
        if self.postscale == 1 and divisor == 1:
            return
        with np.errstate(all="ignore"):
            if self.postscale != 1:
                total *= self.postscale
            if divisor != 1:
                total /= divisor

    def widen(self, own: np.ndarray) -> np.ndarray:
        """Float32 values, prescaled, of a 16-bit array: what `accumulate` takes for those dtypes."""
        wide = own.astype(np.float32)
        self.prepare(wide)
        return wide

    def narrow(self, total: np.ndarray, out: np.ndarray) -> None:
        """Finish float32 totals and round them, once, into a 16-bit array."""
        self.finish(total)
        with np.errstate(all="ignore"):
            out[...] = total
