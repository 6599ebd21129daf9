"""The jobs of allreduce.py: ours and the peers', each under its own Python and its own launcher."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import sys
from pathlib import Path

from turns import HERE, Commands, Job

PEERS = Path(os.environ.get("PEERS", HERE.parent / ".peers"))

#: what measures it, and how a peer that is missing is installed
INSTALL = {
    "mpich": "make peers",
    "gloo": "make peers",
    "mlx": "make peers",
    "horovod": "make peer-horovod (compiles: needs libopenmpi-dev, cmake and g++)",
}
ENVIRONMENT = {"mpich": "mpich", "gloo": "torch", "mlx": "mlx", "horovod": "horovod"}


def python_of(peer: str) -> Path:
    return PEERS / ENVIRONMENT[peer] / "bin" / "python"


def start(name: str, ranks: int) -> Job:
    """Start a job, whose ranks are stopped while they have no turn: Horovod has a thread that never rests."""
    return Job(name, ranks, lambda folder: commands(name, ranks, folder), restless=True)


def commands(name: str, ranks: int, folder: Path) -> Commands:
    """What starts the job: command lines with what they need in their environment."""
    if name == "ringtrain":
        script = str(HERE / "contestants" / "ringtrain_ranks.py")
        launch = [sys.executable, "-m", "ringtrain", "run", "-n", str(ranks), "--threads", "1", script]
        return [(launch, {"PYTHONPATH": str(HERE.parent)})]
    python = str(python_of(name))
    script = str(HERE / "contestants" / f"{'mpi' if name == 'mpich' else name}_ranks.py")
    if name == "mpich":
        return [([str(Path(python).with_name("mpiexec")), "-n", str(ranks), python, script], {})]
    if name == "horovod":
        root = ["--allow-run-as-root"] if os.geteuid() == 0 else []
        flags = [*root, "--oversubscribe", "--bind-to", "none", "-x", "HOROVOD_CYCLE_TIME", "-n", str(ranks)]
        return [(["/usr/bin/mpirun", *flags, python, script], {"HOROVOD_CYCLE_TIME": "0.1"})]
    places = [f"127.0.0.1:{port}" for port in free_ports(ranks)]
    if name == "mlx":
        hosts = folder / "hosts.json"
        hosts.write_text(json.dumps([[place] for place in places]))
        return [([python, script], {"MLX_RANK": str(rank), "MLX_HOSTFILE": str(hosts)}) for rank in range(ranks)]
    common = {"WORLD_SIZE": str(ranks), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": places[0].split(":")[1]}
    return [([python, script], common | {"RANK": str(rank), "GLOO_SOCKET_IFNAME": "lo"}) for rank in range(ranks)]


def free_ports(count: int) -> list[int]:
    with contextlib.ExitStack() as held:
        sockets = [held.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]
