"""Where the tests of the engine compute: `pytest --device cuda`, or `stand-in` for CuPy without a GPU.

On another device than the CPU it is the default device, `rt.from_numpy` puts values there too, and tests marked `cpu`
(of the CPU's own kernels, of memory that is shared with NumPy) are left out.
"""

import contextlib
import signal

running = contextlib.ExitStack()


def pytest_addoption(parser):
    parser.addoption("--device", default="cpu", choices=("cpu", "cuda", "stand-in"), help="where the engine computes")


def pytest_configure(config):
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # a shell's background job, whose children would inherit that
        signal.signal(signal.SIGINT, signal.default_int_handler)
    config.addinivalue_line("markers", "cpu: holds for the CPU only; left out with another --device")
    device = config.getoption("device")
    if device == "stand-in":
        from .stand_in import modules

        running.enter_context(modules.installed())
    if device != "cpu":
        running.enter_context(elsewhere("cuda"))


def pytest_unconfigure():
    running.close()


def pytest_collection_modifyitems(config, items):
    if config.getoption("device") != "cpu":
        kept = [item for item in items if not item.get_closest_marker("cpu")]
        config.hook.pytest_deselected(items=[item for item in items if item.get_closest_marker("cpu")])
        items[:] = kept


@contextlib.contextmanager
def elsewhere(device):
    """Within it that device is the default, and `rt.from_numpy` copies there."""
    import numpy as np

    import ringtrain as rt

    before, rt.from_numpy = rt.from_numpy, lambda a: rt.tensor(a, np.asarray(a).dtype)
    rt.set_default_device(device)
    try:
        yield
    finally:
        rt.set_default_device("cpu")
        rt.from_numpy = before
