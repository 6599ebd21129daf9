"""The worker's side of training_step.py: one library in one process, timed on request."""

import resource
import time

from answers import answer


def serve(name, version, make):
    """Answers the driver until it hangs up. make(work) returns step() -> loss."""
    steps = {}

    def handle(work, repeats):
        """{"seconds": a step, "loss": the last one, "peak_bytes": of the process}; {} for what make does not have."""
        if work not in steps:
            try:
                steps[work] = make(work)
            except NotImplementedError:
                return {}
            for _ in range(3):
                steps[work]()
        step = steps[work]
        start = time.perf_counter()
        for _ in range(repeats):
            loss = step()
        seconds = (time.perf_counter() - start) / repeats
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
        return {"seconds": seconds, "loss": loss, "peak_bytes": peak}

    answer({"name": name, "version": version}, handle)
