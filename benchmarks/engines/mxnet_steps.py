"""MXNet's side of training_step.py: Gluon, hybridized with static allocation."""

import mxnet as mx
import numpy as np
from mxnet import autograd, gluon
from mxnet.gluon import nn
from serve import serve

LINKS = 1000


def network(work):
    net = nn.HybridSequential()
    if work == "mlp":
        net.add(nn.Dense(128, activation="relu"), nn.Dense(128, activation="relu"), nn.Dense(10))
    elif work == "cnn":
        net.add(nn.Conv2D(32, 3, strides=2, activation="relu"), nn.Conv2D(64, 3, strides=2, activation="relu"))
        net.add(nn.Dense(128, activation="relu"), nn.Dense(10))
    else:
        net.add(nn.Conv2D(32, 5, padding=2, activation="relu"), nn.MaxPool2D(2))
        net.add(nn.Conv2D(64, 5, padding=2, activation="relu"), nn.MaxPool2D(2))
        net.add(nn.Dense(512, activation="relu"), nn.Dense(10))
    net.initialize(mx.init.Xavier())
    net.hybridize(static_alloc=True, static_shape=True)
    return net


def tape(backward):
    w = mx.nd.ones((2, 2))
    w.attach_grad()

    def step():
        with autograd.record():
            y = w
            for _ in range(LINKS // 2):
                y = y * w
                y = y + w
        if backward:
            y.backward()
            w.grad.wait_to_read()
        y.wait_to_read()
        return 0.0

    return step, {"parameters": w.size}


def make(work):
    if work not in ("mlp", "cnn", "lenet", "tape-forward", "tape-forward-backward"):
        raise NotImplementedError("Gluon has no such network here")
    if work.startswith("tape"):
        return tape(work == "tape-forward-backward")
    rng = np.random.RandomState(100)
    net = network(work)
    shape = (128, 784) if work == "mlp" else (128, 1, 28, 28)
    data = [
        (mx.nd.array(rng.rand(*shape).astype("f4")), mx.nd.array(rng.randint(0, 10, 128).astype("f4")))
        for _ in range(4)
    ]
    mx.nd.waitall()
    trainer = gluon.Trainer(net.collect_params(), "adam", {"learning_rate": 1e-3}, kvstore=None)
    loss_of = gluon.loss.SoftmaxCrossEntropyLoss()
    count = 0

    def step():
        nonlocal count
        x, y = data[count % 4]
        count += 1
        with autograd.record():
            loss = loss_of(net(x), y)
        loss.backward()
        trainer.step(128)
        return float(loss.mean().asscalar())

    net(data[0][0])  # parameters get their shapes
    return step, {"parameters": sum(p.data().size for p in net.collect_params().values())}


if __name__ == "__main__":
    serve("mxnet", mx.__version__, make)
