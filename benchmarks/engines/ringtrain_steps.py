"""ringtrain's side of training_step.py."""

import numpy as np
from networks import IMAGES, SEQUENCES, network
from products import timed
from serve import serve

import ringtrain as rt
from ringtrain import nn

LINKS = 1000


def tape(backward):
    w = rt.tensor([[1.0, 1.0], [1.0, 1.0]], requires_grad=True)
    head = np.ones((2, 2), np.float32)

    def step():
        y = w
        for _ in range(LINKS // 2):
            y = y * w
            y = y + w
        if backward:
            y.backward(head)
            w.grad = None
        return 0.0

    return step, {"parameters": w.size}


def make(work):
    if work.startswith("tape"):
        return tape(work == "tape-forward-backward")
    work, products = work.removesuffix(" products"), work.endswith(" products")
    rt.seed(0)
    rng = np.random.default_rng(100)
    net = network(nn, nn.scaled_dot_product_attention, rt.arange(128), work)
    if products:
        dtype = "int64" if work in SEQUENCES else "float32"
        return timed(net.to("meta"), rt.zeros((SEQUENCES | IMAGES)[work], dtype=dtype, device="meta"))
    if work in SEQUENCES:
        x, y = rng.integers(0, 256, (2, 4, *SEQUENCES[work]))
        data = [(rt.from_numpy(x[i]), rt.from_numpy(y[i].reshape(-1))) for i in range(4)]
        optimizer = rt.optim.AdamW(net.parameters(), lr=3e-4)
    else:
        shape = IMAGES[work]
        x, y = rng.random((4, *shape), np.float32), rng.integers(0, 10, (4, shape[0]))
        data = [(rt.from_numpy(x[i]), rt.from_numpy(y[i])) for i in range(4)]
        optimizer = rt.optim.Adam(net.parameters(), lr=1e-3)
        if work == "resnet20":
            optimizer = rt.optim.SGD(net.parameters(), lr=0.1, momentum=0.9)
    count = 0

    def step():
        nonlocal count
        x, y = data[count % 4]
        count += 1
        optimizer.zero_grad()
        loss = nn.cross_entropy(net(x), y)
        loss.backward()
        optimizer.step()
        return loss.item()

    return step, {"parameters": sum(p.size for p in net.parameters())}


if __name__ == "__main__":
    serve("ringtrain", rt.__version__, make)
