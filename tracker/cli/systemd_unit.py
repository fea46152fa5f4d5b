"""Keys, variables, state directory and socket of a systemd unit, for commands that root runs by hand.

They are found by the configuration file: ``/etc/tracker/tracker.toml`` belongs to ``tracker.service``, and
``/etc/tracker/NAME/tracker.toml`` to ``tracker@NAME.service``. Nothing is written. Other users cannot read them.

**Source**: systemd.exec(5), LoadCredential= (the credential stores), systemd-creds(1), systemd.unit(5) (drop-ins) and
systemctl(1), show; read for systemd 252.
"""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

CONFIGURATION = Path("/etc/tracker")
"""``ConfigurationDirectory=`` of both units."""
ROOT = Path("/")
_STORES = ("etc/credstore", "run/credstore", "usr/local/lib/credstore", "usr/lib/credstore")
_DROP_INS = ("etc/systemd/system", "run/systemd/system", "usr/local/lib/systemd/system")
_COMMAND_S = 10.0
_LOADED = frozenset({"ANYINT_API_KEY", "TRACKER_API_TOKEN", "TRACKER_CALLBACK_SECRET"})
"""``LoadCredential=`` of both units; systemd passes other files of the store only with a drop-in."""


@dataclass(frozen=True, slots=True)
class Unit:
    """A service.

    Attributes:
        name: of the unit.
        label: of its directories below ``/var/lib`` and ``/run``.
        prefix: of its files in the credential stores.
    """

    name: str
    label: str
    prefix: str


def unit_of(file: Path | None) -> Unit | None:
    """The service of a configuration file; None without one."""
    if file is None or file.name != "tracker.toml":
        return None
    directory = file.absolute().parent
    if directory == CONFIGURATION:
        return Unit("tracker.service", "tracker", "tracker.")
    if directory.parent == CONFIGURATION:
        name = directory.name
        return Unit(f"tracker@{name}.service", f"tracker-{name}", f"tracker.{name}.")
    return None


def start_command(file: Path | None, root: Path = ROOT) -> str:
    """The command that starts the daemon of a configuration file: its service, where systemd runs."""
    unit = unit_of(file)
    if unit is None or not (root / "run/systemd/system").is_dir():
        return "tracker serve"
    return f"systemctl start {unit.name}"


def secret_advice(unit: Unit, what: str, variable: str) -> str:
    """Where a secret of a service belongs, and how it gets there.

    Args:
        unit: the service.
        what: a description of the secret.
        variable: the name that the configuration gives it.
    """
    place = f"put {what} into /etc/credstore/{unit.prefix}{variable}"
    if variable in _LOADED:
        return f"{place}; then: systemctl restart {unit.name}"
    return f"{place}, and {loading_advice(unit, variable)}"


def loading_advice(unit: Unit, variable: str) -> str:
    """How a secret that is in the credential store gets to the daemon."""
    drop_in = f"/etc/systemd/system/{unit.name}.d/credentials.conf"
    line = f"LoadCredential={variable}:{unit.prefix}{variable}"
    return f"{line} below [Service] into {drop_in}; then: systemctl daemon-reload && systemctl restart {unit.name}"


def is_stored(unit: Unit, variable: str, root: Path = ROOT) -> bool:
    """Whether a credential store has a file for a secret of a service."""
    stores = (directory for store in _STORES for directory in (store, f"{store}.encrypted"))
    return any(os.path.lexists(root / directory / f"{unit.prefix}{variable}") for directory in stores)


def is_loaded(unit: Unit, variable: str, root: Path = ROOT) -> bool:
    """Whether the unit or one of its drop-ins passes a credential to the daemon. systemd cannot be asked in 252."""
    if variable in _LOADED:
        return True
    line = re.compile(rf"^\s*(?:Load|Set)Credential(?:Encrypted)?={re.escape(variable)}\s*(?::|$)", re.MULTILINE)
    files = (file for directory in _drop_in_directories(unit, root) for file in directory.glob("*.conf"))
    return any(line.search(_read(file) or "") for file in files)


def with_unit(environ: Mapping[str, str], file: Path | None, root: Path = ROOT) -> dict[str, str]:
    """Add what systemd passes to the service of this configuration file to the environment of a command.

    Present variables win.

    Args:
        environ: the command's environment.
        file: the configuration file.
        root: of the file system.
    """
    found = dict(environ)
    unit = unit_of(file)
    if unit is None or os.geteuid() != 0 or "CREDENTIALS_DIRECTORY" in environ:
        return found
    socket = Path("/run", f"{unit.label}.sock")
    for variable, directory in (("STATE_DIRECTORY", "/var/lib"), ("RUNTIME_DIRECTORY", "/run")):
        path = Path(directory, unit.label)
        if (root / path.relative_to("/")).is_dir():
            found.setdefault(variable, str(path))
    if (root / socket.relative_to("/")).is_socket():  # the socket unit of an instance overrides server.listen
        found.setdefault("TRACKER_SERVER__LISTEN", f"unix:{socket}")
    for name, value in _variables(unit, root):
        found.setdefault(name, value)
    for name, value in _credentials(unit, root):
        if name.isidentifier() and "__" not in name:  # a credential never overrides a configuration key
            found.setdefault(name, value)
    return found


def credentials_directory(unit: Unit, root: Path = ROOT) -> Path:
    """The credentials directory of a running service."""
    return root / "run/credentials" / unit.name


def _credentials(unit: Unit, root: Path) -> Iterator[tuple[str, str]]:
    """Names and values that the running service has, else those that it would get."""
    handed_over = credentials_directory(unit, root)
    if handed_over.is_dir():
        yield from ((file.name, text) for file in sorted(handed_over.iterdir()) if (text := _read(file)) is not None)
        return
    for store in _STORES:
        for file in sorted((root / store).glob(f"{unit.prefix}*")):
            if (text := _read(file)) is not None:
                yield file.name.removeprefix(unit.prefix), text
        for file in sorted((root / f"{store}.encrypted").glob(f"{unit.prefix}*")):
            name = file.name.removeprefix(unit.prefix)
            if (text := _decrypt(name, file)) is not None:
                yield name, text


def _variables(unit: Unit, root: Path) -> Iterator[tuple[str, str]]:
    """The variables that drop-ins of the service may set, as systemd has loaded them."""
    if not any(directory.is_dir() for directory in _drop_in_directories(unit, root)):
        return
    for assignment in shlex.split(_output("systemctl", "show", "--property=Environment", "--value", unit.name) or ""):
        name, equals, value = assignment.partition("=")
        if equals:
            yield name, value


def _drop_in_directories(unit: Unit, root: Path) -> list[Path]:
    """Where drop-ins of a service, or of the template of an instance, may be."""
    template = f"{unit.name.partition('@')[0]}@.service" if "@" in unit.name else unit.name
    return [root / place / f"{name}.d" for place in _DROP_INS for name in sorted({unit.name, template})]


def _read(file: Path) -> str | None:
    try:
        return file.read_text(encoding="utf-8").strip() or None
    except (OSError, UnicodeDecodeError):
        return None


def _decrypt(name: str, file: Path) -> str | None:
    """Decrypt a credential of this machine; None if systemd cannot."""
    return _output("systemd-creds", "decrypt", f"--name={name}", str(file), "-")


def _output(*command: str) -> str | None:
    """What a command of systemd prints; None if it fails or prints nothing."""
    import subprocess

    try:
        done = subprocess.run(command, capture_output=True, timeout=_COMMAND_S, check=True)  # noqa: S603 - fixed names
        return done.stdout.decode().strip() or None
    except (OSError, subprocess.SubprocessError, UnicodeDecodeError):
        return None
