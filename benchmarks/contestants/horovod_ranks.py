"""Horovod on MXNet arrays."""

import horovod
import horovod.mxnet as hvd
import mxnet as mx
from serve import Case, serve

hvd.init()


def make(verb, count, dtype):
    if dtype not in ("float32", "float64", "float16"):
        raise NotImplementedError(f"MXNet has no {dtype}")
    n = hvd.size()
    x = mx.nd.zeros(count // n if verb == "allgather" else count, dtype=dtype)
    held = {"out": x}
    name = f"{verb}.{count}.{dtype}"

    def kept(result):
        held["out"] = result
        result.wait_to_read()

    calls = {
        "allreduce": lambda: kept(hvd.allreduce_(x, average=False, name=name)),
        "broadcast": lambda: kept(hvd.broadcast_(x, 0, name=name)),
        "allgather": lambda: kept(hvd.allgather(x, name=name)),
        "alltoall": lambda: kept(hvd.alltoall(x, name=name)),
        "reduce_scatter": lambda: kept(hvd.reducescatter(x, op=hvd.Sum, name=name)),
    }
    if verb == "reduce_scatter" and not hasattr(hvd, "reducescatter"):
        raise NotImplementedError("this Horovod has no reducescatter on MXNet")

    def fill(values):
        x[:] = mx.nd.array(values, dtype=dtype) if values.size == x.size else float(values[0])
        x.wait_to_read()

    return Case(fill, calls[verb], lambda: held["out"].asnumpy())


def barrier():
    hvd.allreduce(mx.nd.zeros(1), name="barrier").wait_to_read()


serve(f"horovod {horovod.__version__}", {"horovod": make}, hvd.rank(), hvd.size(), barrier)
