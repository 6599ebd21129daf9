"""Memory of training steps: what one step freed the next takes again, and gives nothing back in between."""

import subprocess
import sys

import pytest

from ringtrain.backend import host

PROGRAM = """
import resource
import numpy as np
import ringtrain as rt
from ringtrain import nn
rt.seed(0)
layers = [nn.Conv2d(1, 32, 5, padding=2), nn.BatchNorm2d(32), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(32, 32, 3)]
net = nn.Sequential(*layers, nn.GELU(), nn.Flatten(), nn.Linear(None, 256), nn.LayerNorm(256), nn.Linear(256, 10))
x = rt.from_numpy(np.random.default_rng(0).random((64, 1, 28, 28), np.float32))
net(x)
adam = rt.optim.Adam(net.parameters(), lr=1e-3)

def steps(n):
    for _ in range(n):
        adam.zero_grad()
        nn.cross_entropy(net(x), np.arange(64) % 10).backward()
        adam.step()
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt

before = steps(5)
print((steps(10) - before) * resource.getpagesize())
"""


@pytest.mark.skipif(not host.keep_memory(), reason="memory is kept by glibc")
def test_steps_after_the_first_take_no_new_memory():
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    # one activation of the first layer alone has 6 MiB; ten steps have hundreds
    assert int(done.stdout) < 4 << 20
