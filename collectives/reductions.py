"""The verbs that reduce: allreduce, of one array or of many, and reduce-scatter."""

from collections.abc import Sequence
from contextlib import suppress
from functools import partial
from typing import Any

import numpy as np

from . import joining, verbs
from .errors import MismatchError
from .header import REMEMBERED, Repeat
from .membership import Membership
from .progress import Handle
from .reduce import Op
from .shared_plan import DONE
from .timeline import timeline


class Reductions(Membership):
    """What a `Group` can reduce."""

    def allreduce(
        self, x: Any, op: Op = Op.Average, *, name: str | None = None, prescale: float = 1.0, postscale: float = 1.0
    ) -> np.ndarray:
        """postscale * op(prescale * x over the ranks): a new array of the shape and dtype of x.

        dtypes: float16, bfloat16, float32, float64, integers (not Average), bool (Min, Max).
        Sixteen-bit floats are combined in float32 and rounded once.
        """
        return self._run("allreduce", verbs.allreduce, self.size, x, op, name, prescale, postscale, False)

    def allreduce_(
        self,
        x: np.ndarray,
        op: Op = Op.Average,
        *,
        name: str | None = None,
        prescale: float = 1.0,
        postscale: float = 1.0,
    ) -> np.ndarray:
        """`allreduce` in place; returns x. A C-contiguous x is reduced without a copy."""
        # For small arrays on one host, checking arguments and describing the call takes several times
        # as long as the data: what came of it is kept, and one compiled call does the rest.
        try:
            known = self._repeats.get((x.dtype, x.shape, op, name, prescale, postscale))
        except (AttributeError, TypeError):  # no array, or an argument that cannot be compared quickly
            known = None
        progress = self._progress
        if (
            known is not None
            and type(x) is np.ndarray
            and x.flags.carray
            and not progress.unfinished
            and not timeline.active
        ):
            progress.turn.acquire()  # with `with`, a tenth of a small call's time
            try:
                if self._failure is not None:  # since this thread began to wait for its turn
                    self._refuse(known.call, self._failure)
                found = known.kernel(known.address, known.fingerprint, id(x))
                if found != DONE:
                    self._complete(known, found, x, op, name, prescale, postscale)
            except BaseException as error:  # a signal's, perhaps, between the call's beginning and its end
                self._broken_off(known.call, error)
                raise
            finally:
                progress.turn.release()
            return x
        return self._reduce_in_place(x, op, name, prescale, postscale)

    def allreduce_async(
        self, x: Any, op: Op = Op.Average, *, name: str | None = None, prescale: float = 1.0, postscale: float = 1.0
    ) -> Handle:
        """`allreduce` in the background; x may be changed at once."""
        return self._submit("allreduce", verbs.allreduce, self.size, x, op, name, prescale, postscale, False)

    def allreduce_async_(
        self,
        x: np.ndarray,
        op: Op = Op.Average,
        *,
        name: str | None = None,
        prescale: float = 1.0,
        postscale: float = 1.0,
    ) -> Handle:
        """`allreduce_` in the background; x must not be touched until the handle has been waited for."""
        return self._submit("allreduce", verbs.allreduce, self.size, x, op, name, prescale, postscale, True)

    def grouped_allreduce(
        self,
        xs: Sequence[Any],
        op: Op = Op.Average,
        *,
        name: str | None = None,
        prescale: float = 1.0,
        postscale: float = 1.0,
    ) -> list[np.ndarray]:
        """`allreduce` of many arrays as one operation: one header, one message a dtype."""
        return self._run(
            "grouped_allreduce", verbs.grouped_allreduce, self.size, xs, op, name, prescale, postscale, False
        )

    def grouped_allreduce_(
        self,
        xs: Sequence[np.ndarray],
        op: Op = Op.Average,
        *,
        name: str | None = None,
        prescale: float = 1.0,
        postscale: float = 1.0,
    ) -> list[np.ndarray]:
        """`grouped_allreduce` whose results replace the arrays; returns them."""
        return self._run(
            "grouped_allreduce", verbs.grouped_allreduce, self.size, xs, op, name, prescale, postscale, True
        )

    def grouped_allreduce_async(
        self,
        xs: Sequence[Any],
        op: Op = Op.Average,
        *,
        name: str | None = None,
        prescale: float = 1.0,
        postscale: float = 1.0,
    ) -> Handle:
        """`grouped_allreduce` in the background."""
        return self._submit(
            "grouped_allreduce", verbs.grouped_allreduce, self.size, xs, op, name, prescale, postscale, False
        )

    def grouped_allreduce_async_(
        self,
        xs: Sequence[np.ndarray],
        op: Op = Op.Average,
        *,
        name: str | None = None,
        prescale: float = 1.0,
        postscale: float = 1.0,
    ) -> Handle:
        """`grouped_allreduce_` in the background."""
        return self._submit(
            "grouped_allreduce", verbs.grouped_allreduce, self.size, xs, op, name, prescale, postscale, True
        )

    def reduce_scatter(
        self, x: Any, op: Op = Op.Average, *, name: str | None = None, prescale: float = 1.0, postscale: float = 1.0
    ) -> np.ndarray:
        """This rank's rows of `allreduce(x)`: the first axis is divided, and the first ranks get one more."""
        return self._run("reduce_scatter", verbs.reduce_scatter, self.size, x, op, name, prescale, postscale)

    def reduce_scatter_async(
        self, x: Any, op: Op = Op.Average, *, name: str | None = None, prescale: float = 1.0, postscale: float = 1.0
    ) -> Handle:
        """`reduce_scatter` in the background; x may be changed at once."""
        copied = verbs.snapshot(x)
        return self._submit("reduce_scatter", verbs.reduce_scatter, self.size, copied, op, name, prescale, postscale)

    # -- allreduce_ made again -------------------------------------------------------------------

    def _reduce_in_place(self, x: Any, *how: Any) -> Any:
        """allreduce_, ready to cost little when it is called again with an array of this kind."""
        self._here("allreduce")
        work = self._work("allreduce", verbs.allreduce, (self.size, x, *how, True))
        result = self._progress.run(work.call, partial(self._perform, work))
        if type(x) is np.ndarray and self._agreement is not None:
            repeat = self._agreement.repeat(work.call, work.offer)
            if repeat is not None:
                if len(self._repeats) >= REMEMBERED:
                    self._repeats.clear()
                with suppress(TypeError):  # a scale that is an array is no key
                    self._repeats[x.dtype, x.shape, *how] = repeat
        return result

    def _complete(self, known: Repeat, found: int, x: np.ndarray, *how: Any) -> None:
        """What is left to do of a call made again: all of it but the common case."""

        def action() -> None:
            common = known.complete(found, x)
            if common is not None:
                op, name, prescale, postscale = how
                work = verbs.allreduce(self.size, x, op, name, prescale, postscale, True)
                joining.adapted(work, common, self.ranks, known.agreement.live).move(known.link)

        self._booked(known.call, x.nbytes, action)

    def _broken_off(self, label: object, error: BaseException) -> None:
        """Note an error with which a call made again ends, unless it is known or has left nothing under way."""
        if not self._failure and not isinstance(error, MismatchError):
            self._fail(f"{label}: {type(error).__name__}: {error}", error)
