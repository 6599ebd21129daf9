"""The worker's side of training_step.py, optimizers.py and ops.py: one library in one process, timed on request."""

import contextlib
import ctypes
import gc
import time
from pathlib import Path

from answers import answer


def serve(name, version, make):
    """Answers the driver until it hangs up. make(work) returns step() -> loss, and what is to be said of it.

    An answer is that and {"seconds": of a step, "cores": that were busy meanwhile, "loss": the last one, "first_loss",
    "last_loss": see rehearse, "before_bytes": what the process held before the work was made, all code loaded,
    "peak_bytes": the most it has held in steps since}; or {"cannot": why} where make raises NotImplementedError.
    """
    made = {}

    def handle(work, repeats):
        if work not in made:
            learnt = rehearse(make(work)[0])
            release()
            before = held("VmRSS")
            step, about = make(work)
            repeat(step, 3)
            release()
            Path("/proc/self/clear_refs").write_text("5")  # VmHWM starts again, at what is held now (proc(5))
            made[work] = step, {**about, **learnt, "before_bytes": before}
        step, about = made[work]
        start, busy = time.perf_counter(), time.process_time()
        loss = repeat(step, repeats)
        seconds, busy = time.perf_counter() - start, time.process_time() - busy
        figures = {"seconds": seconds / repeats, "cores": busy / seconds, "loss": loss}
        return {**figures, **about, "peak_bytes": held("VmHWM")}

    answer({"name": name, "version": version}, handle)


def rehearse(step):
    """Load and compile what steps need; the mean loss of the first and of the last of three rounds of four batches."""
    losses = [step() for _ in range(12)]
    return {"first_loss": sum(losses[:4]) / 4, "last_loss": sum(losses[-4:]) / 4}


def repeat(step, times):
    """The last loss."""
    for _ in range(times):
        loss = step()
    return loss


def release():
    """Give memory that nobody holds any more back to the system, so that it is not taken for this process's."""
    gc.collect()
    with contextlib.suppress(AttributeError):  # glibc's
        ctypes.CDLL(None).malloc_trim(0)


def held(what):
    """Bytes of memory that this process holds (VmRSS), or has held at most (VmHWM)."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(what))
