"""Whether the daemon on the configured address serves the configured store, and which process uses a store.

Another tracker may listen there; a job would be paid and recorded in its store. ``/readyz`` returns the instance id of
the daemon's store, and the file has the same id. No token is sent before the daemon is identified.
"""

from __future__ import annotations

import fcntl
from contextlib import suppress
from dataclasses import replace
from http import HTTPStatus
from typing import TYPE_CHECKING, Literal

from tracker.cli.client import token_line
from tracker.cli.exits import Unreachable
from tracker.daemon.peers import Peer, look_at, read_facts, with_store
from tracker.errors import ConfigError, StoreUnusable

if TYPE_CHECKING:
    from pathlib import Path

    from tracker.config import Config
    from tracker.config.client import ClientConfig

Serves = Literal["same", "another", "unknown"]


def check_store(config: Config | ClientConfig) -> None:
    """Refuse a tracker that serves another store. A free address is not an error here.

    Raises:
        Unreachable: it serves another store, or that is unknown.
    """
    url, path = config.listen.url, config.store_path
    peer = look_at(url)
    if peer.kind == "free":
        return
    choose = f"choose another port with server.listen, or use that daemon with --url {url}"
    if peer.kind == "other":
        raise _refusal(f"another program answers at {url} ({peer.detail})", "choose another port with server.listen")
    if peer.kind == "silent":
        log = "if it is the socket of the service, see journalctl -u tracker.service"
        fix = f"{log}; else choose another port with server.listen"
        raise _refusal(f"{url} gives no answer ({peer.detail})", fix)
    serves, peer, why = compare(config, peer)
    if serves == "same":
        return
    if serves == "another":
        raise _refusal(f"{peer.name} answers at {url}, which does not serve {path}", choose)
    raise _refusal(f"a tracker answers at {url}, but it is unknown whether it serves {path} ({why})", choose)


def _refusal(brief: str, fix: str) -> Unreachable:
    return Unreachable(f"{brief}; {fix}", brief)


def compare(config: Config | ClientConfig, peer: Peer) -> tuple[Serves, Peer, str]:
    """Compare the store of a tracker with the configured one.

    If this user cannot read the file, the paths are compared: a daemon that accepts the token returns its path.

    Returns:
        The result; the tracker, with its store's path if known; and why the result is unknown.
    """
    url, path = config.listen.url, config.store_path
    if peer.instance is None:
        return "unknown", peer, "it is an older version; restart it"
    from tracker.store.sqlite import read_instance

    try:
        own = read_instance(path)
    except StoreUnusable as error:
        if not _is_out_of_reach(error):
            return "unknown", peer, str(error)
        try:
            token = config.client_token()
        except ConfigError as problem:
            return "unknown", peer, problem.problems[0]
        facts = read_facts(url, token)
        if facts.get("status") == HTTPStatus.UNAUTHORIZED:
            return "unknown", peer, token_line(url, is_sent=token is not None)
        peer = replace(peer, store=facts.get("store"))
        if peer.store is None:
            return "unknown", peer, str(error)
        return ("same" if peer.store == str(path.absolute()) else "another"), peer, ""
    if own == peer.instance and _is_served(path):
        return "same", peer, ""
    return "another", with_store(peer, url), ""


def _is_served(path: Path) -> bool:
    """Whether a process has the lock of this file; a copy has the same instance id and a free lock."""
    try:
        return read_lock_holder(path) is not None
    except OSError:
        return True  # not visible; the id decides


def _is_out_of_reach(error: StoreUnusable) -> bool:
    """Whether this user may not read the file."""
    cause: BaseException | None = error.__cause__
    return isinstance(cause, PermissionError) or "unable to open database file" in str(cause)


def find_lock_holder(store: Path) -> str | None:
    """The process that holds the lock of a store; None if it is free or unknown."""
    with suppress(OSError):
        return read_lock_holder(store)
    return None


def read_lock_holder(store: Path) -> str | None:
    """The process that holds the lock of a store; None if it is free.

    Raises:
        OSError: that cannot be determined.
    """
    path = store.resolve()
    try:
        with path.with_name(f"{path.name}.lock").open() as handle:
            try:
                fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                return handle.read(32).strip() or "unknown"
    except FileNotFoundError:
        pass
    return None
