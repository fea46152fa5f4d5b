"""Metrics of tasks: creates, observations, callbacks, polls and ends."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product
from typing import TYPE_CHECKING, Final

from tracker.domain.observation import Submission
from tracker.metrics.families import counter, gauge, histogram
from tracker.store.tallies import COUNTED_MOST, OLDEST_OF

if TYPE_CHECKING:
    from datetime import datetime

    from prometheus_client.core import Metric

    from tracker.metrics.sources import Sources
    from tracker.store.tallies import StoreGauges

_SUBMISSIONS: Final = [submission.value for submission in Submission]


def collect(sources: Sources) -> Iterator[Metric]:
    """What was counted since the start.

    Counters that alert rules watch begin at 0: Prometheus sees no increase in a series that begins with 1.
    """
    tasks, http = sources.tasks, sources.http
    routes = [route.name for route in sources.registry.routes()]
    yield counter(
        "tasks_created",
        "Tasks recorded by this process.",
        ("route", "account", "origin"),
        sources.store.tallies.created,
    )
    yield counter(
        "tasks_ended",
        "Ends of tasks; reason is empty for a success. A task that was given up and succeeds later ends twice.",
        ("route", "account", "status", "reason"),
        tasks.ended,
    )
    yield histogram(
        "task_duration_seconds", "From the creation of a task to its end.", ("route", "status"), tasks.durations
    )
    yield histogram(
        "task_time_to_know_seconds",
        "From the end of a job as its upstream reports it (by its clock) to its end here, by source; only if the "
        "upstream reports it.",
        ("provider", "source"),
        tasks.times_to_know,
    )
    yield counter(
        "cost",
        "What ended tasks cost, in a currency or an upstream's own unit: actual as the upstream reports it, or an "
        "estimate by the price list. A task that was given up counts once it succeeds.",
        ("route", "account", "currency", "kind"),
        {key: float(amount) for key, amount in tasks.costs.items()},
    )
    yield counter(
        "submits",
        "Attempts to send a create: accepted, refused, deferred (certainly not accepted, and sent again) or ambiguous "
        "(perhaps accepted and charged, and never sent again).",
        ("route", "outcome"),
        dict.fromkeys(product(routes, _SUBMISSIONS), 0) | tasks.submits,
    )
    yield histogram(
        "submit_duration_seconds",
        "From the sending of a create to its answer or failure, without waits for the account's rate.",
        ("route",),
        sources.creates.durations,
    )
    yield counter(
        "observations",
        "Observations that were judged: submits, callbacks, polls, operators and the clock.",
        ("provider", "source", "outcome"),
        tasks.observations,
    )
    yield counter(
        "callbacks",
        "Responses to callbacks, with and without a token; provider is other for unknown ones.",
        ("provider", "http_status"),
        http.callbacks,
    )
    yield gauge(
        "callback_last_received_timestamp_seconds",
        "When the last callback with a token was stored; absent before the first since the start.",
        ("provider",),
        {provider: at.timestamp() for provider, at in list(tasks.callback_at.items())},
    )
    yield histogram(
        "callback_ack_duration_seconds",
        "From the receipt of a callback with a token to its commit, which its answer follows.",
        ("provider",),
        tasks.acks,
    )
    yield counter(
        "callbacks_lost",
        "Ends that a poll found, of tasks with a callback URL, without a callback within 60 s.",
        ("provider",),
        dict.fromkeys((route.provider for route in sources.registry.routes() if route.callback), 0)
        | tasks.lost_callbacks(),
    )
    yield counter(
        "polls",
        "Polls by outcome: answered, or why the answer was not a status.",
        ("provider", "outcome"),
        tasks.polls,
    )
    yield histogram(
        "poll_duration_seconds",
        "From the sending of a status request to its answer or failure, without waits for the account's rate.",
        ("provider",),
        sources.polls.durations,
    )
    yield counter(
        "unknown_statuses",
        "Upstream statuses that no document names; such a task counts as running.",
        ("provider",),
        dict.fromkeys((provider.name for provider in sources.registry.providers()), 0) | tasks.unknown_statuses,
    )


def collect_stored(sources: Sources, gauges: StoreGauges, now: datetime) -> Iterator[Metric]:
    """The tasks in the store."""
    yield gauge(
        "tasks",
        "Tasks in the store.",
        ("provider", "status"),
        {(name, status): count for name, counts in gauges.tasks.items() for status, count in counts.items()},
    )
    yield gauge(
        "task_oldest_unfinished_timestamp_seconds",
        f"Creation of the oldest unfinished task, of providers among the {OLDEST_OF} oldest pending and running ones.",
        ("provider",),
        {provider: at.timestamp() for provider, at in gauges.oldest_unfinished.items()},
    )
    providers = {provider.name for provider in sources.registry.providers()} | gauges.due.keys()
    yield gauge(
        "polls_due",
        f"Tasks that are due for a poll, or to be sent; of each account up to {COUNTED_MOST}.",
        ("provider",),
        {provider: gauges.due.get(provider, 0) for provider in sorted(providers)},
    )
    lags = {provider: (now - at).total_seconds() for provider, at in gauges.oldest_due.items()}
    yield gauge(
        "poll_lag_seconds",
        "How long the task that has been due for longest has waited; 0 without one.",
        ("provider",),
        {provider: max(lags.get(provider, 0.0), 0.0) for provider in sorted(providers)},
    )
