"""The GPUs of the stand-in, one of them current in each thread, and a count of their traffic with the host."""

import threading
from collections import Counter

traffic = Counter()  # "read": times the host waited for values; "put": arrays that went to the GPU


class Current(threading.local):
    device = 0


current = Current()


class Device:
    def __init__(self, device=None):
        self.id = current.device if device is None else int(getattr(device, "id", device))

    def use(self):
        current.device = self.id

    def __enter__(self):
        self.before, current.device = current.device, self.id
        return self

    def __exit__(self, *_):
        current.device = self.before

    def synchronize(self):
        traffic["read"] += 1

    def __eq__(self, other):
        return isinstance(other, Device) and self.id == other.id

    __hash__ = None
