"""collectives, on arrays of its own and on ordinary ones; the same MPI's own collectives; and copying, in one job."""

import re

import ml_dtypes  # noqa: F401  (makes bfloat16 a dtype by name)
import numpy as np
from mpi4py import MPI
from mpi_ranks import made as mpi
from serve import Case, serve

import collectives as c


def made(empty):
    """Contestant with arrays from `empty`."""

    def make(verb, count, dtype):
        n, dtype = c.size(), np.dtype(dtype)
        x = empty(count // n if verb == "allgather" else count, dtype)
        out = empty(count, dtype) if verb == "allgather" else x
        results = [out]

        def keep(result):
            results[0] = result

        calls = {
            "allreduce": lambda: c.allreduce_(x, c.Sum),
            "broadcast": lambda: c.broadcast_(x, 0),
            "allgather": lambda: c.allgather_into(out, x),
            "reduce_scatter": lambda: keep(c.reduce_scatter(x, c.Sum)),
            "alltoall": lambda: keep(c.alltoall(x)),
        }
        return Case(lambda values: np.copyto(x, values.astype(dtype)), calls[verb], lambda: results[0])

    return make


def copying(ranks, in_place=False):
    """The memory's own speed: so many ranks at once read and write the size of the array.

    A copy also fetches the lines that it is going to overwrite, which an allreduce in place has read already: what that
    needs at least is what rewriting an array in place takes. For the check there is the collective's own result.
    """

    def make(verb, count, dtype):
        if verb != "allreduce":
            raise NotImplementedError("compared with allreduce only")
        source, target = np.ones(count, dtype), np.ones(count, dtype)  # zeros would be one page, never written
        right = made(np.empty)(verb, count, dtype)

        def call():
            if c.rank() < ranks:
                np.negative(source, out=source) if in_place else np.copyto(target, source)

        def result():
            right.call()
            return right.result()

        return Case(right.fill, call, result)

    return make


c.init()
CONTESTANTS = {"empty": made(c.empty), "plain": made(np.empty), "mpi": mpi(MPI.COMM_WORLD.Dup())}
CONTESTANTS |= {"copy": copying(c.size()), "copy 1": copying(1), "rewrite": copying(c.size(), in_place=True)}
VERSION = " ".join(re.split(r"[,\n]", MPI.Get_library_version())[0].strip("\0 ").split())
serve(VERSION, CONTESTANTS, c.rank(), c.size(), c.barrier)
c.shutdown()
