"""MLX's ring over TCP. It has allreduce and allgather, not in place."""

import mlx.core as mx
import numpy as np
from serve import Case, serve

group = mx.distributed.init(backend="ring", strict=True)


def make(verb, count, dtype):
    if verb not in ("allreduce", "allgather"):
        raise NotImplementedError(f"MLX has no {verb} on a ring")
    kind = getattr(mx, dtype)
    held = {"x": mx.zeros(count // group.size() if verb == "allgather" else count, dtype=kind), "out": None}
    reduce = mx.distributed.all_sum if verb == "allreduce" else mx.distributed.all_gather
    mx.eval(held["x"])

    def fill(values):
        held["x"] = mx.array(np.broadcast_to(values, held["x"].shape).copy()).astype(kind)
        mx.eval(held["x"])

    def call():
        held["out"] = reduce(held["x"])
        mx.eval(held["out"])

    return Case(fill, call, lambda: np.array(held["out"].astype(mx.float32)))


def barrier():
    mx.eval(mx.distributed.all_sum(mx.ones(1)))


serve(f"mlx {mx.__version__}", {"mlx": make}, group.rank(), group.size(), barrier)
