"""The systemd units: valid, sandboxed, and the instances equal to the service."""

import re
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path

import pytest

from tracker.archive import archiver
from tracker.daemon import app
from tracker.hooks import dispatcher
from tracker.providers.reading.requests import CREATE_WITHIN_S, RESULT_WITHIN_S
from tracker.tracking import submitter
from tracker.upstream import client

REPOSITORY = Path(__file__).parents[2]
SYSTEMD = REPOSITORY / "systemd"
SERVICES = ["tracker.service", "tracker@.service", "tracker-backup.service", "tracker-backup@.service"]
MOST_EXPOSED = 1.2

needs_systemd = pytest.mark.skipif(
    shutil.which("systemd-analyze") is None,
    reason="NOT CHECKED: systemd-analyze is not installed here",
)


def read_unit(name: str) -> list[tuple[str, str]]:
    """The directives of a unit, without its comments."""
    lines = (SYSTEMD / name).read_text(encoding="utf-8").splitlines()
    pairs = [line.partition("=") for line in lines if "=" in line and not line.startswith("#")]
    return [(key, value) for key, _, value in pairs]


def seconds(unit: Mapping[str, str], key: str) -> float:
    """A directive that is a plain number of seconds."""
    return float(unit[key])


@pytest.fixture
def staged(tmp_path: Path) -> Path:
    """The units as they are when installed: with a program that exists, and instances with a name."""
    for path in SYSTEMD.iterdir():
        if path.suffix in {".service", ".socket", ".timer"}:
            text = path.read_text(encoding="utf-8").replace("/usr/local/bin/tracker", "/bin/true")
            (tmp_path / path.name.replace("@", "@example")).write_text(text, encoding="utf-8")
    return tmp_path


@needs_systemd
def test_every_unit_verifies(staged: Path) -> None:
    """No unknown key, no misspelt value, no missing program: `verify` reports nothing."""
    units = sorted(str(path) for path in staged.iterdir())
    found = subprocess.run(
        ["systemd-analyze", "verify", "--recursive-errors=no", "--man=no", *units],
        capture_output=True,
        text=True,
        check=False,
    )
    mine = [line for line in found.stderr.splitlines() if "tracker" in line]
    assert (found.returncode, mine) == (0, [])


@needs_systemd
def test_verify_would_have_found_a_mistake(staged: Path) -> None:
    """The check above works: it fails for a key that is unknown to systemd."""
    unit = staged / "tracker.service"
    unit.write_text(unit.read_text(encoding="utf-8").replace("ProtectHome=yes", "ProtectHoem=yes"), encoding="utf-8")
    found = subprocess.run(
        ["systemd-analyze", "verify", "--recursive-errors=no", "--man=no", str(unit)], capture_output=True, check=False
    )
    assert b"ProtectHoem" in found.stderr


@needs_systemd
@pytest.mark.parametrize("name", SERVICES)
def test_services_are_sandboxed(name: str) -> None:
    """The exposure score of `systemd-analyze security`: what a compromised service could do."""
    found = subprocess.run(
        ["systemd-analyze", "security", "--offline=true", str(SYSTEMD / name)],
        capture_output=True,
        text=True,
        check=False,
    )
    level = re.search(r"Overall exposure level for \S+: ([0-9.]+)", found.stdout)
    assert level is not None, found.stderr
    assert float(level[1]) <= MOST_EXPOSED, found.stdout


def test_the_stop_timeout_covers_every_drain() -> None:
    """It kills only a daemon that hangs, never one that still drains."""
    unit = dict(read_unit("tracker.service"))
    downloads_s = 2 * archiver._END_S
    hooks_s = app.DRAIN_HOOKS_S + dispatcher.END_S
    requests_s = app.LINGER_S + app.DRAIN_SENDS_S + app.DRAIN_CONNECTIONS_S
    drains_s = requests_s + downloads_s + app.DRAIN_POLLS_S + hooks_s
    assert seconds(unit, "TimeoutStopSec") > drains_s + 10


def test_a_stop_outlasts_every_paid_create() -> None:
    """A slow create is not cut off: its result is paid for."""
    assert max(RESULT_WITHIN_S, CREATE_WITHIN_S) + client.SLOT_WITHIN_S <= app.DRAIN_SENDS_S
    assert app.DRAIN_SENDS_S > submitter.ANSWER_WITHIN_S


@pytest.mark.parametrize(
    ("one", "many"),
    [
        ("tracker.service", "tracker@.service"),
        ("tracker-backup.service", "tracker-backup@.service"),
        ("tracker-backup.timer", "tracker-backup@.timer"),
    ],
)
def test_instances_are_like_the_service(one: str, many: str) -> None:
    """A template differs in its names alone; what protects one protects all."""

    def plain(value: str) -> str:
        return (
            re.sub(r"tracker(-backup)?@%i\.", r"tracker\1.", value)
            .replace("tracker.%i.", "tracker.")
            .replace("tracker-%i", "tracker")
            .replace("tracker/%i", "tracker")
            .replace(" %i", "")
        )

    own = {("AssertPathExists", "%E/tracker/tracker.toml"), ("Environment", "TRACKER_CONFIG=%E/tracker/tracker.toml")}
    instances = [(key, plain(value)) for key, value in read_unit(many)]
    assert [pair for pair in instances if pair not in own] == read_unit(one)


def test_the_socket_listens_where_the_configuration_says() -> None:
    """The commands find the socket-activated daemon without configuration."""
    text = (REPOSITORY / "config" / "tracker.toml").read_text(encoding="utf-8")
    (listen,) = re.findall(r'^listen = "(.+)"', text, re.MULTILINE)
    assert dict(read_unit("tracker.socket"))["ListenStream"] == listen


def test_the_proxies_pass_complete_callbacks() -> None:
    """A proxy with lower limits would answer 413 itself and hide the callback from the tracker."""
    text = (REPOSITORY / "config" / "tracker.toml").read_text(encoding="utf-8")
    (limit,) = re.findall(r"^max_callback_bytes = (\d+)", text, re.MULTILINE)
    for name in ("nginx.conf", "Caddyfile"):
        proxy = (REPOSITORY / "config" / name).read_text(encoding="utf-8")
        size = re.search(r"(?:client_max_body_size|max_size) (\d+)m", proxy, re.IGNORECASE)
        assert size is not None
        assert int(size[1]) * 1_000_000 > int(limit)
