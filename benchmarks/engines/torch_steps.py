"""PyTorch's side of training_step.py."""

import os

import torch
from networks import IMAGES, SEQUENCES, network
from serve import serve
from torch import nn

torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))
LINKS = 1000


def tape(backward):
    w = torch.ones(2, 2, requires_grad=True)
    head = torch.ones(2, 2)

    def step():
        y = w
        for _ in range(LINKS // 2):
            y = y * w
            y = y + w
        if backward:
            y.backward(head)
            w.grad = None
        return 0.0

    return step, {"parameters": w.numel()}


def make(work):
    if work.startswith("tape"):
        return tape(work == "tape-forward-backward")
    torch.manual_seed(0)
    net = network(nn, nn.functional.scaled_dot_product_attention, torch.arange(128), work)
    if work in SEQUENCES:
        shape = SEQUENCES[work]
        data = [(torch.randint(0, 256, shape), torch.randint(0, 256, shape).reshape(-1)) for _ in range(4)]
        optimizer = torch.optim.AdamW(net.parameters(), lr=3e-4, fused=True)
    else:
        shape = IMAGES[work]
        data = [(torch.rand(shape), torch.randint(0, 10, (shape[0],))) for _ in range(4)]
        optimizer = torch.optim.Adam(net.parameters(), lr=1e-3, fused=True)
        if work == "resnet20":
            optimizer = torch.optim.SGD(net.parameters(), lr=0.1, momentum=0.9, fused=True)
    count = 0

    def step():
        nonlocal count
        x, y = data[count % 4]
        count += 1
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(net(x), y)
        loss.backward()
        optimizer.step()
        return loss.item()

    return step, {"parameters": sum(p.numel() for p in net.parameters())}


if __name__ == "__main__":
    serve("torch", torch.__version__, make)
