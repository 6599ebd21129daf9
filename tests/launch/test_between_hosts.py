"""Jobs on several hosts that share nothing but a network."""

import json
import subprocess
import sys

import pytest

from .conftest import LIMIT, ROOT, environment

COUNT = """
import json
import ml_dtypes
import numpy as np
import collectives as c

c.init(timeout=30)
N = 4 << 20  # items: 16 MiB of float32


def sent():
    c.barrier()
    return next(int(line.split()[9]) for line in open("/proc/net/dev") if "eth0" in line)


def count(call):
    call()
    before = sent()
    call()
    return sent() - before


x, half, own = np.ones(N, "f4"), np.ones(N, ml_dtypes.bfloat16), np.ones(N // c.size(), "f4")
assert type(c.world._link).__name__ == "HierarchicalLink"
assert c.empty(5).base is not None and c.allreduce(c.rank(), c.Sum) == sum(range(c.size()))
found = {
    "allreduce": count(lambda: c.allreduce_(x)),
    "bfloat16": count(lambda: c.allreduce_(half)),
    "reduce_scatter": count(lambda: c.reduce_scatter(x)),
    "allgather": count(lambda: c.allgather(own)),
    "broadcast": count(lambda: c.broadcast_(x, 1)),
}
if c.rank() == 0:
    print(json.dumps(found))
"""

STALL = """
import json, sys, time
import numpy as np
import collectives as c


def load_batch():
    time.sleep(60)  # HERE


c.init(timeout=3)
x = np.ones(300_000)
try:
    c.allreduce(x if c.rank() != 2 else x[1:])
except c.MismatchError as error:
    print(json.dumps(["mismatch", c.rank(), [], str(error)]), flush=True)
c.allreduce(x)
if c.rank() == {late}:
    load_batch()
try:
    c.allreduce(x, name="grad")
except c.StallError as error:
    print(json.dumps(["stall", c.rank(), list(error.missing), str(error)]), flush=True)
time.sleep(2)  # so that all can say it
"""


@pytest.mark.parametrize("hosts", ["h0:2,h1:2", "h0:2,h1:1"])
def test_every_verb(job, hosts):
    """The tests that every MPI job passes, among them all verbs, dtypes and errors, against float64."""
    options = ["--with-mpi", "--only-mpi", "-q", "-p", "no:cacheprovider"]
    done = job(hosts, "-m", "pytest", *options, "tests/mpi/test_collectives.py")
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    assert "passed" in done.stdout + done.stderr


def test_a_link_carries_what_it_must_and_at_most_3_percent_more(job, script):
    done = job("h0:2,h1:2", script(COUNT))
    assert done.returncode == 0, done.stderr[-3000:]
    whole = 16 << 20
    least = {"allreduce": whole, "bfloat16": whole / 2, "reduce_scatter": whole / 2, "allgather": whole / 2}
    found = json.loads(done.stdout)
    for verb, nbytes in (least | {"broadcast": whole}).items():
        assert nbytes <= found[verb] <= 1.03 * nbytes, (verb, found[verb] / nbytes)


@pytest.mark.parametrize("late", [2, 3], ids=["first of its host", "another"])
def test_ranks_that_disagree_or_do_not_come_are_named(job, script, late):
    path = script(STALL.replace("{late}", str(late)))
    line = STALL.split("# HERE")[0].count("\n") + 1
    done = job("h0:2,h1:2", path)
    said = [json.loads(text) for text in done.stdout.splitlines()]
    different = {rank: text for kind, rank, _, text in said if kind == "mismatch"}
    assert sorted(different) == [0, 1, 2, 3] and len(set(different.values())) == 1
    assert "rank 2: allreduce float64[299999]" in different[0]
    stalled = {rank: (missing, text) for kind, rank, missing, text in said if kind == "stall"}
    assert sorted(stalled) == sorted({0, 1, 2, 3} - {late}), done.stderr[-2000:]
    for missing, text in stalled.values():
        assert missing == [late] and f"rank {late} has not joined allreduce #3 'grad'" in text
        assert f"script.py:{line} in load_batch" in text
    assert done.returncode != 0


def test_the_benchmark_checks_its_sums_and_writes_what_it_prints(simulated, tmp_path):
    words = ["--min", "256K", "--max", "256K", "--repeats", "1", "--rate", "10gbit", "--json", tmp_path / "f"]
    command = [sys.executable, ROOT / "benchmarks" / "between_hosts.py", *words]
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, env=environment(), timeout=LIMIT)
    assert done.returncode == 0, done.stderr[-3000:]
    figures = json.loads((tmp_path / "f").read_text())
    assert figures["hosts"] == 2 and "x bound" in done.stdout
    whole, half = figures["rows"]
    assert (whole["dtype"], half["dtype"], whole["bytes"], half["bytes"]) == ("float32", "bfloat16", 2**18, 2**17)
    assert whole["bound"] == pytest.approx(2**18 * 8 / 10e9)
    assert whole["ratio"] == pytest.approx(whole["seconds"] / whole["bound"]) and 0 <= figures["busy_before"] <= 1
    assert whole["sent"] >= 2**18 and half["sent"] >= 2**17
