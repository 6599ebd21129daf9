"""Optimisers on flat buffers, and learning-rate schedules."""

from . import lr
from .flat import Bucket
from .optimizer import Optimizer
from .optimizers import SGD, Adam, AdamW, RMSprop
