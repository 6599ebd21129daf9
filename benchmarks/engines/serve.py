"""The worker's side of training_step.py: one library in one process, timed on request.

Runs under the Python of the library it measures, so it imports nothing but the standard library. A request is a line
`work repeats`, the answer a line of JSON: seconds a step (or a tape operation), the last loss, peak memory.
"""

import json
import resource
import sys
import time


def serve(name, version, make):
    """Answers requests until the input ends. make(work) returns step() -> loss."""
    print(json.dumps({"name": name, "version": version}), flush=True)
    steps = {}
    for line in sys.stdin:
        work, repeats = line.split()
        if work not in steps:
            steps[work] = make(work)
            for _ in range(3):
                steps[work]()
        step = steps[work]
        start = time.perf_counter()
        for _ in range(int(repeats)):
            loss = step()
        seconds = (time.perf_counter() - start) / int(repeats)
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
        print(json.dumps({"seconds": seconds, "loss": loss, "peak_bytes": peak}), flush=True)
