"""Learning-rate schedules under PyTorch's names. Call `step()` once after each optimiser step."""

from .chain import ChainedScheduler, SequentialLR, Warmup
from .cycles import CosineAnnealingWarmRestarts, CyclicLR, OneCycleLR
from .plateau import ReduceLROnPlateau
from .schedule import Schedule
from .shapes import (
    ConstantLR,
    CosineAnnealingLR,
    ExponentialLR,
    LambdaLR,
    LinearLR,
    MultiplicativeLR,
    MultiStepLR,
    PolynomialLR,
    StepLR,
    WarmupCosine,
)
