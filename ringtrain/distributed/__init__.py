"""Data-parallel training, in Horovod's terms."""

from collectives import (
    Average,
    CollectiveError,
    Max,
    Min,
    MismatchError,
    PeerFailedError,
    Product,
    StallError,
    Sum,
    allgather_object,
    barrier,
    broadcast_object,
    cross_rank,
    cross_size,
    is_initialized,
    join,
    local_rank,
    local_size,
    rank,
    size,
)

from .ops import (
    allgather,
    allreduce,
    allreduce_,
    allreduce_async,
    allreduce_async_,
    broadcast,
    broadcast_,
    grouped_allreduce,
    reducescatter,
)
from .optimizer import DistributedOptimizer
from .state import broadcast_optimizer_state, broadcast_parameters, merge_metrics
from .sync_norm import SyncBatchNorm, convert_sync_batchnorm
from .world import init, shutdown
