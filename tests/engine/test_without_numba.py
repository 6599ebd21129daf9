"""Where numba is missing the composed forms run: the same numbers, slower."""

import subprocess
import sys

PROGRAM = """
import importlib.util, sys
if sys.argv[1] == "without":
    find_spec = importlib.util.find_spec
    importlib.util.find_spec = lambda name, *rest: None if name == "numba" else find_spec(name, *rest)
import numpy as np
import ringtrain as rt
from ringtrain import nn
rt.seed(0)
layers = [nn.Conv2d(2, 3, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.GELU(), nn.Linear(None, 5)]
net = nn.Sequential(*layers)
x = rt.from_numpy(np.random.default_rng(0).random((7, 2, 6, 6), np.float32))
net(x)
adam = rt.optim.Adam(net.parameters(), lr=0.01)
for _ in range(5):
    adam.zero_grad()
    loss = nn.cross_entropy(net(x), np.arange(7) % 5)
    loss.backward()
    adam.step()
assert ("numba" in sys.modules) == (sys.argv[1] == "with")
print(repr(loss.item()))
"""


def final_loss(which):
    done = subprocess.run([sys.executable, "-c", PROGRAM, which], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return float(done.stdout)


def test_training_is_the_same_without_numba():
    assert abs(final_loss("without") - final_loss("with")) < 1e-5
