"""The worker's side of what takes turns: one rank of one library, which does what the driver (turns.py) asks for.

Runs under the Python of the library it measures, so it imports nothing but the standard library. In between it waits
in a read of its socket: a rank that has no turn takes no time from one that has. Orders and answers are lines of JSON.
"""

import json
import os
import socket
import sys


def answer(about, handle):
    """Say `about`, then answer each order by handle(**order) -> dict until the driver hangs up.

    Every order is answered with a dict. {"cannot": why} says that the library does not have what was asked for, which
    every rank of a job says alike; any other exception ends the job, because ranks that go on would wait for this one.
    """
    line = socket.socket(socket.AF_UNIX)
    line.connect(os.environ["TURNS_SOCKET"])
    stream = line.makefile("rw")

    def say(words):
        stream.write(json.dumps(words) + "\n")
        stream.flush()

    say({"rank": 0, "pid": os.getpid(), **about})
    for text in stream:
        try:
            words = handle(**json.loads(text))
        except NotImplementedError as why:
            words = {"cannot": str(why)}
        except Exception as error:
            say({"error": f"{type(error).__name__}: {error}"})
            raise
        try:
            say(words)
        except BrokenPipeError:  # the driver has gone
            sys.exit(0)
