"""PyTorch's side of optimizers.py: the fused implementation."""

import os

import torch
from optimizer_work import OPTIONS, arrays
from serve import serve

torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))


def make(work):
    values, gradients = arrays()
    params = [torch.nn.Parameter(torch.from_numpy(v)) for v in values]
    name, options = OPTIONS[work]
    optimizer = getattr(torch.optim, name)(params, fused=True, **options)
    for p, g in zip(params, gradients):  # noqa: B905
        p.grad = torch.from_numpy(g)

    def step():
        optimizer.step()
        return float(params[0].detach()[0, 0])

    return step, {"parameters": sum(p.numel() for p in params)}


if __name__ == "__main__":
    serve("torch", torch.__version__, make)
