"""Network checks of `doctor`: keys, services, clock, the daemon's address and the public URL.

Changes nothing: only free requests are sent, and a key goes to its own account's address only.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from tracker.cli.credential_changes import changed_credentials
from tracker.cli.local_checks import Line, secret_fix
from tracker.cli.store_identity import Serves, compare, find_lock_holder
from tracker.cli.systemd_unit import unit_of, with_unit
from tracker.config.credentials import OutOfReach
from tracker.config.likely_mistakes import SHORTEST_TOKEN, unreachable_public_url
from tracker.daemon.peers import Answer, NoAnswer, Peer, ask, look_at, read_facts, with_store
from tracker.daemon.reload_results import outcome_path, read_outcome
from tracker.domain.retry import parse_http_date
from tracker.errors import ConfigError
from tracker.providers.model_lists import LISTS

if TYPE_CHECKING:
    from tracker.config import Config, Listen

CLOCK_TOLERANCE_S = 30.0
"""A tenth of what signatures allow, and far more than a response takes."""
_DOWN = frozenset({HTTPStatus.BAD_GATEWAY, HTTPStatus.SERVICE_UNAVAILABLE, HTTPStatus.GATEWAY_TIMEOUT})


@dataclass(frozen=True, slots=True)
class Daemon:
    """What answers at the configured address.

    Attributes:
        peer: the program that answers.
        serves: which store it serves; ``unknown`` also for other programs.
        why: why that is unknown.
        facts: ``GET /v1/doctor`` of the daemon with the configured store; else empty.
    """

    peer: Peer
    serves: Serves
    why: str
    facts: Mapping[str, Any]


def find_daemon(config: Config) -> Daemon:
    """Find out what answers at the configured address."""
    peer = look_at(config.listen.url)
    if peer.kind != "tracker":
        return Daemon(peer, "unknown", peer.detail, {})
    serves, peer, why = compare(config, peer)
    facts: dict[str, Any] = {}
    if serves == "same":
        with suppress(ConfigError):
            facts = read_facts(config.listen.url, config.client_token())
    return Daemon(peer, serves, why, facts)


def check_daemon(config: Config, daemon: Daemon) -> Line:
    """The address is free, or the daemon of this store answers there and is ready."""
    url, listen, peer = config.listen.url, config.listen, daemon.peer
    holder = find_lock_holder(config.store_path)
    elsewhere = f"; process {holder} uses the store {config.store_path}" if holder else ""
    move = "choose another address with server.listen, or stop that program"
    match peer.kind, daemon.serves:
        case "tracker", "same":
            if peer.reasons:
                fix = "see its log: its output, or for a service journalctl -u tracker.service"
                return Line("daemon", "failed", f"{url} is not ready: {' '.join(peer.reasons)}", fix)
            return Line("daemon", "ok", f"process {holder or 'unknown'} serves this store at {url}")
        case "tracker", "another":
            return Line("daemon", "failed", f"{peer.name} answers at {url}{elsewhere}", move)
        case "tracker", _:
            detail = f"a tracker answers at {url}; it is unknown whether it serves {config.store_path} ({daemon.why})"
            return Line("daemon", "skipped", detail)
        case "other", _:
            return Line("daemon", "failed", f"another program answers at {url} ({peer.detail}){elsewhere}", move)
        case _ if holder:
            fix = (
                f"if server.listen was changed, restart it; otherwise see its log, and if it hangs: kill {holder} "
                "(nothing is lost)"
            )
            detail = f"process {holder} uses the store, but {url} gives no answer ({peer.detail})"
            return Line("daemon", "failed", detail, fix)
        case "silent", _:
            fix = f"if it is the socket of the service, see journalctl -u tracker.service; else {move}"
            return Line("daemon", "failed", f"a program listens at {url} but gives no answer ({peer.detail})", fix)
        case _:
            why = _why_not_free(listen)
            if why is not None:
                fix = "choose another address with server.listen"
                return Line(
                    "daemon", "failed", f"the daemon is not running, and cannot listen on {listen} ({why})", fix
                )
            return Line("daemon", "skipped", f"the daemon is not running; its address {listen} is free")


def check_troubles(config: Config, daemon: Daemon) -> Iterator[Line]:
    """What the running daemon reports, and where it differs from the configuration and the credentials on disk."""
    restart = f"restart the daemon{_command_of(config, 'restart')}"
    if daemon.facts.get("status") == HTTPStatus.UNAUTHORIZED:
        fix = f"set TRACKER_API_TOKEN to the token that it was started with; if the token has changed, {restart}"
        yield Line("API token", "failed", f"the daemon at {config.listen.url} refuses it", fix)
    for use in _changed_credentials(config) if daemon.serves == "same" else ():
        yield Line(use, "failed", "changed on disk since the daemon started, which uses the old one", restart)
    used = {item["name"]: item["base_url"] for item in daemon.facts.get("accounts", [])}
    for name, account in config.accounts.items():
        if used.get(name, account.base_url) != account.base_url:
            detail = f"the daemon sends to {used[name]}, this configuration says {account.base_url}"
            reload = f"reload the daemon{_command_of(config, 'reload')}"
            fix = f"{reload}; if a variable of the daemon sets the address, set it here too"
            yield Line(f"account {name}", "failed", detail, fix)
    fixes = {alarm["message"]: alarm["fix"] for alarm in daemon.facts.get("alarms", [])}
    fix = "fix the cause; the daemon notices on its own. tracker status shows what is affected"
    for trouble in daemon.peer.troubles if daemon.serves == "same" else ():
        yield Line("trouble", "failed", trouble, fixes.get(trouble, fix))


def _command_of(config: Config, verb: str) -> str:
    unit = unit_of(config.file)
    return f": systemctl {verb} {unit.name}" if unit else ""


def _changed_credentials(config: Config) -> list[str]:
    """What each credential is for that is not the one of the daemon's start; none without a systemd unit."""
    environ = with_unit(os.environ, config.file)
    outcome = read_outcome(outcome_path(environ, config.store_path)) if "RUNTIME_DIRECTORY" in environ else None
    return [] if outcome is None else [use for use, _ in changed_credentials(config, environ, outcome.marks)]


def _why_not_free(listen: Listen) -> str | None:
    """Why a daemon cannot listen on a free address; None if it can."""
    if listen.path is not None:
        return None  # an old socket is replaced
    family = socket.AF_INET6 if ":" in listen.host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((listen.host, listen.port))
        except OSError as error:
            return error.strerror or str(error)
    return None


def check_keys(config: Config, facts: Mapping[str, Any]) -> Iterator[Line]:
    """Each account has a key, here or in the running daemon (``facts``)."""
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
            fix = _fix_key(config, name)
            yield Line(f"key of {name}", "failed", f"{source} is not set, so the account sends nothing", fix)


def check_tokens(config: Config, facts: Mapping[str, Any]) -> Iterator[Line]:
    """Each named token is set, here or in the running daemon (``facts``), and long enough."""
    is_set = {item["name"]: item["is_set"] for item in facts.get("tokens", [])}
    for table in config.server.tokens:
        check, source = f"token {table.name}", str(table.token_file or table.token_env)
        value = None
        with suppress(OutOfReach):
            value = config.named_token(table)
        if value is not None and len(value) < SHORTEST_TOKEN:
            fix = "use a long random one, for example from openssl rand -hex 32"
            yield Line(check, "failed", f"{source} has fewer than {SHORTEST_TOKEN} characters", fix)
        elif value is not None:
            yield Line(check, "ok", f"{source} is set; its scope is {table.scope}")
        elif is_set.get(table.name):
            yield Line(check, "ok", f"the daemon has it; {source} is not set here")
        else:
            fix = secret_fix(config, "the token", table.token_env, table.token_file)
            yield Line(check, "failed", f"{source} is not set, so this token is disabled", fix)


def _fix_key(config: Config, name: str) -> str:
    """Where the key of an account belongs."""
    account = config.accounts[name]
    return secret_fix(config, "the key", account.api_key_env, account.api_key_file)


def check_gateways(config: Config, has_lists: Callable[[str], bool] = lambda _account: True) -> Iterator[Line]:
    """Each account's upstream is a gateway, accepts the key, and has the same time.

    Args:
        config: the configuration.
        has_lists: whether an account's API lists models; others are only checked to answer, without the key.
    """
    offsets: dict[str, float] = {}
    for name, account in config.accounts.items():
        check = f"service of {name}"
        key = None if config.account_key_problem(name) else config.account_key(name)
        try:
            url = account.base_url
            path, answer = _ask_for_models(url, key) if has_lists(name) else ("/", ask(url, "/"))
        except NoAnswer as error:
            fix = f"check accounts.{name}.base_url, DNS and the firewall"
            yield Line(check, "failed", f"{account.base_url} does not answer ({error})", fix)
            continue
        offset_s = _offset_of(answer)
        if offset_s is not None:
            offsets[account.base_url] = offset_s
        if key and answer.status == HTTPStatus.UNAUTHORIZED and "invalid_api_key" in str(answer.json):
            fix = _fix_key(config, name)
            source = account.api_key_file or account.api_key_env
            yield Line(check, "failed", f"{account.base_url} rejects the key of account {name} in {source}", fix)
        elif not has_lists(name):
            yield Line(check, "ok", f"{account.base_url} answers (HTTP {answer.status}); the key was not tested")
        elif answer.status in _DOWN:
            fix = "wait: the tracker tries again on its own"
            yield Line(check, "failed", f"{account.base_url} is not available (HTTP {answer.status})", fix)
        elif (why := _why_no_gateway(answer)) is not None:
            detail = f"something answers at {account.base_url}, but it is not the service ({why} for {path})"
            yield Line(check, "failed", detail, f"check accounts.{name}.base_url")
        else:
            untested = "" if key else "; there is no key to test"
            yield Line(check, "ok", f"{account.base_url} answers (HTTP {answer.status}){untested}")
    yield _check_clock(offsets)


def _ask_for_models(base_url: str, key: str | None) -> tuple[str, Answer]:
    """The first list of models that exists, else the first response.

    Raises:
        NoAnswer: the upstream did not answer.
    """
    found: list[tuple[str, Answer]] = []
    for path in LISTS.values():
        answer = ask(base_url, path, key)
        if answer.status != HTTPStatus.NOT_FOUND:
            return path, answer
        found.append((path, answer))
    return found[0]


def _why_no_gateway(answer: Answer) -> str | None:
    """Why a response to a request for models is not from a gateway; None if it may be."""
    if answer.status == HTTPStatus.NOT_FOUND:
        return "404"
    if HTTPStatus.MULTIPLE_CHOICES <= answer.status < HTTPStatus.BAD_REQUEST:
        return f"{answer.status}, a redirect to {answer.headers.get('location', 'no location')}"
    if not isinstance(answer.json, (dict, list)):
        kind = answer.headers.get("content-type", "").partition(";")[0] or "no content type"
        return f"{answer.status} with {kind} instead of JSON"
    return None


def _check_clock(offsets: Mapping[str, float]) -> Line:
    if not offsets:
        return Line("clock", "skipped", "no service sent its time")
    url, offset_s = max(offsets.items(), key=lambda item: abs(item[1]))
    if abs(offset_s) <= CLOCK_TOLERANCE_S:
        return Line("clock", "ok", f"differs by less than {CLOCK_TOLERANCE_S:g} s from the clock of {url}")
    side = "ahead of" if offset_s > 0 else "behind"
    fix = "enable time synchronization, with systemd: timedatectl set-ntp true"
    return Line(
        "clock", "failed", f"{abs(offset_s):.0f} s {side} the clock of {url}, so signed callbacks may be refused", fix
    )


def _offset_of(answer: Answer) -> float | None:
    """Seconds by which this clock is ahead of the sender's."""
    sent_at = parse_http_date(answer.headers.get("date", ""))
    return None if sent_at is None else answer.at_s - sent_at.timestamp()


def check_public_url(config: Config, daemon: Daemon) -> Line:
    """Providers can reach it, and callbacks arrive at this daemon; a proxy may pass ``/callbacks/`` only."""
    if config.public_url is None:
        return Line("public_url", "skipped", "not set: the tracker sends no callback URL, and polls all tasks")
    base = config.public_url.rstrip("/")
    if (why := unreachable_public_url(config)) is not None:
        return Line(
            "public_url", "failed", why, "set the URL that the services can reach, or leave it unset to poll only"
        )
    own = daemon.peer.instance if daemon.serves == "same" else None
    proxy_fix = f"let the proxy pass {base}/callbacks/ to {config.listen.url}"
    if base == config.listen.url and daemon.peer.kind == "tracker" and daemon.serves == "another":
        return Line("public_url", "failed", f"{base} leads to {daemon.peer.name}", "see the line daemon")
    if base != config.listen.url:
        peer = look_at(base)  # a proxy that passes only callbacks has no /readyz
        is_other = peer.instance not in {None, own} if own else compare(config, peer)[0] == "another"
        if peer.kind == "tracker" and is_other:
            return Line("public_url", "failed", f"{base} leads to {with_store(peer, base).name}", proxy_fix)
    try:
        health = ask(base, "/healthz")
        if health.status == HTTPStatus.OK and health.json == {"status": "alive"}:
            return Line("public_url", "ok", f"{base} leads to a tracker")
        response = ask(base, "/callbacks/doctor")
        if "application/problem+json" in response.headers.get("content-type", ""):
            return Line("public_url", "ok", f"{base}/callbacks/ leads to a tracker")
        found, is_answered = f"HTTP {health.status}", health.status not in _DOWN
    except NoAnswer as error:
        found, is_answered = str(error), False
    if daemon.peer.kind == "free" and not is_answered:
        return Line("public_url", "skipped", f"not checked, because the daemon is not running ({base}: {found})")
    fix = proxy_fix if daemon.serves == "same" else f"start the daemon, and {proxy_fix}"
    return Line("public_url", "failed", f"{base} does not lead to a tracker ({found})", fix)
