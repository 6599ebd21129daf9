"""What ops.py times, written once: ringtrain.nn and torch.nn.functional share most of the names that it needs."""

import numpy as np

MILLION = (1024, 1024)
IMAGES, TOKENS, HEADS = (32, 64, 28, 28), (8, 128, 512), (8, 4, 128, 64)
LONG = (2, 8, 1024, 64)

#: name -> shapes of what gets a gradient; a name is a function of `nn`, or one of `special` below
SHAPES = {name: [MILLION] for name in ["relu", "gelu", "gelu/tanh", "silu", "mish", "elu", "selu", "celu"]}
SHAPES |= {name: [MILLION] for name in ["sigmoid", "tanh", "softplus", "logsigmoid", "hardswish", "hardsigmoid"]}
SHAPES |= {name: [MILLION] for name in ["hardtanh", "leaky_relu", "softsign", "tanhshrink", "glu", "dropout"]}
SHAPES |= {name: [MILLION] for name in ["softmax", "log_softmax", "topk", "sort"]}
SHAPES |= {"layer_norm": [TOKENS, TOKENS[-1:], TOKENS[-1:]], "rms_norm": [TOKENS, TOKENS[-1:]]}
SHAPES |= {name: [IMAGES, (64,), (64,)] for name in ["group_norm", "instance_norm", "batch_norm"]}
SHAPES |= {name: [IMAGES] for name in ["avg_pool2d", "max_pool2d", "adaptive_avg_pool2d"]}
SHAPES |= {"embedding": [(10_000, 256)], "cross_entropy": [(4096, 256)]}
SHAPES |= {"attention": [HEADS] * 3, "attention/causal": [HEADS] * 3, "attention/long": [LONG] * 3}


def function(name, nn, special, integers):
    """The function of tensors of those shapes. integers(array) is a tensor of integers."""
    rng = np.random.RandomState(1)
    rows, labels = integers(rng.randint(0, 10_000, (32, 64))), integers(rng.randint(0, 256, 4096))
    pool = {"avg_pool2d": 2, "max_pool2d": 2, "adaptive_avg_pool2d": 7}
    plain = {
        "gelu/tanh": lambda x: nn.gelu(x, approximate="tanh"),
        "layer_norm": lambda x, w, b: nn.layer_norm(x, (512,), w, b),
        "rms_norm": lambda x, w: nn.rms_norm(x, (512,), w),
        "group_norm": lambda x, w, b: nn.group_norm(x, 8, w, b),
        "embedding": lambda w: nn.embedding(rows, w),
        "cross_entropy": lambda x: nn.cross_entropy(x, labels),
        "attention": nn.scaled_dot_product_attention,
        "attention/causal": lambda q, k, v: nn.scaled_dot_product_attention(q, k, v, is_causal=True),
        "attention/long": lambda q, k, v: nn.scaled_dot_product_attention(q, k, v, is_causal=True),
    }
    plain |= {kind: lambda x, kind=kind: getattr(nn, kind)(x, pool[kind]) for kind in pool}
    return special.get(name) or plain.get(name) or getattr(nn, name)


def arrays(name):
    """float32 arrays of the shapes, and a seed for the gradient of the result."""
    rng = np.random.RandomState(0)
    return [rng.standard_normal(shape).astype(np.float32) for shape in SHAPES[name]]


def head(shape):
    """The gradient of a result."""
    return np.random.RandomState(2).standard_normal(shape).astype(np.float32)
