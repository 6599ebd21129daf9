"""launch/simulated-hosts: hosts that are apart as machines are, and nothing left of them."""

import os
import runpy
import signal
import sys
from pathlib import Path

import pytest

from .conftest import PROGRAM, start


def states():
    return list(Path("/run").glob("simulated-hosts.*"))


def test_hosts_have_names_and_memory_of_their_own_and_reach_each_other(simulated):
    look = "hostname; ls /dev/shm; grep -c . /etc/hosts; echo $VARIABLE"
    there = f"ssh -x -o ignored root@h2 '{look}'"
    text = f"export VARIABLE=kept; touch /dev/shm/h0s; {look}; {there}; ssh h1 exit 7; exit $?"
    done = simulated("-H", "3", "--", "sh", "-c", text)
    assert done.stdout.split("\n") == ["h0", "h0s", "4", "kept", "h2", "4", "", ""] and done.returncode == 7
    assert not done.stderr


RECEIVE = """
import socket
connection = socket.create_server(("", 99)).accept()[0]
while connection.recv(65536):
    pass
"""
SEND = """
import socket, time
while True:
    try:
        connection = socket.create_connection(("h1", 99))
        break
    except OSError:
        time.sleep(0.05)
start = time.monotonic()
connection.sendall(bytes(2**21))
connection.shutdown(socket.SHUT_WR)
connection.recv(1)
print(time.monotonic() - start, next(line.split()[9] for line in open("/proc/net/dev") if "eth0" in line))
"""


def test_data_between_hosts_goes_over_the_link_at_its_rate(simulated, tmp_path):
    """No faster, and there is no bound on how much slower a machine that is busy may be."""
    mbit, mtu, burst = 100, 9000, 36_000
    receive, send = tmp_path / "receive.py", tmp_path / "send.py"
    receive.write_text(RECEIVE)
    send.write_text(SEND)
    text = f"ssh h1 {sys.executable} {receive} & {sys.executable} {send}; wait"
    done = simulated("-H", "2", "--rate", f"{mbit}mbit", "--", "sh", "-c", text)
    assert not done.stderr
    seconds, sent = map(float, done.stdout.split())
    assert seconds >= (2**21 - 2 * burst) * 8 / (mbit * 1e6)  # a burst at either end of the link
    headers = 66 / (mtu - 52)
    assert 1 + headers <= sent / 2**21 <= 1 + 2 * headers


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_nothing_is_left_however_it_ends(simulated, number):
    others = set(states())
    process = start("-H", "2", "--", "sh", "-c", "ssh h1 sleep 987654 & echo up; wait")
    assert process.stdout.readline() == "up\n"
    process.send_signal(number)
    process.wait(20)
    assert process.returncode in (-number, 128 + number)
    process.stdout.read()  # ends when the last process that has it open has ended
    simulated("-H", "1", "--", "true")  # removes what a killed run has left
    assert set(states()) <= others


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["-H", "2"], "nothing to run"),
        (["-H", "0", "--", "true"], "-H 0: between 1 and 250"),
        (["--rate", "fast", "--", "true"], "--rate fast: give it as 1gbit"),
    ],
)
def test_what_is_wrong_with_a_command_line_is_said(simulated, words, said):
    done = simulated(*words)
    assert done.returncode == 2 and said in done.stderr


def test_a_delay_works_or_says_what_it_needs(simulated):
    done = simulated("-H", "2", "--delay", "1ms", "--", "true")
    assert done.returncode == 0 or "--delay needs sch_netem" in done.stderr


def test_who_is_not_root_is_told_so(monkeypatch, capsys):
    program = runpy.run_path(str(PROGRAM))
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    monkeypatch.setattr(sys, "argv", ["simulated-hosts", "--", "true"])
    assert program["main"]() == 2
    assert "network namespaces need root: start it with sudo" in capsys.readouterr().err
