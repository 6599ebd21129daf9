"""torch.distributed with gloo, PyTorch's library for CPUs."""

import os

import torch
import torch.distributed as dist
from serve import Case, serve

torch.set_num_threads(1)


def make(verb, count, dtype):
    n, kind = dist.get_world_size(), getattr(torch, dtype)
    x = torch.zeros(count // n if verb == "allgather" else count, dtype=kind)
    shorter = count // n if verb == "reduce_scatter" else count
    out = x if verb in ("allreduce", "broadcast") else torch.zeros(shorter, dtype=kind)
    calls = {
        "allreduce": lambda: dist.all_reduce(x),
        "broadcast": lambda: dist.broadcast(x, 0),
        "allgather": lambda: dist.all_gather_into_tensor(out, x),
        "reduce_scatter": lambda: dist.reduce_scatter_tensor(out, x),
        "alltoall": lambda: dist.all_to_all_single(out, x),
    }
    calls[verb]()  # what gloo does not have raises here
    return Case(lambda values: x.copy_(torch.from_numpy(values)), calls[verb], lambda: out.float().numpy())


dist.init_process_group("gloo")
serve(f"torch {torch.__version__}", {"gloo": make}, int(os.environ["RANK"]), dist.get_world_size(), dist.barrier)
dist.destroy_process_group()
