"""PyTorch's side of training_step.py."""

import torch
from serve import serve
from torch import nn

torch.set_num_threads(1)
LINKS = 1000


def network(work):
    if work == "mlp":
        return nn.Sequential(nn.Linear(784, 128), nn.ReLU(), nn.Linear(128, 128), nn.ReLU(), nn.Linear(128, 10))
    if work == "cnn":
        return nn.Sequential(
            *[nn.Conv2d(1, 32, 3, 2), nn.ReLU(), nn.Conv2d(32, 64, 3, 2), nn.ReLU(), nn.Flatten()],
            *[nn.Linear(2304, 128), nn.ReLU(), nn.Linear(128, 10)],
        )
    return nn.Sequential(
        *[nn.Conv2d(1, 32, 5, padding=2), nn.ReLU(), nn.MaxPool2d(2)],
        *[nn.Conv2d(32, 64, 5, padding=2), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten()],
        *[nn.Linear(3136, 512), nn.ReLU(), nn.Linear(512, 10)],
    )


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

    return step


def make(work):
    if work.startswith("tape"):
        return tape(work == "tape-forward-backward")
    torch.manual_seed(0)
    net = network(work)
    shape = (128, 784) if work == "mlp" else (128, 1, 28, 28)
    data = [(torch.rand(shape), torch.randint(0, 10, (128,))) for _ in range(4)]
    optimizer = torch.optim.Adam(net.parameters(), lr=1e-3, fused=True)
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

    return step


if __name__ == "__main__":
    serve("torch", torch.__version__, make)
