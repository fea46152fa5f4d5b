"""Secrets: from the environment, systemd's credentials directory, or a file. Errors never contain their values."""

from __future__ import annotations

import os
import stat
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from tracker.domain.text import NotText, clean_secret, read_text
from tracker.errors import ConfigError
from tracker.filesystem import make_directory, sync_directory

CALLBACK_SECRET_FILE = "callback.secret"  # noqa: S105 - a file name
SHORTEST_CALLBACK_SECRET = 16
"""Bytes; see `tracker.domain.tokens`."""


class OutOfReach(ConfigError):
    """Credentials exist, but this process may not read them: systemd passes none to commands of a reload."""


def find_secret(where: str, name: str | None, file: Path | None, env: Mapping[str, str]) -> str | None:
    """Read one secret.

    Args:
        where: the key's path, for the error message.
        name: the environment variable; also the file name in ``$CREDENTIALS_DIRECTORY``.
        file: a file with it; comes before ``name``.
        env: the environment.

    Returns:
        The secret without surrounding white space, None without one.

    Raises:
        OutOfReach: this process may not read the directory.
        ConfigError: its file cannot be read, or a configured file is empty.
    """
    if file is not None:
        value = _read(where, file)
        if not value:
            raise ConfigError([f"{file}: {where}: the file is empty; write the secret into it"])
        return value
    if name is None:
        return None
    if value := clean_secret(env.get(name, "")):
        return value
    directory = env.get("CREDENTIALS_DIRECTORY")
    if not directory:
        return None
    credential = Path(directory) / name
    try:
        credential.stat()
    except PermissionError as error:
        raise OutOfReach([f"{directory}: {where}: only the daemon may read this directory"]) from error
    except OSError:
        return None
    try:
        return _read(where, credential) or None
    except ConfigError as error:
        if not isinstance(error.__cause__, PermissionError):
            raise
        # the daemon dropped its permission to read it again, see `tracker.systemd.credentials`
        what = f"the credential {name} was added after the start, and systemd passes credentials at a start only"
        raise ConfigError([f"{where}: {what}; it needs a restart"]) from error


def find_or_make_callback_secret(directory: Path) -> bytes:
    """Read the callback secret beside the store, or create a private one.

    Two processes that start at once get the same secret.

    Raises:
        ConfigError: it cannot be read or created, others can read it, or it is too short.
    """
    path = directory / CALLBACK_SECRET_FILE
    try:
        if not path.exists():
            _make(path)
        sync_directory(directory)  # its creator may have crashed before syncing its name
        mode = path.stat().st_mode
        value = clean_secret(read_text(path)).encode()
    except NotText as error:
        raise ConfigError([f"{path}: callbacks.secret_env: {error}"]) from None
    except OSError as error:
        raise ConfigError(
            [f"{path}: callbacks.secret_env: {_describe(error)}; make it readable, or set the variable"]
        ) from error
    if stat.S_IMODE(mode) & 0o077:
        raise ConfigError([f"{path}: callbacks.secret_env: others can read this secret; run chmod 600 on it"])
    return check_callback_secret(value, str(path))


def check_callback_secret(value: bytes, source: str) -> bytes:
    """Check the length of a callback secret.

    Raises:
        ConfigError: it is too short.
    """
    if len(value) < SHORTEST_CALLBACK_SECRET:
        least = f"the secret is shorter than {SHORTEST_CALLBACK_SECRET} bytes"
        fix = "use a long random one, for example from openssl rand -hex 32"
        raise ConfigError([f"{source}: callbacks.secret_env: {least}; {fix}"])
    return value


def _make(path: Path) -> None:
    make_directory(path.parent)
    draft = path.with_name(f".{path.name}.{os.getpid()}.{os.urandom(4).hex()}")
    handle = os.open(draft, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
    try:
        with os.fdopen(handle, "w", encoding="ascii") as file:
            file.write(f"{os.urandom(32).hex()}\n")
            file.flush()
            os.fsync(file.fileno())
        with suppress(FileExistsError):  # another process was first; use its secret
            os.link(draft, path)
    finally:
        draft.unlink()


def _read(where: str, file: Path) -> str:
    try:
        return clean_secret(read_text(file))
    except NotText as error:
        raise ConfigError([f"{file}: {where}: {error}"]) from None
    except OSError as error:
        raise ConfigError([f"{file}: {where}: {_describe(error)}; make it readable, or choose another file"]) from error


def _describe(error: OSError) -> str:
    return f"cannot be read ({error.strerror or type(error).__name__})"
