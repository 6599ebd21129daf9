"""Networks: modules, layers, initialisers, losses, and the functions behind them."""

from ..ops.attention import scaled_dot_product_attention
from ..ops.conv import conv2d
from ..ops.elementwise import gelu, relu, sigmoid, softplus, tanh
from ..ops.linalg import linear
from ..ops.loss import (
    binary_cross_entropy_with_logits,
    cross_entropy,
    huber_loss,
    l1_loss,
    mse_loss,
    nll_loss,
)
from ..ops.norm import batch_norm
from ..ops.pool import avg_pool2d, max_pool2d
from ..ops.reduce import log_softmax, softmax
from . import init
from .activations import (
    GELU,
    CrossEntropyLoss,
    Dropout,
    Identity,
    MSELoss,
    ReLU,
    Sigmoid,
    Softmax,
    Tanh,
    dropout,
)
from .layers import (
    AvgPool2d,
    BatchNorm,
    BatchNorm1d,
    BatchNorm2d,
    Conv2d,
    Flatten,
    Linear,
    MaxPool2d,
    Sequential,
)
from .module import Module, Parameter
