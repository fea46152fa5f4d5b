"""Where secrets come from: the environment, systemd's credentials directory, or a file.

Owns reading them and making the callback secret. A secret's value never appears in an error.
"""

from __future__ import annotations

import os
import secrets
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
    """There are credentials, but this process may not look at them: systemd hands none to commands of a reload."""


def find_secret(where: str, name: str | None, file: Path | None, env: Mapping[str, str]) -> str | None:
    """Read one secret.

    Args:
        where: the key's path, for the error message.
        name: the environment variable; also the file looked for in ``$CREDENTIALS_DIRECTORY``.
        file: a file that holds it; comes before ``name``.
        env: the environment.

    Returns:
        The secret without surrounding white space, None when there is none.

    Raises:
        OutOfReach: whether there is one cannot be told.
        ConfigError: a file that holds it cannot be read, or is empty although it was named.
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
        raise OutOfReach([f"{directory}: {where}: this process may not look there; it is the daemon's"]) from error
    except OSError:
        return None
    try:
        return _read(where, credential) or None
    except ConfigError as error:
        if not isinstance(error.__cause__, PermissionError):
            raise
        # the daemon gave up the right to read what it has read, see `tracker.systemd.credentials`
        what = f"the credential {name} was added after the start and is handed over at a start only"
        raise ConfigError([f"{where}: {what}; it takes a restart"]) from error


def find_or_make_callback_secret(directory: Path) -> bytes:
    """Read the callback secret beside the store, or make one that only this user can read.

    Two processes that start at once end up with the same secret.

    Raises:
        ConfigError: it cannot be read or made, others can read it, or it is too short.
    """
    path = directory / CALLBACK_SECRET_FILE
    try:
        if not path.exists():
            _make(path)
        sync_directory(directory)  # also where another process made it and died before its name was on disk
        mode = path.stat().st_mode
        value = clean_secret(read_text(path)).encode()
    except NotText as error:
        raise ConfigError([f"{path}: callbacks.secret_env: {error}"]) from None
    except OSError as error:
        raise ConfigError(
            [f"{path}: callbacks.secret_env: {_words(error)}; make it readable, or set the variable"]
        ) from error
    if stat.S_IMODE(mode) & 0o077:
        raise ConfigError([f"{path}: callbacks.secret_env: others can read this secret; run chmod 600 on it"])
    return check_callback_secret(value, str(path))


def check_callback_secret(value: bytes, source: str) -> bytes:
    """Return a callback secret that is long enough.

    Raises:
        ConfigError: it is too short to be safe.
    """
    if len(value) < SHORTEST_CALLBACK_SECRET:
        least = f"the secret is shorter than {SHORTEST_CALLBACK_SECRET} bytes"
        mend = "use a long random one, for example from openssl rand -hex 32"
        raise ConfigError([f"{source}: callbacks.secret_env: {least}; {mend}"])
    return value


def _make(path: Path) -> None:
    make_directory(path.parent)
    draft = path.with_name(f".{path.name}.{os.getpid()}.{secrets.token_hex(4)}")
    handle = os.open(draft, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
    try:
        with os.fdopen(handle, "w", encoding="ascii") as file:
            file.write(f"{secrets.token_hex(32)}\n")
            file.flush()
            os.fsync(file.fileno())
        with suppress(FileExistsError):  # another process was first: its secret is the one
            os.link(draft, path)
    finally:
        draft.unlink()


def _read(where: str, file: Path) -> str:
    try:
        return clean_secret(read_text(file))
    except NotText as error:
        raise ConfigError([f"{file}: {where}: {error}"]) from None
    except OSError as error:
        raise ConfigError([f"{file}: {where}: {_words(error)}; make it readable, or name another file"]) from error


def _words(error: OSError) -> str:
    return f"cannot be read ({error.strerror or type(error).__name__})"
