"""Collective communication of NumPy and CuPy arrays: one program, many processes, the same call in each.

    import collectives as c
    c.init()
    mean = c.allreduce(array)

The verbs of this module are those of `c.world`, the group of all ranks.
"""

from .errors import CollectiveError, MismatchError, PeerFailedError, StallError
from .group import Group, world
from .ledger import Stats
from .progress import Handle
from .reduce import Op
from .runtime import (
    cross_rank,
    cross_size,
    empty,
    init,
    is_initialized,
    local_rank,
    local_size,
    rank,
    shutdown,
    size,
    start_timeline,
    stop_timeline,
)
from .timeline import timeline_range

Average, Sum, Min, Max, Product = Op.Average, Op.Sum, Op.Min, Op.Max, Op.Product

allreduce = world.allreduce
allreduce_ = world.allreduce_
allreduce_async = world.allreduce_async
allreduce_async_ = world.allreduce_async_
grouped_allreduce = world.grouped_allreduce
grouped_allreduce_ = world.grouped_allreduce_
grouped_allreduce_async = world.grouped_allreduce_async
grouped_allreduce_async_ = world.grouped_allreduce_async_
reduce_scatter = world.reduce_scatter
reduce_scatter_async = world.reduce_scatter_async
allgather = world.allgather
allgather_async = world.allgather_async
allgather_into = world.allgather_into
broadcast = world.broadcast
broadcast_ = world.broadcast_
broadcast_async = world.broadcast_async
broadcast_async_ = world.broadcast_async_
alltoall = world.alltoall
alltoall_async = world.alltoall_async
gather = world.gather
scatter = world.scatter
send = world.send
recv = world.recv
barrier = world.barrier
join = world.join
stats = world.stats
broadcast_object = world.broadcast_object
allgather_object = world.allgather_object

__all__ = [
    "Average",
    "CollectiveError",
    "Group",
    "Handle",
    "Max",
    "Min",
    "MismatchError",
    "Op",
    "PeerFailedError",
    "Product",
    "StallError",
    "Stats",
    "Sum",
    "allgather",
    "allgather_async",
    "allgather_into",
    "allgather_object",
    "allreduce",
    "allreduce_",
    "allreduce_async",
    "allreduce_async_",
    "alltoall",
    "alltoall_async",
    "barrier",
    "broadcast",
    "broadcast_",
    "broadcast_async",
    "broadcast_async_",
    "broadcast_object",
    "cross_rank",
    "cross_size",
    "empty",
    "gather",
    "grouped_allreduce",
    "grouped_allreduce_",
    "grouped_allreduce_async",
    "grouped_allreduce_async_",
    "init",
    "is_initialized",
    "join",
    "local_rank",
    "local_size",
    "rank",
    "recv",
    "reduce_scatter",
    "reduce_scatter_async",
    "scatter",
    "send",
    "shutdown",
    "size",
    "start_timeline",
    "stats",
    "stop_timeline",
    "timeline_range",
    "world",
]
