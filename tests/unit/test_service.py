"""The protocols of systemd: notifications, sockets, journal entries, credentials."""

import os
import shutil
import socket
import struct
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tracker.config import load_config
from tracker.config.credentials import OutOfReach, find_secret
from tracker.daemon.listening import check_exposure
from tracker.errors import ConfigError
from tracker.systemd import Notifier, find_journal, take_sockets, with_credentials
from tracker.systemd.journal import Journal, field_name, make_entry, message_of


@pytest.fixture
def receiver(short_path: Path) -> Iterator[socket.socket]:
    """A datagram socket with a path, like those of the service manager and the journal."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind(str(short_path / "socket"))
        listener.settimeout(5)
        yield listener


def fields_of(entry: bytes) -> dict[str, str]:
    """Parse an entry like the journal."""
    fields = {}
    while entry:
        name, mark, rest = entry.partition(b"\n")
        if b"=" in name:
            key, _, value = name.partition(b"=")
            entry = rest
        else:
            key, length = name, struct.unpack("<Q", rest[:8])[0]
            value, entry = rest[8 : 8 + length], rest[8 + length + 1 :]
        assert mark
        fields[key.decode()] = value.decode()
    return fields


def test_notifies_the_service_manager(receiver: socket.socket) -> None:
    """Each message is one datagram of lines; a status stays on its line."""
    notifier = Notifier({"NOTIFY_SOCKET": receiver.getsockname()})
    notifier.ready("3 running\nREADY=0")
    assert receiver.recv(4096) == b"READY=1\nSTATUS=3 running READY=0"
    notifier.reloading()
    assert receiver.recv(4096).startswith(b"RELOADING=1\nMONOTONIC_USEC=")
    notifier.stopping("bye")
    assert receiver.recv(4096) == b"STOPPING=1\nSTATUS=bye"
    notifier.alive()
    assert receiver.recv(4096) == b"WATCHDOG=1"
    notifier.starting("migrating", 30)
    assert receiver.recv(4096) == b"STATUS=migrating\nEXTEND_TIMEOUT_USEC=30000000"


def test_notifies_by_an_abstract_socket() -> None:
    """An address that starts with @ is an abstract socket."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind(f"\0tracker-test-{os.getpid()}")
        listener.settimeout(5)
        Notifier({"NOTIFY_SOCKET": f"@tracker-test-{os.getpid()}"}).status("well")
        assert listener.recv(4096) == b"STATUS=well"


def test_a_missing_service_manager_is_not_an_error(tmp_path: Path) -> None:
    """Nothing is raised without one, or if it does not listen."""
    Notifier({}).ready("alone")
    Notifier({"NOTIFY_SOCKET": str(tmp_path / "nowhere")}).ready("alone")


@pytest.mark.parametrize(
    ("environ", "expected"),
    [
        ({"WATCHDOG_USEC": "30000000"}, 30.0),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": str(os.getpid())}, 30.0),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": "1"}, None),
        ({"WATCHDOG_USEC": "0"}, None),
        ({"WATCHDOG_USEC": "soon"}, None),
        ({}, None),
    ],
)
def test_the_watchdog_of_this_process(environ: dict[str, str], expected: float | None) -> None:
    """Only a watchdog for this process is pinged."""
    assert Notifier({"NOTIFY_SOCKET": "/x", **environ}).watchdog_s == expected
    assert Notifier(environ).watchdog_s is None


def handed_over(*sockets: socket.socket, first: int = 200) -> dict[str, str]:
    """The environment of a process with these sockets."""
    for number, each in enumerate(sockets):
        os.dup2(each.fileno(), first + number)
    return {"LISTEN_PID": str(os.getpid()), "LISTEN_FDS": str(len(sockets)), "LISTEN_FDNAMES": "http"}


def test_takes_over_listening_sockets() -> None:
    """They keep listening, children inherit neither them nor the variables, and closing one leaves the other open."""
    with socket.create_server(("127.0.0.1", 0)) as theirs:
        environ = {**handed_over(theirs), "PATH": "/bin"}
        (own,) = take_sockets(environ, 200)
        assert own.getsockname() == theirs.getsockname()
        assert not own.get_inheritable()
        assert environ == {"PATH": "/bin"}
        own.close()
        with socket.create_connection(theirs.getsockname(), timeout=5):
            pass


def test_ignores_sockets_of_another_process() -> None:
    """Variables for a parent are ignored, but removed."""
    environ = {"LISTEN_PID": "1", "LISTEN_FDS": "3", "LISTEN_FDNAMES": "a:b:c"}
    assert take_sockets(environ, 200) == []
    assert environ == {}
    assert take_sockets({}) == []


def test_rejects_sockets_that_do_not_listen() -> None:
    """A datagram socket or an accepted one is an error of the socket unit."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as datagrams:
        environ = handed_over(datagrams)
        with pytest.raises(ConfigError, match="socket http: does not listen"):
            take_sockets(environ, 200)


def test_a_public_socket_needs_a_token() -> None:
    """The address of the socket unit counts, not the one in the configuration."""
    open_to_all = load_config(None, {})
    with_token = load_config(None, {"TRACKER_API_TOKEN": "a-token-0123456789"})
    with socket.create_server(("0.0.0.0", 0)) as anywhere, socket.create_server(("127.0.0.1", 0)) as here:
        check_exposure([here], open_to_all)
        check_exposure([anywhere, here], with_token)
        with pytest.raises(ConfigError, match="can be reached from other machines"):
            check_exposure([here, anywhere], open_to_all)


def test_an_entry_has_searchable_fields() -> None:
    """Task, provider, event and all other values are separate fields."""
    entry = make_entry(
        {
            "event": "task.ended",
            "task": "01JD",
            "provider": "suno",
            "level": "warning",
            "logger": "tracker.x",
            "polls": 3,
            "ok": True,
            "none": None,
            "list": ["a", 1],
        }
    )
    assert fields_of(entry) == {
        "MESSAGE": 'task.ended task=01JD provider=suno polls=3 ok=true list="[\\"a\\",1]"',
        "PRIORITY": "4",
        "SYSLOG_IDENTIFIER": "tracker",
        "TRACKER_EVENT": "task.ended",
        "TRACKER_TASK_ID": "01JD",
        "TRACKER_PROVIDER": "suno",
        "TRACKER_LOGGER": "tracker.x",
        "TRACKER_POLLS": "3",
        "TRACKER_OK": "true",
        "TRACKER_LIST": '["a",1]',
    }


def test_no_text_breaks_an_entry() -> None:
    """Line breaks, equals signs, control characters and lone surrogates stay in their field."""
    nasty = "a=b\nPRIORITY=0\n\n\x1b[31mred\ud800"
    fields = fields_of(make_entry({"event": "e", "level": "info", "text": nasty, "exception": "Traceback\n  line"}))
    assert fields["TRACKER_TEXT"] == nasty.encode("utf-8", "replace").decode()
    assert fields["PRIORITY"] == "6"
    assert fields["MESSAGE"].endswith("\nTraceback\n  line")
    assert "\x1b" not in fields["MESSAGE"]
    assert message_of({"event": "e", "empty": ""}) == 'e empty=""'


@pytest.mark.parametrize(
    ("key", "name"),
    [
        ("task", "TRACKER_TASK_ID"),
        ("http status", "TRACKER_HTTP_STATUS"),
        ("_x", "TRACKER_X"),
        ("ä", "TRACKER_UNNAMED"),
    ],
)
def test_field_names_are_valid(key: str, name: str) -> None:
    """Upper case letters, digits and underscores (not first), at most 64."""
    assert field_name(key) == name
    assert len(field_name("x" * 200)) == 64


def test_writes_to_the_journal_if_standard_error_is_connected_to_it(receiver: socket.socket, tmp_path: Path) -> None:
    """The socket replaces only the journal's own stream, not a redirected one."""
    path = receiver.getsockname()
    stream = (tmp_path / "stream").open("w")
    status = os.fstat(stream.fileno())
    journal = find_journal({"JOURNAL_STREAM": f"{status.st_dev}:{status.st_ino}"}, stream.fileno(), path)
    assert journal is not None
    journal({"event": "hello", "level": "info"})
    assert fields_of(receiver.recv(65536))["TRACKER_EVENT"] == "hello"
    journal.close()
    assert find_journal({"JOURNAL_STREAM": "1:2"}, stream.fileno(), path) is None
    assert find_journal({}, stream.fileno(), path) is None
    stream.close()


def test_an_entry_too_large_for_a_datagram_is_sent_as_a_file(receiver: socket.socket) -> None:
    """The journal gets it in a sealed memory file."""
    journal = Journal(receiver.getsockname())
    journal({"event": "large", "level": "info", "text": "x" * 5_000_000})
    _, handles, _, _ = socket.recv_fds(receiver, 10, 1)
    with os.fdopen(handles[0], "rb") as file:
        file.seek(0)
        assert len(fields_of(file.read())["TRACKER_TEXT"]) == 5_000_000
    journal.close()


def test_no_line_is_lost_while_the_journal_is_down(short_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """While it is down, lines go to standard error; afterwards to the journal again."""
    path = str(short_path / "journal")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as first:
        first.bind(path)
        journal = Journal(path)
    Path(path).unlink()
    journal({"event": "lost?", "level": "info"})
    assert "lost?" in capsys.readouterr().err
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as second:
        second.bind(path)
        second.settimeout(5)
        journal({"event": "back", "level": "info"})
        assert fields_of(second.recv(65536))["TRACKER_EVENT"] == "back"
    journal.close()


def test_credentials_come_after_the_environment_and_override_nothing(tmp_path: Path) -> None:
    """Files of the credentials directory act as variables, except those that would override configuration keys."""
    for name in ("ANYINT_API_KEY", "TRACKER_API_TOKEN", "TRACKER_POLL__TICK_S", "not-a-name"):
        (tmp_path / name).write_text(f"from {name}\n")
    environ = {"CREDENTIALS_DIRECTORY": str(tmp_path), "TRACKER_API_TOKEN": "from the environment"}
    found = with_credentials(environ)
    assert found == {**environ, "ANYINT_API_KEY": "from ANYINT_API_KEY\n"}
    assert find_secret("x", "ANYINT_API_KEY", None, found) == "from ANYINT_API_KEY"
    assert with_credentials({"CREDENTIALS_DIRECTORY": str(tmp_path / "gone")}).keys() == {"CREDENTIALS_DIRECTORY"}


SEALED = """
import ctypes, subprocess, sys
sys.path.insert(0, sys.argv[2])
from tracker.systemd import hide_credentials, with_credentials
ctypes.CDLL(None).prctl(38, 1, 0, 0, 0)  # no new privileges, as in the unit
environ = {"CREDENTIALS_DIRECTORY": sys.argv[1] + "/run/credentials"}
print(with_credentials(environ)["ANYINT_API_KEY"])
print(hide_credentials(environ))
peek = "cd run/credentials; cat ANYINT_API_KEY; ls; cd ../../data; cat other; mv other moved && cat moved"
print(subprocess.run(["sh", "-c", peek], cwd=sys.argv[1], capture_output=True, text=True).stdout)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="Landlock is Linux's")
def test_children_cannot_read_credentials(tmp_path: Path) -> None:
    """The daemon and its children can read everything except the hidden credentials."""
    for name in ("run/credentials", "data"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "run/credentials/ANYINT_API_KEY").write_text("the key")
    (tmp_path / "data/other").write_text("other")
    repository = str(Path(__file__).parents[2])
    done = subprocess.run(
        [sys.executable, "-c", SEALED, str(tmp_path), repository], capture_output=True, text=True, check=True
    )
    if "not_protected" in done.stdout + done.stderr:
        pytest.skip(f"NOT TESTED: this kernel has no Landlock: {done.stderr or done.stdout}")
    assert done.stdout.splitlines() == ["the key", "True", "ANYINT_API_KEY", "otherother"]


PROTECTED = """
import subprocess, sys
sys.path.insert(0, sys.argv[1])
from tracker.systemd import protect_memory
print(protect_memory())
look = "cat /proc/$PPID/environ; cat /proc/$PPID/maps; readlink /proc/$PPID/fd/1; dd if=/proc/$PPID/mem count=1"
done = subprocess.run(["sh", "-c", look], capture_output=True)
print(done.returncode, len(done.stdout))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="prctl is Linux's")
def test_children_cannot_read_the_memory_of_their_parent() -> None:
    """Hooks cannot read a key from the daemon's environment, even without a credentials directory."""
    prefix = ["setpriv", "--bounding-set", "-all", "--inh-caps", "-all"] if os.geteuid() == 0 else []
    if prefix and shutil.which("setpriv") is None:
        pytest.skip("NOT TESTED: root without setpriv reads everything")
    repository = str(Path(__file__).parents[2])
    command = [*prefix, sys.executable, "-c", PROTECTED, repository]
    done = subprocess.run(command, env={"ANYINT_API_KEY": "k", "PATH": os.defpath}, capture_output=True, check=True)
    assert done.stdout.split() == [b"True", b"1", b"0"]


@pytest.mark.skipif(os.geteuid() == 0, reason="root can read everything; the systemd tests cover it")
def test_unreadable_credentials_are_not_missing(tmp_path: Path) -> None:
    """A process without access cannot know whether a secret exists."""
    shut = tmp_path / "shut"
    shut.mkdir(mode=0)
    with pytest.raises(OutOfReach):
        find_secret("x", "ANYINT_API_KEY", None, {"CREDENTIALS_DIRECTORY": str(shut)})
