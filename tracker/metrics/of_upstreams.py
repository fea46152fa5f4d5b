"""Metrics of upstreams: requests, circuits, accounts and clocks."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from tracker.domain.alarms import AlarmKind
from tracker.metrics.families import counter, gauge

if TYPE_CHECKING:
    from datetime import datetime

    from prometheus_client.core import Metric

    from tracker.metrics.sources import Sources


def collect(sources: Sources, now: datetime) -> Iterator[Metric]:
    """What was counted since the start, and the present state."""
    tallies, accounts = sources.client.tallies, list(sources.accounts)
    yield counter(
        "upstream_requests",
        "Requests to upstreams by the class of their status; none without an answer.",
        ("host", "method", "code_class"),
        tallies.requests,
    )
    hosts = {host for account in accounts if (host := sources.client.host_of(account))}
    opened = sources.breakers.list_opened()
    yield gauge(
        "upstream_circuit_open",
        "1 while requests are held back because earlier ones failed. family is the provider behind the host, empty for "
        "the host itself; providers whose circuit has never opened are absent.",
        ("host", "family"),
        {(host, ""): 0 for host in sorted(hosts)} | {key: int(is_open) for key, is_open in opened.items()},
    )
    steady = sources.clock.monotonic()
    pauses = {account: sources.limits.paused_until(account) for account in accounts}
    yield gauge(
        "account_paused_until_timestamp_seconds",
        "Until when the account sends nothing because an upstream asked for it; 0 without a pause.",
        ("account",),
        {name: 0.0 if until is None else now.timestamp() + until - steady for name, until in pauses.items()},
    )
    yield gauge(
        "account_key_refused",
        "1 while an upstream refuses the key of the account.",
        ("account",),
        {account: int(sources.accounts_refused.kind_of(account) is AlarmKind.KEY_REJECTED) for account in accounts},
    )
    yield gauge(
        "clock_skew_seconds",
        "How far this machine's clock is ahead of the Date header of the host, exact to about a second.",
        ("host",),
        tallies.skews,
    )
