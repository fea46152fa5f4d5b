"""How commands run by root find the systemd unit of a configuration file."""

import os
import re
import socket
from pathlib import Path

import pytest

from tracker.cli.systemd_unit import Unit, is_loaded, is_stored, secret_advice, start_command, unit_of, with_unit

MAIN = Path("/etc/tracker/tracker.toml")
STUDIO = Path("/etc/tracker/studio/tracker.toml")
UNITS = Path(__file__).parents[2] / "systemd"


@pytest.fixture(autouse=True)
def _as_root(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)


def write(root: Path, path: str, text: str) -> None:
    """Write a file below a test root."""
    file = root / path
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)


@pytest.mark.parametrize(
    ("file", "unit"),
    [
        (MAIN, Unit("tracker.service", "tracker", "tracker.")),
        (STUDIO, Unit("tracker@studio.service", "tracker-studio", "tracker.studio.")),
        (Path("/etc/tracker/studio/other.toml"), None),
        (Path("/etc/tracker/a/b/tracker.toml"), None),
        (Path("/home/me/tracker.toml"), None),
        (None, None),
    ],
)
def test_a_file_belongs_to_a_unit(file: Path | None, unit: Unit | None) -> None:
    """By its path below /etc/tracker."""
    assert unit_of(file) == unit


def test_what_starts_a_daemon(tmp_path: Path) -> None:
    """The service of the configuration, where systemd runs; else the command itself."""
    assert start_command(MAIN, tmp_path) == "tracker serve"
    (tmp_path / "run/systemd/system").mkdir(parents=True)
    assert start_command(MAIN, tmp_path) == "systemctl start tracker.service"
    assert start_command(STUDIO, tmp_path) == "systemctl start tracker@studio.service"
    assert start_command(Path("/home/me/tracker.toml"), tmp_path) == start_command(None, tmp_path) == "tracker serve"


@pytest.mark.parametrize("file", [MAIN, STUDIO])
def test_where_a_secret_of_a_service_belongs(file: Path) -> None:
    """What the unit does not pass to the daemon needs a drop-in as well."""
    unit = unit_of(file)
    assert unit is not None
    template = f"{unit.name.partition('@')[0]}@.service" if "@" in unit.name else unit.name
    passed = re.findall(r"^LoadCredential=(\w+):", (UNITS / template).read_text(), re.MULTILINE)
    assert passed
    for name in passed:
        place = f"put the key into /etc/credstore/{unit.prefix}{name}; then: systemctl restart {unit.name}"
        assert secret_advice(unit, "the key", name) == place
    advice = secret_advice(unit, "the token", "GRAFANA_TOKEN")
    assert f"LoadCredential=GRAFANA_TOKEN:{unit.prefix}GRAFANA_TOKEN below [Service]" in advice
    assert f"/etc/systemd/system/{unit.name}.d/credentials.conf; then: systemctl daemon-reload && " in advice


def test_a_stored_secret_that_no_drop_in_loads(tmp_path: Path) -> None:
    """The unit loads its own three, drop-ins of the service or of its template load others."""
    unit = Unit("tracker@studio.service", "tracker-studio", "tracker.studio.")
    assert not is_stored(unit, "HOOK_SECRET", tmp_path)
    write(tmp_path, "etc/credstore/tracker.HOOK_SECRET", "of another service")
    assert not is_stored(unit, "HOOK_SECRET", tmp_path)
    write(tmp_path, "etc/credstore.encrypted/tracker.studio.HOOK_SECRET", "x")
    assert is_stored(unit, "HOOK_SECRET", tmp_path)
    assert is_loaded(unit, "ANYINT_API_KEY", tmp_path)
    drop_in = "etc/systemd/system/tracker@.service.d/more.conf"
    write(tmp_path, drop_in, "[Service]\n# LoadCredential=HOOK_SECRET:x\nLoadCredential=HOOK_SECRET2:x\n")
    assert not is_loaded(unit, "HOOK_SECRET", tmp_path)
    write(tmp_path, drop_in, "[Service]\nLoadCredentialEncrypted=HOOK_SECRET:tracker.studio.HOOK_SECRET\n")
    assert is_loaded(unit, "HOOK_SECRET", tmp_path)


def test_a_running_service(tmp_path: Path) -> None:
    """The copies of its credentials, its directories and the socket of an instance are used."""
    write(tmp_path, "run/credentials/tracker@studio.service/ANYINT_API_KEY", "sk-running\n")
    write(tmp_path, "run/credentials/tracker@studio.service/TRACKER_POLL__TICK_S", "9")
    write(tmp_path, "etc/credstore/tracker.studio.ANYINT_API_KEY", "sk-newer")
    for directory in ("var/lib/tracker-studio", "run/tracker-studio"):
        (tmp_path / directory).mkdir(parents=True)
    with socket.socket(socket.AF_UNIX) as listener:
        before = Path.cwd()
        os.chdir(tmp_path / "run")  # the address of a socket must be short
        try:
            listener.bind("tracker-studio.sock")
        finally:
            os.chdir(before)
        found = with_unit({"PATH": "/bin"}, STUDIO, tmp_path)
    assert found == {
        "PATH": "/bin",
        "ANYINT_API_KEY": "sk-running",
        "STATE_DIRECTORY": "/var/lib/tracker-studio",
        "RUNTIME_DIRECTORY": "/run/tracker-studio",
        "TRACKER_SERVER__LISTEN": "unix:/run/tracker-studio.sock",
    }


def test_a_stopped_service(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The credential stores, plain or encrypted, provide its credentials; the environment comes first."""
    write(tmp_path, "etc/credstore/tracker.ANYINT_API_KEY", "sk-stored")
    write(tmp_path, "etc/credstore/tracker.studio.ANYINT_API_KEY", "sk-of-another-unit")
    write(tmp_path, "etc/credstore/tracker.TRACKER_API_TOKEN", "stored-token")
    write(tmp_path, "etc/credstore.encrypted/tracker.KLING_SECRET", "encrypted")
    write(tmp_path, "bin/systemd-creds", '#!/bin/sh\necho "decrypted $1 $2"\n')
    (tmp_path / "bin/systemd-creds").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}/bin:{os.defpath}")
    assert with_unit({"TRACKER_API_TOKEN": "mine"}, MAIN, tmp_path) == {
        "TRACKER_API_TOKEN": "mine",
        "ANYINT_API_KEY": "sk-stored",
        "KLING_SECRET": "decrypted decrypt --name=KLING_SECRET",
    }


def test_variables_of_drop_ins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The variables of a unit with drop-ins, or of its template, are those that systemd has; present ones win."""
    variables = (
        'TRACKER_ACCOUNTS__DEFAULT__BASE_URL=https://gateway.example "HTTPS_PROXY=http://a b" TRACKER_POLL__TICK_S=2'
    )
    write(tmp_path, "bin/systemctl", f"#!/bin/sh\necho \"$@\" >> {tmp_path}/calls\necho '{variables}'\n")
    (tmp_path / "bin/systemctl").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}/bin:{os.defpath}")
    assert with_unit({}, STUDIO, tmp_path) == {}
    assert not (tmp_path / "calls").exists(), "without drop-ins systemd is not asked"
    (tmp_path / "etc/systemd/system/tracker@.service.d").mkdir(parents=True)
    assert with_unit({"TRACKER_POLL__TICK_S": "1"}, STUDIO, tmp_path) == {
        "TRACKER_POLL__TICK_S": "1",
        "TRACKER_ACCOUNTS__DEFAULT__BASE_URL": "https://gateway.example",
        "HTTPS_PROXY": "http://a b",
    }
    assert (tmp_path / "calls").read_text() == "show --property=Environment --value tracker@studio.service\n"
    assert with_unit({}, MAIN, tmp_path) == {}
    write(tmp_path, "bin/systemctl", "#!/bin/sh\nexit 1\n")
    assert with_unit({}, STUDIO, tmp_path) == {}


def test_other_callers_find_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A user without access, root with a file without a unit, and the service itself find none."""
    write(tmp_path, "etc/credstore/tracker.ANYINT_API_KEY", "sk-stored")
    assert with_unit({}, Path("/home/me/tracker.toml"), tmp_path) == {}
    service = {"CREDENTIALS_DIRECTORY": "/run/credentials/tracker.service"}
    assert with_unit(service, MAIN, tmp_path) == service
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert with_unit({}, MAIN, tmp_path) == {}
