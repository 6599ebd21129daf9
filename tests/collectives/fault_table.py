"""What happens when something goes wrong: the table of collectives/FAULTS.md, and what its tests expect.

`python tests/collectives/fault_table.py` prints it.
"""

import re
from typing import NamedTuple


class Row(NamedTuple):
    """A line of the table. `told` is text of the error, or of the output, for the last of three ranks."""

    fault: str
    error: str
    who: str
    bound: str
    told: str
    afterwards: str

    def patterns(self, n):
        """What to look for in the output of n ranks."""
        told = self.told.replace("rank 2", f"rank {n - 1}").replace(" of 3", f" of {n}")
        varying = {r"train\.py:57\ in\ load_batch": r"\S+\.py:\d+ in \S+", "4711": r"\d+"}
        for part in map(re.escape, told.split(" ... ")):
            for example, every in varying.items():
                part = part.replace(example, every)
            yield part


ROWS = {
    "mismatch": Row(
        "one rank passes another dtype, shape, op, root, name, scale, number of arrays, splits or ranks of a group, "
        "or arguments that are wrong; calls another verb; calls in another order",
        "MismatchError",
        "every rank of the group",
        "as soon as all have called",
        "ranks disagree on collective #4711, in dtype: ... rank 2: allreduce float64[12, 2] op=Average, "
        "at train.py:57 in load_batch",
        "everything: nothing has moved",
    ),
    "count": Row(
        "one rank makes a call more than the others, or one less",
        "MismatchError",
        "every rank of the group",
        "as soon as all have called",
        "ranks disagree on collective #4711, in verb",
        "everything; the calls that follow are compared anew",
    ),
    "message": Row(
        "`send` of an array that `recv` does not expect",
        "MismatchError",
        "the receiver",
        "when it arrives",
        "rank 0 sent float32[12, 2] with tag 0, and rank 1 expected float64[12, 2]",
        "everything: the array is taken off the wire",
    ),
    "sleep": Row(
        "a rank does not come (it sleeps, or computes, past the deadline)",
        "StallError",
        "every rank that waits",
        "`timeout` + 2 s; a line on stderr after `RINGTRAIN_STALL_WARN` s",
        "rank 2 has not joined allreduce #1 (float32[12, 2]); it is at train.py:57 in load_batch",
        "other groups; this one says why it cannot",
    ),
    "stop": Row(
        "a rank is stopped (SIGSTOP) past the deadline",
        "StallError",
        "every rank that waits",
        "`timeout` + 2 s",
        "rank 2 does not answer (stopped or dead?) in allreduce #1 (float32[12, 2])",
        "other groups, also with that rank when it goes on",
    ),
    "pause": Row(
        "a rank is stopped and goes on (SIGCONT) inside the deadline",
        "none",
        "nobody",
        "",
        "",
        "everything: the collective only takes longer",
    ),
    "too late": Row(
        "a rank comes when the others have given up",
        "StallError",
        "that rank",
        "`timeout` + 2 s",
        "rank 0 takes no part in barrier #2 any more: no answer for",
        "other groups",
    ),
    "exit": Row(
        "a rank ends early (`sys.exit`, a loop with fewer steps)",
        "PeerFailedError",
        "every rank that needs it",
        "1 s",
        "rank 2 left the job (by sys.exit, or at the end of the program) before this collective",
        "groups without that rank",
    ),
    "raise": Row(
        "a rank raises, in its main thread or in another",
        "its own",
        "the job ends, with status 1",
        "2 s",
        "rank 2 of 3 raised; the job ends:",
        "",
    ),
    "raise, tolerant": Row(
        "the same, under a launcher that lets the others live (`mpiexec --with-ft ulfm` or `--continuous`)",
        "PeerFailedError",
        "every other rank of the group",
        "6 s, in which a launcher would have ended the job",
        "rank 2 raised ValueError: bad batch and ended the job",
        "groups without that rank",
    ),
    "kill": Row(
        "a rank is killed (SIGKILL, or the machine has no memory left)",
        "none",
        "the job ends (MPICH does not tell which rank it was)",
        "2 s",
        "ringtrain run: rank 2 was ended by signal 9 (Killed); did the machine run out of memory?",
        "",
    ),
    "kill, tolerant": Row(
        "the same, under a launcher that lets the others live",
        "PeerFailedError",
        "every other rank of the group",
        "1 s",
        "rank 2 (pid 4711 on this host) has died",
        "groups without that rank",
    ),
    "kill, hosts": Row(
        "the same, on another host",
        "PeerFailedError where MPI tells (`--with-ft ulfm`), else StallError",
        "every other rank of the group",
        "3 s, else `timeout` + 2 s",
        "MPI says that rank 2 failed",
        "groups without that rank",
    ),
    "Ctrl-C": Row(
        "Ctrl-C at the launcher",
        "none",
        "the job ends, with status 130",
        "2 s, or 10 s where a rank writes a checkpoint on SIGTERM",
        "ringtrain run: ended by SIGINT",
        "",
    ),
    "SIGINT": Row(
        "SIGINT to one rank",
        "KeyboardInterrupt",
        "that rank; uncaught it ends the job",
        "1 s",
        "KeyboardInterrupt",
        "for a rank that catches it: other groups",
    ),
    "no memory": Row(
        "the host has no shared memory for a group",
        "UserWarning",
        "the lowest rank of the group",
        "at once",
        "collectives go through MPI, not through shared memory, of which each rank takes 4711 MiB in a group of 3",
        "everything, over MPI",
    ),
    "tiny /dev/shm": Row(
        "/dev/shm is full or tiny",
        "none with Open MPI; MPICH is ended by a signal as it starts",
        "the job ends, with MPICH",
        "at once",
        "ringtrain run: a rank was ended by signal 7 (Bus error); is /dev/shm full?",
        "everything, with Open MPI: collectives keep nothing in /dev/shm",
    ),
}


def table():
    head = "| fault | error | who gets it | within | what is said, for example | what works afterwards |"
    rows = [head, "|---" * 6 + "|"]
    for row in ROWS.values():
        told = f"`{row.told}`" if row.told else ""
        rows.append(f"| {row.fault} | {row.error} | {row.who} | {row.bound} | {told} | {row.afterwards} |")
    return "\n".join(rows)


if __name__ == "__main__":
    print(table())
