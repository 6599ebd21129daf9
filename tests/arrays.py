"""What tests of several rooms share."""

import numpy as np

from ringtrain.backend import knows, of
from ringtrain.tensor import raw


def on_host(x):
    """A copy of the values of a tensor, an array or a number, in NumPy's memory."""
    return np.array(of(raw(x)).to_numpy(raw(x)) if knows(raw(x)) else x)
