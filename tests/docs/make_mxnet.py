"""Facts about MXNet 1.9.1 for the tests of the pages: its public names, its defaults, what its layers begin as and
what its losses give. Run with an interpreter that has it; the result is to be printed into the file beside this one:

    .peers/mxnet/bin/python tests/docs/make_mxnet.py > tests/docs/mxnet.json
"""

import inspect
import json
import re

import mxnet as mx
import numpy as np
from mxnet import autograd, gluon, nd

mx.random.seed(0)
NAMESPACES = {
    "": nd,
    "contrib": nd.contrib,
    "linalg": nd.linalg,
    "random": nd.random,
    "np": mx.np,
    "np.linalg": mx.np.linalg,
    "npx": mx.npx,
    "npx.random": mx.npx.random,
    "autograd": autograd,
    "test_utils": mx.test_utils,
    "random.": mx.random,
}
CLASSES = [gluon.nn, gluon.rnn, gluon.loss, mx.initializer, mx.lr_scheduler]
OPS = ["BatchNorm", "LRN", "LeakyReLU", "softmax", "log_softmax"]


def names():
    """Every public callable, as a user writes it after `mx.nd.`, or after `mx.` for other modules."""
    found = set()
    for path, module in NAMESPACES.items():
        prefix = path.rstrip(".")
        found |= {f"{prefix}.{n}".lstrip(".") for n in dir(module) if n[0] != "_" and callable(getattr(module, n))}
    return sorted(found)


def plain(value):
    return list(value) if isinstance(value, tuple) else value if isinstance(value, (int, float, str, list)) else None


def signatures():
    """{class: {parameter: default}}; one that must be given is "required", and None is also what JSON cannot hold."""
    found = {}
    for module in CLASSES:
        for name, kind in vars(module).items():
            if not inspect.isclass(kind) or name[0] == "_":
                continue
            parameters = list(inspect.signature(kind.__init__).parameters.values())[1:]
            found[name] = {
                p.name: "required" if p.default is p.empty else plain(p.default)
                for p in parameters
                if p.kind is p.POSITIONAL_OR_KEYWORD
            }
    for name in OPS:  # generated functions say their defaults in words
        lines = re.findall(r"^(\w+) : .*default=(\S+)", inspect.getdoc(getattr(nd, name)), re.MULTILINE)
        found[f"nd.{name}"] = {key: value.strip("'") for key, value in lines}
    return found


def optimizers():
    """The same of optimisers, with the learning rate that one begins with."""
    found = {}
    for name, kind in vars(mx.optimizer).items():
        if inspect.isclass(kind) and issubclass(kind, mx.optimizer.Optimizer) and name != "Test":
            parameters = list(inspect.signature(kind.__init__).parameters.values())[1:]
            given = {p.name: plain(p.default) for p in parameters if p.kind is p.POSITIONAL_OR_KEYWORD}
            found[name] = given | {"learning_rate": kind().learning_rate}
    return found


def values(array):
    return [round(float(v), 6) for v in array.asnumpy().reshape(-1)]


def spread(parameter):
    """The least and the largest element, and the standard deviation."""
    a = parameter.data().asnumpy()
    return [round(float(v), 3) for v in (a.min(), a.max(), a.std())]


def begun(block, *shapes):
    """A layer that has seen an input of ones."""
    block.initialize()
    block(*[nd.ones(s) for s in shapes])
    return {name[len(block.prefix) :]: p for name, p in block.collect_params().items()}


def weights():
    """What parameters are drawn from."""
    layers = {
        "Dense": begun(gluon.nn.Dense(300), (2, 400)),
        "Conv2D": begun(gluon.nn.Conv2D(60, 3), (2, 50, 5, 5)),
        "Embedding": begun(gluon.nn.Embedding(300, 400), (2, 3)),
        "LSTM": begun(gluon.rnn.LSTM(100), (2, 3, 90)),
        "PReLU": begun(gluon.nn.PReLU(), (2, 3)),
    }
    return {kind: {name: spread(p) for name, p in found.items()} for kind, found in layers.items()}


def ramp(*shape):
    """Numbers that can be made again anywhere: sin of 1, 2, 3, ..."""
    return nd.array(np.sin(np.arange(1, np.prod(shape) + 1)).reshape(shape))


def recurrent(block, x):
    block.initialize()
    block(x)
    for p in block.collect_params().values():
        p.set_data(ramp(*p.shape))
    return values(block(x))


def layers():
    """What layers give for `ramp`."""
    found = {}
    norm = gluon.nn.BatchNorm()
    norm.initialize()
    with autograd.record():
        y = norm(ramp(5, 2))
    found["BatchNorm running mean after forward"] = values(norm.running_mean.data())
    y.backward()
    found["BatchNorm running mean"] = values(norm.running_mean.data())
    found["BatchNorm running variance"] = values(norm.running_var.data())
    group = gluon.nn.GroupNorm(2)
    group.initialize()
    group(ramp(2, 4, 3))
    found["GroupNorm weight"] = list(group.gamma.shape)
    drop = gluon.nn.Dropout(0.5)
    with autograd.record():
        found["Dropout of ones"] = sorted(set(values(drop(nd.ones((40,))))))
    found["LSTM"] = recurrent(gluon.rnn.LSTM(2), ramp(3, 2, 4))
    found["GRU"] = recurrent(gluon.rnn.GRU(2), ramp(3, 2, 4))
    found["RNN"] = recurrent(gluon.rnn.RNN(2), ramp(3, 2, 4))
    found["GELU"] = values(gluon.nn.GELU()(ramp(6)))
    found["Swish"] = values(gluon.nn.Swish()(ramp(6)))
    found["SELU"] = values(gluon.nn.SELU()(ramp(6)))
    found["LRN"] = values(nd.LRN(ramp(1, 5, 2, 1), nsize=3, alpha=0.5, knorm=1))
    found["AvgPool1D padded"] = values(gluon.nn.AvgPool1D(3, 2, 1)(ramp(1, 1, 6)))
    found["MaxPool1D ceil"] = values(gluon.nn.MaxPool1D(2, 2, 1, ceil_mode=True)(ramp(1, 1, 5)))
    dense = gluon.nn.Dense(5)
    dense.initialize()
    found["Dense of (2, 3, 4)"] = list(dense(ramp(2, 3, 4)).shape)
    return found


def losses():
    """What losses give for `ramp(2, 3)` and labels made of it: one figure for each of the two samples."""
    x, other, third = ramp(2, 3), ramp(3, 2, 3)[1], ramp(3, 2, 3)[2]
    signs, chances = nd.sign(other), (other + 1) / 2
    classes = nd.array([2, 0])
    shares = nd.softmax(other)
    found = {
        "L1Loss": gluon.loss.L1Loss()(x, other),
        "L2Loss": gluon.loss.L2Loss()(x, other),
        "HuberLoss": gluon.loss.HuberLoss(rho=0.5)(x, other),
        "SoftmaxCrossEntropyLoss": gluon.loss.SoftmaxCrossEntropyLoss()(x, classes),
        "SigmoidBinaryCrossEntropyLoss": gluon.loss.SigmoidBinaryCrossEntropyLoss()(x, chances),
        "KLDivLoss": gluon.loss.KLDivLoss()(nd.log_softmax(x), shares),
        "HingeLoss": gluon.loss.HingeLoss()(x, signs),
        "SquaredHingeLoss": gluon.loss.SquaredHingeLoss()(x, signs),
        "LogisticLoss": gluon.loss.LogisticLoss()(x, signs),
        "TripletLoss": gluon.loss.TripletLoss()(x, other, third),
        "PoissonNLLLoss": gluon.loss.PoissonNLLLoss()(x, chances),
        "CosineEmbeddingLoss": gluon.loss.CosineEmbeddingLoss()(x, other, nd.array([1, -1])),
        "CTCLoss": gluon.loss.CTCLoss()(ramp(2, 5, 4), nd.array([[1, 2], [0, 1]])),
    }
    return {name: values(loss) for name, loss in found.items()}


if __name__ == "__main__":
    facts = {
        "version": mx.__version__,
        "names": names(),
        "signatures": signatures(),
        "optimizers": optimizers(),
        "weights": weights(),
        "layers": layers(),
        "losses": losses(),
    }
    text = json.dumps(facts, indent=1)
    print(re.sub(r"\[[^\[\]{}]*\]", lambda m: " ".join(m[0].split()), text))  # a list on a line
