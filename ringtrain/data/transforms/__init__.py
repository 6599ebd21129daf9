"""Transforms of images and batches: NumPy array in, NumPy array out.

A data set applies its transform to x only, never to labels, where it reads (in the loader's thread or its workers):
`MNIST(root, transform=Compose(RandomCrop(28, padding=2), ToFloat(), Normalize(0.1307, 0.3081)))`.

Arrays are batches with the samples first; images are (N, C, H, W), and a single (C, H, W) will do. None changes the
array it is given. Any function of a batch is a transform as well; one that draws asks `drawing.uniform`. What random
transforms draw is a function of (seed, epoch, sample), see `ringtrain.data.drawing`. Names are Gluon's.
"""

from ringtrain.data.transforms.basic import Cast, Compose, Flatten, Normalize, RandomApply, ToFloat, ToTensor
from ringtrain.data.transforms.colour import (
    ColorJitter,
    RandomBrightness,
    RandomContrast,
    RandomGray,
    RandomHue,
    RandomLighting,
    RandomSaturation,
)
from ringtrain.data.transforms.geometry import (
    CenterCrop,
    CropResize,
    Pad,
    RandomCrop,
    RandomErasing,
    RandomFlipLeftRight,
    RandomFlipTopBottom,
    RandomResizedCrop,
    RandomRotation,
    Rotate,
)
from ringtrain.data.transforms.resize import Resize, resize

__all__ = [
    "Cast",
    "CenterCrop",
    "ColorJitter",
    "Compose",
    "CropResize",
    "Flatten",
    "Normalize",
    "Pad",
    "RandomApply",
    "RandomBrightness",
    "RandomContrast",
    "RandomCrop",
    "RandomErasing",
    "RandomFlipLeftRight",
    "RandomFlipTopBottom",
    "RandomGray",
    "RandomHue",
    "RandomLighting",
    "RandomResizedCrop",
    "RandomRotation",
    "RandomSaturation",
    "Resize",
    "Rotate",
    "ToFloat",
    "ToTensor",
    "resize",
]

# One name a thing: these are torchvision's for what has Gluon's name here.
ELSEWHERE = {
    "RandomHorizontalFlip": "RandomFlipLeftRight",
    "RandomVerticalFlip": "RandomFlipTopBottom",
    "RandomGrayscale": "RandomGray",
    "ConvertImageDtype": "ToFloat or Cast",
    "PILToTensor": "ToTensor",
    "RandomColorJitter": "ColorJitter",
}


def __getattr__(name: str) -> None:
    if name in ELSEWHERE:
        raise AttributeError(f"ringtrain.data.transforms has no {name}: its name here is {ELSEWHERE[name]}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
