"""Does the daemon on the configured address serve the configured store?

Another tracker may listen there: its tasks would be looked up in the wrong place, and a job would be paid and recorded
where nobody looks for it. The daemon answers the instance id of its store on ``/readyz``; the file holds the same id.
Owns the comparison. Sends no token before the daemon is known.
"""

from __future__ import annotations

from dataclasses import replace
from http import HTTPStatus
from typing import TYPE_CHECKING, Literal

from tracker.cli.checkup import look_at_lock
from tracker.cli.client import token_line
from tracker.cli.exits import OtherStore
from tracker.daemon.peers import Peer, look_at, read_facts, with_store
from tracker.errors import ConfigError, StoreUnusable
from tracker.store.sqlite import read_instance

if TYPE_CHECKING:
    from pathlib import Path

    from tracker.config import Config

Serves = Literal["ours", "another", "unknown"]


def check_store(config: Config) -> None:
    """Refuse to talk to a tracker that serves another store.

    Nothing is said where nobody answers: the command itself finds out.

    Raises:
        OtherStore: it serves another store, or that cannot be found out, because it gives no answer for one.
    """
    url, path = config.listen.url, config.store_path
    peer = look_at(url)
    if peer.kind == "free":
        return
    choose = f"choose a port for your own with server.listen, or name that daemon with --url {url}"
    if peer.kind == "other":
        raise OtherStore(f"another program answers at {url} ({peer.detail})", "choose another port with server.listen")
    if peer.kind == "silent":
        fix = "if it is your daemon, its log says more; else choose another port with server.listen"
        raise OtherStore(f"{url} gives no answer ({peer.detail})", fix)
    serves, peer, why = compare(config, peer)
    if serves == "ours":
        return
    if serves == "another":
        raise OtherStore(f"{peer.name} answers at {url}, not one that serves {path}", choose)
    raise OtherStore(f"a tracker answers at {url}, but whether it serves {path} is not known ({why})", choose)


def compare(config: Config, peer: Peer) -> tuple[Serves, Peer, str]:
    """Which store a tracker serves, compared with the configured one.

    Where the file cannot be read by this user, the paths are compared instead: a daemon that the token fits says where
    its store is.

    Returns:
        The answer; the tracker, with its store's path where it says that; and why the answer is unknown.
    """
    url, path = config.listen.url, config.store_path
    if peer.instance is None:
        return "unknown", peer, "it is of an older version; restart it"
    try:
        own = read_instance(path)
    except StoreUnusable as error:
        if not _is_out_of_reach(error):
            return "unknown", peer, str(error)
        try:
            token = config.api_token()
        except ConfigError as problem:
            return "unknown", peer, problem.problems[0]
        facts = read_facts(url, token)
        if facts.get("status") == HTTPStatus.UNAUTHORIZED:
            return "unknown", peer, token_line(url, is_sent=token is not None)
        peer = replace(peer, store=facts.get("store"))
        if peer.store is None:
            return "unknown", peer, str(error)
        return ("ours" if peer.store == str(path.absolute()) else "another"), peer, ""
    if own == peer.instance and _is_served(path):
        return "ours", peer, ""
    return "another", with_store(peer, url), ""


def _is_served(path: Path) -> bool:
    """Whether a process serves this very file: a copy has the same instance id, and its lock is free."""
    try:
        return look_at_lock(path) is not None
    except OSError:
        return True  # it cannot be seen; the id alone decides


def _is_out_of_reach(error: StoreUnusable) -> bool:
    """Whether the file may well be sound, but is not this user's to read."""
    cause: BaseException | None = error.__cause__
    return isinstance(cause, PermissionError) or "unable to open database file" in str(cause)
