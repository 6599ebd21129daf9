"""Downloads from a server of our own; nothing leaves the machine."""

import fcntl
import gzip
import hashlib
import http.server
import struct
import subprocess
import sys
import threading
import time
from functools import partial

import numpy as np
import pytest

from ringtrain.data import MNIST, DownloadError, FashionMNIST
from ringtrain.data.download import download

NOWHERE = "http://127.0.0.1:1/"  # nothing listens on port 1


def idx(array):
    header = struct.pack(f">BBBB{array.ndim}I", 0, 0, 8, array.ndim, *array.shape)
    return gzip.compress(header + array.tobytes())


FILES = {}
for split, n in (("train", 6), ("t10k", 3)):
    FILES[f"{split}-images-idx3-ubyte.gz"] = idx(np.full((n, 28, 28), n, np.uint8))
    FILES[f"{split}-labels-idx1-ubyte.gz"] = idx(np.arange(n, dtype=np.uint8))
MD5 = {name: hashlib.md5(content).hexdigest() for name, content in FILES.items()}


class Server(http.server.ThreadingHTTPServer):
    """Serves a folder and remembers what was asked for; a file named in `cut` stops half way."""

    def __init__(self, folder):
        self.asked, self.cut = [], set()
        super().__init__(("127.0.0.1", 0), partial(Handler, directory=str(folder)))
        self.url = f"http://127.0.0.1:{self.server_port}/"


class Handler(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *args):
        pass

    def do_GET(self):
        name = self.path.lstrip("/")
        self.server.asked.append(name)
        if name in self.server.cut:
            self.send_response(200)
            self.send_header("Content-Length", str(len(FILES[name])))
            self.end_headers()
            self.wfile.write(FILES[name][:-5])
        else:
            super().do_GET()


@pytest.fixture
def server(tmp_path, monkeypatch):
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    folder = tmp_path / "served"
    folder.mkdir()
    for name, content in FILES.items():
        (folder / name).write_bytes(content)
    with Server(folder) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture
def mnist(server, monkeypatch):
    monkeypatch.setattr(MNIST, "files", MD5)
    monkeypatch.setattr(MNIST, "mirrors", (server.url,))
    return MNIST


def visible(folder):
    return sorted(path.name for path in folder.iterdir() if path.name != ".download.lock")


def test_download_fetches_all_files_once(mnist, server, tmp_path):
    root = tmp_path / "root"
    assert len(mnist(root, download=True)) == 6
    assert visible(root / "mnist") == sorted(server.asked) == sorted(FILES)
    assert mnist(root, train=False, download=True).labels.tolist() == [0, 1, 2]
    assert len(server.asked) == 4, "nothing is fetched that is there"


def test_files_that_were_found_elsewhere_are_not_fetched(mnist, server, tmp_path):
    raw = tmp_path / "MNIST" / "raw"
    raw.mkdir(parents=True)
    for name, content in FILES.items():
        (raw / name).write_bytes(content)
    assert len(mnist(tmp_path, download=True)) == 6
    assert not server.asked and not (tmp_path / "mnist").exists()


def test_a_root_of_that_name_is_the_folder_itself(mnist, tmp_path):
    mnist(tmp_path / "mnist", download=True)
    assert visible(tmp_path / "mnist") == sorted(FILES)


def test_the_next_mirror_is_asked_when_one_is_away_or_lies(mnist, server, tmp_path, monkeypatch):
    name = "train-images-idx3-ubyte.gz"
    wrong = tmp_path / "served" / "wrong"
    wrong.mkdir()
    (wrong / name).write_bytes(b"<html>please log in</html>")
    folders = ("absent/", "wrong/", "")
    monkeypatch.setattr(MNIST, "mirrors", (NOWHERE, *(server.url + folder for folder in folders)))
    assert len(mnist(tmp_path / "root", download=True)) == 6
    assert server.asked.count("wrong/" + name) == 1 == server.asked.count(name)


@pytest.mark.parametrize("damage", ["wrong", "cut"])
def test_a_damaged_file_is_never_left_behind(mnist, server, tmp_path, damage):
    name = "train-labels-idx1-ubyte.gz"
    if damage == "cut":
        server.cut.add(name)
        expected = f"{len(FILES[name]) - 5} bytes with MD5"
    else:
        (tmp_path / "served" / name).write_bytes(b"something else")
        expected = f"14 bytes with MD5 {hashlib.md5(b'something else').hexdigest()}, expected {MD5[name]}"
    with pytest.raises(DownloadError, match=expected) as caught:
        mnist(tmp_path / "root", download=True)
    assert f"{server.url}{name}" in str(caught.value)
    assert name not in visible(tmp_path / "root" / "mnist")
    assert not list((tmp_path / "root" / "mnist").glob(".*.part"))


def test_without_a_network_the_error_says_what_to_do(tmp_path, monkeypatch):
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.setattr(FashionMNIST, "mirrors", (NOWHERE,))
    with pytest.raises(DownloadError) as caught:
        FashionMNIST(tmp_path, download=True)
    message = str(caught.value)
    assert "could not download train-images-idx3-ubyte.gz" in message and "refused" in message
    assert all(f"{NOWHERE}{name}" in message for name in FashionMNIST.files)
    assert f"put them into {tmp_path / 'fashion-mnist'}; then call FashionMNIST('{tmp_path}')" in message


def test_files_brought_by_hand_are_kept(server, tmp_path):
    (tmp_path / "a").write_bytes(b"mine")
    download({"a": "0" * 32}, [server.url], tmp_path, "")
    assert (tmp_path / "a").read_bytes() == b"mine" and not server.asked


LOAD = """
import sys
from ringtrain.data import MNIST
root, url, *files = sys.argv[1:]
MNIST.mirrors, MNIST.files = (url,), dict(zip(files[::2], files[1::2]))
print(MNIST(root, download=True).labels.tolist())
"""


def test_processes_that_download_at_once_take_turns(mnist, server, tmp_path):
    files = [word for pair in MD5.items() for word in pair]
    command = [sys.executable, "-c", LOAD, str(tmp_path / "root"), server.url, *files]
    processes = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(3)]
    printed = [process.communicate(timeout=60)[0].strip() for process in processes]
    assert printed == ["[0, 1, 2, 3, 4, 5]"] * 3
    assert sorted(server.asked) == sorted(FILES) == visible(tmp_path / "root" / "mnist")


def test_who_waits_for_its_turn_finds_what_another_process_has_fetched(mnist, server, tmp_path):
    folder = tmp_path / "root" / "mnist"
    folder.mkdir(parents=True)
    with open(folder / ".download.lock", "a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        waiting = threading.Thread(target=mnist, args=(tmp_path / "root",), kwargs={"download": True})
        waiting.start()
        time.sleep(0.2)  # time in which one that does not wait would ask the server
        for name, content in FILES.items():
            (folder / name).write_bytes(content)
    waiting.join(30)
    assert not waiting.is_alive() and not server.asked


def test_published_digests_are_well_formed():
    for kind in (MNIST, FashionMNIST):
        assert list(kind.files) == list(FILES)
        assert len({int(md5, 16) for md5 in kind.files.values()}) == 4
        assert all(len(md5) == 32 for md5 in kind.files.values())
