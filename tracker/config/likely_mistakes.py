"""Likely mistakes in a valid configuration: warnings of ``config check``, ``doctor`` and the start."""

from __future__ import annotations

import difflib
import ipaddress
from collections.abc import Iterable
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from tracker.config.problems import known_keys
from tracker.config.sources import RESERVED, TOP_KEYS
from tracker.errors import ConfigError

if TYPE_CHECKING:
    from tracker.config import Config

SHORTEST_TOKEN = 16
"""The least characters of a token that cannot be guessed."""
_LOCAL_SUFFIXES = (".localhost", ".local", ".internal", ".lan", ".home.arpa", ".test")
_NEVER_SUFFIXES = (".invalid", ".example", ".example.com", ".example.net", ".example.org")
"""Names that never resolve. **Source**: RFC 2606 and RFC 6761."""
_OWN = RESERVED | {"TRACKER_WORKER"}
_ENVIRONMENT_OF_HOOKS = (
    *("EVENT", "DELIVERY_ID", "ATTEMPT", "TASK_ID", "EXTERNAL_ID", "PROVIDER", "ROUTE", "STATUS", "REASON"),
    *("ERROR_MESSAGE", "OUTPUT_URL", "OUTPUT_PATH"),
)
"""Set for hook scripts, which may run tracker commands."""


def unreachable_public_url(config: Config) -> str | None:
    """Why providers cannot reach ``public_url``; None if they may.

    A local address is right if every gateway is local, like the sandbox.
    """
    if config.public_url is None:
        return None
    host = _host(config.public_url)
    if f".{host}".endswith(_NEVER_SUFFIXES):
        return f"providers cannot reach {host}, a name reserved for examples"
    gateways = [_host(account.base_url) for account in config.accounts.values()]
    if _is_local(host) and not all(map(_is_local, gateways)):
        return f"providers cannot reach {host}, an address of this machine or a private network"
    return None


def list_warnings(config: Config, environ: Iterable[str]) -> list[str]:
    """One line per likely mistake: what it is; how to fix it.

    Args:
        config: the configuration.
        environ: the names of environment variables.
    """
    lines = []
    if why := unreachable_public_url(config):
        lines.append(f"public_url: {why}; set the URL that providers can reach, or leave it unset to poll only")
    for name, account in config.accounts.items():
        if account.base_url.lower().startswith("http://") and not _is_local(_host(account.base_url)):
            what = "the key of this account is sent unencrypted; use https:// if the gateway supports it"
            lines.append(f"accounts.{name}.base_url: {what}")
    if not config.prices.rates and (config.budget.daily is not None or config.budget.accounts):
        lines.append("budget: without a price only what upstreams state counts, once a task has ended; set [prices]")
    return [*lines, *_doubtful_tokens(config), *unknown_variables(config, environ)]


def _doubtful_tokens(config: Config) -> list[str]:
    """Tokens that can be guessed, and the one of the API if it is the same as a named one."""
    try:
        tokens = config.api_tokens() or []
    except ConfigError:
        return []
    own = next((token.value for token in tokens if token.name is None), None)
    variable, fix = config.server.api_token_env, "use a long random one, for example from openssl rand -hex 32"
    lines = [
        f"{name}: the token is shorter than {SHORTEST_TOKEN} characters; {fix}"
        for token in tokens
        if len(token.value) < SHORTEST_TOKEN
        for name in [f"server.tokens[{token.name}]" if token.name else "server.api_token_env"]
    ]
    return lines + [
        f"server.api_token_env: {variable} is the token {token.name} here, and allows no more than that; "
        "the daemon needs another one"
        for token in tokens
        if token.name and token.value == own
    ]


def unknown_variables(config: Config, environ: Iterable[str]) -> list[str]:
    """One line per unknown ``TRACKER_…`` variable, with the nearest known one.

    ``TRACKER_<SECTION>__<KEY>`` is checked by the configuration.
    """
    known = {*_OWN, *_named_variables(config), *(f"TRACKER_{key.upper()}" for key in TOP_KEYS)}
    tables = [name for name in type(config).model_fields if name not in TOP_KEYS]
    keys = [f"TRACKER_{table.upper()}__{key.upper()}" for table in tables for key in known_keys((table,))]
    lines = []
    for variable in sorted(environ):
        rest = variable.removeprefix("TRACKER_")
        if rest == variable or "__" in rest or variable in known or rest.startswith("LABEL_"):
            continue
        if rest in _ENVIRONMENT_OF_HOOKS:
            continue
        near = difflib.get_close_matches(rest, [name.removeprefix("TRACKER_") for name in (*known, *keys)], 1)
        hint = f"did you mean TRACKER_{near[0]}?" if near else "remove it, or write TRACKER_<SECTION>__<KEY>"
        lines.append(f"{variable}: unknown variable without effect; {hint}")
    return lines


def _named_variables(config: Config) -> set[str]:
    """Variables named in the configuration: keys, tokens and secrets."""
    names = {config.server.api_token_env, config.callbacks.secret_env}
    names |= {table.token_env for table in config.server.tokens if table.token_env}
    names |= {config.tracing.headers_env} if config.tracing.headers_env else set()
    names |= {account.api_key_env for account in config.accounts.values() if account.api_key_env}
    names |= {rules.secret_env for rules in config.callbacks.providers.values() if rules.secret_env}
    return names | {hook.secret_env for hook in config.hooks if hook.secret_env}


def is_private_address(host: str) -> bool:
    """Whether a host is a private address or a name of this machine."""
    try:
        return not ipaddress.ip_address(host.partition("%")[0]).is_global
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")


def _host(url: str) -> str:
    return (urlsplit(url).hostname or "").lower().rstrip(".")


def _is_local(host: str) -> bool:
    """Whether a name or an address is local to this machine or its network."""
    is_name = not host.replace(".", "").isdigit() and ":" not in host
    return is_private_address(host) or (is_name and ("." not in host or f".{host}".endswith(_LOCAL_SUFFIXES)))
