"""Host lists and host files: what is understood, and what a mistake in one is answered with."""

import pytest

from ringtrain.cli.errors import UsageError
from ringtrain.cli.hosts import Host, parse_hosts, place, read_hostfile, slots


def test_a_list_gives_slots_and_defaults_to_one():
    assert parse_hosts("node-1.lan:13, 10.0.0.2") == [Host("node-1.lan", 13), Host("10.0.0.2", 1)]
    assert slots(parse_hosts("a:2,b:3")) == 5


def test_a_host_named_twice_has_the_slots_of_both_and_its_first_place():
    assert parse_hosts("b:1,a:2,b:3") == [Host("b", 4), Host("a", 2)]


@pytest.mark.parametrize(
    "text, wrong",
    [
        ("a:x", "'a:x' is not a host"),
        ("a:2,,b:2", "'' is not a host"),
        ("", "'' is not a host"),
        ("a b", "'a b' is not a host"),
        ("a:-1", "'a:-1' is not a host"),
        ("a:0", "'a:0' has no slots"),
    ],
)
def test_a_malformed_list_is_named_with_its_entry(text, wrong):
    with pytest.raises(UsageError) as error:
        parse_hosts(text)
    assert wrong in str(error.value) and f"--hosts {text}" in str(error.value)


def test_a_host_file_may_be_of_either_mpi(tmp_path):
    path = tmp_path / "hosts"
    path.write_text("# the cluster\nnode1 slots=4\nnode2:3   # half\n\nnode3\nnode4 slots = 2 max-slots=9\n")
    assert read_hostfile(str(path)) == [Host("node1", 4), Host("node2", 3), Host("node3", 1), Host("node4", 2)]


def test_a_host_file_that_cannot_serve_is_named_with_its_line(tmp_path):
    path = tmp_path / "hosts"
    path.write_text("node1:4\nnode2 four\n")
    with pytest.raises(UsageError, match=r"hosts line 2: 'node2 four' is not a host; write name:slots"):
        read_hostfile(str(path))
    path.write_text("# nothing\n")
    with pytest.raises(UsageError, match="names no host"):
        read_hostfile(str(path))
    with pytest.raises(UsageError, match="No such file"):
        read_hostfile(str(tmp_path / "absent"))


def test_each_host_is_filled_before_the_next():
    hosts = [Host("a", 2), Host("b", 3), Host("c", 1)]
    assert place(4, hosts) == [("a", 2), ("b", 2)]
    assert place(6, hosts) == [("a", 2), ("b", 3), ("c", 1)]
    assert place(1, hosts) == [("a", 1)]
