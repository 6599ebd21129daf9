"""Optimisers on flat buffers, learning-rate schedules, clipping, averages of weights."""

from . import lr
from .adam import Adam, Adamax, AdamW, NAdam, RAdam
from .adaptive import Adadelta, Adagrad, Ftrl, RMSprop
from .average import EMA, SWA
from .clip import clip_grad_norm_, clip_grad_value_
from .flat import Bucket
from .layerwise import LAMB, LARS
from .matrix import Adafactor, Muon
from .optimizer import Optimizer
from .sgd import NAG, SGD
from .signs import Lion, Rprop
from .stretch import Stretch
