"""An MPI library's own collectives, through mpi4py's buffers; by itself, those of another MPI than ringtrain's."""

import numpy as np
from mpi4py import MPI
from serve import Case, serve


def made(comm):
    def make(verb, count, dtype):
        if dtype not in ("float32", "float64"):
            raise NotImplementedError(f"MPI has no sum of {dtype}")
        n = comm.Get_size()
        x = np.empty(count // n if verb == "allgather" else count, dtype)
        shorter = count // n if verb == "reduce_scatter" else count
        out = x if verb in ("allreduce", "broadcast") else np.empty(shorter, dtype)
        calls = {
            "allreduce": lambda: comm.Allreduce(MPI.IN_PLACE, x),
            "broadcast": lambda: comm.Bcast(x, 0),
            "allgather": lambda: comm.Allgather(x, out),
            "reduce_scatter": lambda: comm.Reduce_scatter_block(x, out),
            "alltoall": lambda: comm.Alltoall(x, out),
        }
        return Case(lambda values: np.copyto(x, values), calls[verb], lambda: out)

    return make


if __name__ == "__main__":
    comm = MPI.COMM_WORLD
    version = "MPICH" if "MPICH" in MPI.Get_library_version() else MPI.Get_library_version().split(",")[0]
    serve(version, {"mpich": made(comm)}, comm.Get_rank(), comm.Get_size(), comm.Barrier)
