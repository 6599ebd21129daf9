"""Backends: what an array is, and which fused kernels there are for it. See `base.py`."""

from . import host, meta, numpy_
from .base import Backend, get, knows, of, register, set_default_device, using
