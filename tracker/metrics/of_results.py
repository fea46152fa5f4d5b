"""Metrics of what follows from results: hooks and the archive."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product
from typing import TYPE_CHECKING, Final

from tracker.hooks.health import HookState
from tracker.hooks.tallies import RETRIED
from tracker.metrics.families import counter, gauge, histogram
from tracker.store.tallies import COUNTED_MOST

if TYPE_CHECKING:
    from prometheus_client.core import Metric

    from tracker.metrics.sources import Sources
    from tracker.store.tallies import StoreGauges

_OPEN: Final = frozenset({HookState.OPEN, HookState.PROBING})
_ENDS: Final = ("succeeded", "failed", "dead", RETRIED)


def collect(sources: Sources) -> Iterator[Metric]:
    """What was counted since the start, and the present state of the hooks."""
    hooks, archive = sources.hooks, sources.archive.tallies
    yield counter(
        "deliveries",
        "Attempts of deliveries whose result is stored: succeeded, failed, dead, or retried.",
        ("hook", "outcome"),
        dict.fromkeys(product((spec.name for spec in hooks.specs), _ENDS), 0) | hooks.tallies.deliveries,
    )
    yield histogram(
        "delivery_attempt_duration_seconds", "How long runs of a hook took.", ("hook",), hooks.tallies.durations
    )
    yield histogram(
        "delivery_delay_seconds",
        "From an event to the start of its first run.",
        ("hook",),
        hooks.tallies.delays,
    )
    yield gauge(
        "hook_circuit_open",
        "1 while the deliveries of a hook wait because earlier runs did not reach it.",
        ("hook",),
        {spec.name: int(hooks.health(spec.name)[0].state in _OPEN) for spec in hooks.specs},
    )
    yield counter("archive_bytes", "Bytes of files stored by the archive.", (), archive.stored_bytes)
    yield counter(
        "archive_attempts",
        "Attempts to archive an output whose result is stored: stored, dead (given up), or retried.",
        ("outcome",),
        dict.fromkeys(("stored", "dead", RETRIED), 0) | archive.attempts,
    )
    yield histogram(
        "archive_expiry_margin_seconds",
        "How long the URL of an output was still valid when its file was stored; 0 after its expiry.",
        ("provider",),
        archive.margins,
    )


def collect_stored(gauges: StoreGauges) -> Iterator[Metric]:
    """Deliveries and outputs in the store."""
    yield gauge(
        "hook_deliveries",
        "Deliveries in the store.",
        ("hook", "status"),
        {(hook, status): count for hook, counts in gauges.deliveries.items() for status, count in counts.items()},
    )
    yield gauge(
        "outbox_events_waiting", f"Events whose deliveries are not made yet, up to {COUNTED_MOST}.", (), gauges.outbox
    )
    yield gauge("archive_outputs", "Outputs by the state of their copy.", ("state",), gauges.archives)
