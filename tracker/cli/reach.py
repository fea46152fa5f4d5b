"""What `doctor` looks at over the network: keys, gateways, the clock, the daemon's address and the public one.

Owns what counts as well there. Must not change anything: nothing is sent but questions that cost nothing, and a key
goes to its own account's address alone.
"""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from tracker.cli.advice import unreachable_public_url
from tracker.cli.checkup import Line, holder_of
from tracker.cli.identity import Serves, compare
from tracker.daemon.peers import Answer, NoAnswer, Peer, ask, look_at, read_facts, with_store
from tracker.errors import ConfigError
from tracker.providers.model_lists import LISTS

if TYPE_CHECKING:
    from tracker.config import Config, Listen

CLOCK_TOLERANCE_S = 30.0
"""A tenth of what signatures allow, and far more than an answer takes."""
_DOWN = frozenset({HTTPStatus.BAD_GATEWAY, HTTPStatus.SERVICE_UNAVAILABLE, HTTPStatus.GATEWAY_TIMEOUT})


@dataclass(frozen=True, slots=True)
class Daemon:
    """Who is found on the configured address.

    Attributes:
        peer: who answers.
        serves: whose store it serves; ``unknown`` where no tracker answers, too.
        why: why that is unknown.
        facts: what our own daemon says of itself; empty where it says nothing.
    """

    peer: Peer
    serves: Serves
    why: str
    facts: Mapping[str, Any]


def find_daemon(config: Config) -> Daemon:
    """Look who answers on the configured address."""
    peer = look_at(config.listen.url)
    if peer.kind != "tracker":
        return Daemon(peer, "unknown", peer.detail, {})
    serves, peer, why = compare(config, peer)
    facts: dict[str, Any] = {}
    if serves == "ours":
        with suppress(ConfigError):
            facts = read_facts(config.listen.url, config.api_token())
    return Daemon(peer, serves, why, facts)


def check_daemon(config: Config, daemon: Daemon) -> Line:
    """The address is free, or our own daemon answers there and is ready."""
    url, listen, peer = config.listen.url, config.listen, daemon.peer
    holder = holder_of(config.store_path)
    elsewhere = f"; process {holder} has the store {config.store_path}" if holder else ""
    move = "choose another address with server.listen, or stop that program"
    match peer.kind, daemon.serves:
        case "tracker", "ours":
            if peer.reasons:
                fix = "its log says more: journalctl -u tracker.service, or what tracker serve prints"
                return Line("daemon", "failed", f"{url} is not ready: {' '.join(peer.reasons)}", fix)
            return Line("daemon", "ok", f"process {holder or 'unknown'} serves the store, listening on {url}")
        case "tracker", "another":
            return Line("daemon", "failed", f"{peer.name} answers at {url}{elsewhere}", move)
        case "tracker", _:
            detail = f"a tracker answers at {url}; whether it serves {config.store_path} is not known ({daemon.why})"
            return Line("daemon", "skipped", detail)
        case "other", _:
            return Line("daemon", "failed", f"another program answers at {url} ({peer.detail}){elsewhere}", move)
        case _ if holder:
            fix = f"look at its log; if it hangs: kill {holder}, which loses nothing"
            detail = f"process {holder} has the store, and {url} gives no answer ({peer.detail})"
            return Line("daemon", "failed", detail, fix)
        case "silent", _:
            fix = f"if it is the socket of the service, its log says why: journalctl -u tracker.service; else {move}"
            return Line("daemon", "failed", f"something listens at {url} and gives no answer ({peer.detail})", fix)
        case _:
            why = _why_not_free(listen)
            if why is not None:
                fix = "choose another address with server.listen"
                return Line("daemon", "failed", f"not running, and it could not listen on {listen} ({why})", fix)
            return Line("daemon", "skipped", f"not running; {listen} is free")


def _why_not_free(listen: Listen) -> str | None:
    """Why a daemon could not listen on an address that is free; None when it could."""
    if listen.path is not None:
        return None  # a left-over socket is replaced
    family = socket.AF_INET6 if ":" in listen.host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((listen.host, listen.port))
        except OSError as error:
            return error.strerror or str(error)
    return None


def check_keys(config: Config, facts: Mapping[str, Any]) -> Iterator[Line]:
    """Each account has a key, here or where the daemon runs.

    Args:
        config: the configuration.
        facts: what the running daemon says of itself.
    """
    has_key = {item["name"]: item["has_key"] for item in facts.get("accounts", [])}
    for name, account in config.accounts.items():
        source = str(account.api_key_file or account.api_key_env)
        problem = config.account_key_problem(name)
        if problem is None:
            yield Line(f"key of {name}", "ok", f"{source} is set")
        elif config.account_key(name):
            what, _, fix = problem.partition("; ")
            yield Line(f"key of {name}", "failed", what, f"{source}: {fix}")
        elif has_key.get(name):
            yield Line(f"key of {name}", "ok", f"the daemon has it; {source} is not set here")
        else:
            fix = f"export {source}=… for the daemon, or with systemd put it into /etc/credstore, and restart"
            yield Line(f"key of {name}", "failed", f"{source} is not set: every request would be refused", fix)


def check_gateways(config: Config, has_lists: Callable[[str], bool] = lambda _account: True) -> Iterator[Line]:
    """Each account's upstream answers as a gateway does, takes the key, and agrees on what time it is.

    Args:
        config: the configuration.
        has_lists: whether an account's API has lists of models; another one is asked without the key, and only whether
            it answers.
    """
    offsets: dict[str, float] = {}
    for name, account in config.accounts.items():
        check = f"gateway of {name}"
        key = None if config.account_key_problem(name) else config.account_key(name)
        try:
            path, answer = (
                _ask_for_models(account.base_url, key) if has_lists(name) else _ask_for_root(account.base_url)
            )
        except NoAnswer as error:
            fix = f"check accounts.{name}.base_url, the name service and the firewall"
            yield Line(check, "failed", f"{account.base_url} gave no answer ({error})", fix)
            continue
        offset_s = _offset_of(answer)
        if offset_s is not None:
            offsets[account.base_url] = offset_s
        if key and answer.status == HTTPStatus.UNAUTHORIZED and "invalid_api_key" in str(answer.json):
            fix = f"put the key of account {name} into {account.api_key_file or account.api_key_env}"
            yield Line(check, "failed", f"{account.base_url} refuses the key", fix)
        elif not has_lists(name):
            yield Line(check, "ok", f"{account.base_url} answers (HTTP {answer.status}); its key was not tried")
        elif answer.status in _DOWN:
            fix = "try again later; the tracker waits for it by itself"
            yield Line(check, "failed", f"{account.base_url} is not available (HTTP {answer.status})", fix)
        elif (why := _why_no_gateway(answer)) is not None:
            detail = f"something answers at {account.base_url}, but it is not such a gateway ({why} for {path})"
            yield Line(check, "failed", detail, f"check accounts.{name}.base_url")
        else:
            yield Line(check, "ok", f"{account.base_url} answers (HTTP {answer.status})")
    yield _check_clock(offsets)


def _ask_for_models(base_url: str, key: str | None) -> tuple[str, Answer]:
    """The first list of models that is there, else the answer that there is none.

    Raises:
        NoAnswer: no answer came.
    """
    found: list[tuple[str, Answer]] = []
    for path in LISTS.values():
        answer = ask(base_url, path, key)
        if answer.status != HTTPStatus.NOT_FOUND:
            return path, answer
        found.append((path, answer))
    return found[0]


def _ask_for_root(base_url: str) -> tuple[str, Answer]:
    return "/", ask(base_url, "/")


def _why_no_gateway(answer: Answer) -> str | None:
    """What shows that an answer to a question for models is none of a gateway; None when nothing does."""
    if answer.status == HTTPStatus.NOT_FOUND:
        return "404"
    if HTTPStatus.MULTIPLE_CHOICES <= answer.status < HTTPStatus.BAD_REQUEST:
        return f"{answer.status}, a redirect to {answer.headers.get('location', 'nowhere')}"
    if not isinstance(answer.json, (dict, list)):
        kind = answer.headers.get("content-type", "").partition(";")[0] or "no type"
        return f"{answer.status} with {kind} in the place of JSON"
    return None


def _check_clock(offsets: Mapping[str, float]) -> Line:
    if not offsets:
        return Line("clock", "skipped", "no upstream said what time it is")
    url, offset_s = max(offsets.items(), key=lambda item: abs(item[1]))
    if abs(offset_s) <= CLOCK_TOLERANCE_S:
        return Line("clock", "ok", f"within {CLOCK_TOLERANCE_S:g} s of {url}")
    side = "ahead of" if offset_s > 0 else "behind"
    fix = "switch time synchronisation on, with systemd: timedatectl set-ntp true"
    return Line("clock", "failed", f"{abs(offset_s):.0f} s {side} {url}: signed callbacks may be refused", fix)


def _offset_of(answer: Answer) -> float | None:
    """By how much our clock is ahead of the sender's, seconds."""
    try:
        return answer.at_s - parsedate_to_datetime(answer.headers["date"]).timestamp()
    except (KeyError, ValueError, TypeError):
        return None


def check_public_url(config: Config, daemon: Daemon) -> Line:
    """Providers can reach it, and callbacks arrive at our daemon; a proxy may let nothing in but ``/callbacks/``."""
    if config.public_url is None:
        return Line("public_url", "skipped", "it is unset: no callback URL is sent, polls find every end")
    base = config.public_url.rstrip("/")
    if (why := unreachable_public_url(config)) is not None:
        return Line("public_url", "failed", why, "set the address that providers reach, or leave it unset to poll only")
    own = daemon.peer.instance if daemon.serves == "ours" else None
    to_ours = f"have the proxy pass {base}/callbacks/ on to {config.listen.url}"
    if base == config.listen.url and daemon.peer.kind == "tracker" and daemon.serves == "another":
        return Line("public_url", "failed", f"{base} leads to {daemon.peer.name}", "see the line about the daemon")
    if base != config.listen.url:
        peer = look_at(base)  # a proxy that passes callbacks alone says nothing here
        is_other = peer.instance not in {None, own} if own else compare(config, peer)[0] == "another"
        if peer.kind == "tracker" and is_other:
            return Line("public_url", "failed", f"{base} leads to {with_store(peer, base).name}", to_ours)
    try:
        health = ask(base, "/healthz")
        if health.status == HTTPStatus.OK and health.json == {"status": "alive"}:
            return Line("public_url", "ok", f"{base} leads to a tracker")
        door = ask(base, "/callbacks/doctor")
        if "application/problem+json" in door.headers.get("content-type", ""):
            return Line("public_url", "ok", f"{base}/callbacks/ leads to a tracker")
        found, is_answered = f"HTTP {health.status}", health.status not in _DOWN
    except NoAnswer as error:
        found, is_answered = str(error), False
    if daemon.peer.kind == "free" and not is_answered:
        return Line("public_url", "skipped", f"the daemon does not run yet: {base} leads nowhere ({found})")
    return Line(
        "public_url", "failed", f"{base} does not lead to a tracker ({found})", f"start the daemon, and {to_ours}"
    )
