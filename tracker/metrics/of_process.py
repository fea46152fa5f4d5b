"""Metrics of the daemon itself: the store, disks, loops, HTTP and the configuration."""

from __future__ import annotations

import platform
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from prometheus_client.core import InfoMetricFamily

from tracker import __version__
from tracker.domain.alarms import count_kinds
from tracker.metrics.families import PREFIX, counter, gauge, histogram

if TYPE_CHECKING:
    from datetime import datetime

    from prometheus_client.core import Metric

    from tracker.metrics.sources import Sources
    from tracker.store.tallies import StoreGauges


def collect(sources: Sources, now: datetime, free_bytes: Mapping[str, int]) -> Iterator[Metric]:
    """What was counted since the start, and the present state."""
    store, process, http = sources.store, sources.process, sources.http
    info = {"version": __version__, "python": platform.python_version()}
    yield InfoMetricFamily(f"{PREFIX}build", "The version of the program.", value=info)
    commits = store.tallies.commit_durations
    yield counter("store_commits", "Commits that wrote something.", (), commits.count)
    yield histogram("store_commit_duration_seconds", "From the first statement of a commit to its end.", (), commits)
    yield histogram("store_batch_writes", "Changes that share a commit.", (), store.tallies.batch_writes)
    yield gauge("store_queue_depth", "Changes that wait for their commit.", (), store.writer_progress.waiting)
    yield gauge("disk_free_bytes", "Free space of the file system that holds the path.", ("path",), free_bytes)
    yield gauge(
        "loop_last_success_timestamp_seconds",
        "When a loop or job last completed a round; for a loop, the start of the process before its first.",
        ("loop",),
        {loop: now.timestamp() - age for loop, age in process.loop_ages().items()},
    )
    yield histogram("loop_lag_seconds", "By how much the event loop was late, measured once a second.", (), process.lag)
    yield counter(
        "http_requests",
        "Requests that are no callbacks, by the pattern of their path; other for unknown paths and methods.",
        ("route", "method", "code"),
        http.requests,
    )
    yield histogram(
        "http_request_duration_seconds",
        "From the head of such a request to its response, without streams; requests with wait are long.",
        ("route",),
        http.durations,
    )
    yield gauge("stream_clients", "Streams of events that are open now.", (), http.stream_clients)
    yield gauge(
        "alarms",
        "Alarms that are raised now, by their kind; GET /v1/alarms has each with its subject and its fix.",
        ("kind",),
        count_kinds(sources.alarms()),
    )
    yield gauge(
        "config_last_reload_successful",
        "1 if the last reload applied its configuration, or there was none.",
        (),
        int(process.is_reload_successful),
    )


def collect_stored(gauges: StoreGauges) -> Iterator[Metric]:
    """The sizes of the store's files."""
    yield gauge("store_size_bytes", "Size of the database, without its log.", (), gauges.size_bytes)
    yield gauge("store_wal_size_bytes", "Size of the write-ahead log.", (), gauges.log_bytes)
