"""The metrics of the daemon: what is listed, and what a scrape has."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import NamedTuple

from prometheus_client.metrics_core import Metric
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_text
from prometheus_client.samples import Sample

PREFIX = "tracker_"


class Listed(NamedTuple):
    """The type of a metric, and the names of its labels."""

    kind: str
    labels: frozenset[str]


def _listed(kind: str, *texts: str) -> dict[str, Listed]:
    """Of texts such as ``polls_total{provider,outcome}``."""
    found = {}
    for text in texts:
        name, _, labels = text.rstrip("}").partition("{")
        found[PREFIX + name] = Listed(kind, frozenset(labels.split(",")) if labels else frozenset())
    return found


METRICS: Mapping[str, Listed] = {
    **_listed("info", "build_info{version,python}"),
    **_listed(
        "counter",
        "tasks_created_total{route,account,origin}",
        "tasks_ended_total{route,account,status,reason}",
        "cost_total{route,account,currency,kind}",
        "submits_total{route,outcome}",
        "observations_total{provider,source,outcome}",
        "callbacks_total{provider,http_status}",
        "callbacks_lost_total{provider}",
        "polls_total{provider,outcome}",
        "upstream_requests_total{host,method,code_class}",
        "unknown_statuses_total{provider}",
        "deliveries_total{hook,outcome}",
        "archive_bytes_total",
        "archive_attempts_total{outcome}",
        "store_commits_total",
        "http_requests_total{route,method,code}",
    ),
    **_listed(
        "histogram",
        "task_duration_seconds{route,status}",
        "task_time_to_know_seconds{provider,source}",
        "submit_duration_seconds{route}",
        "callback_ack_duration_seconds{provider}",
        "poll_duration_seconds{provider}",
        "delivery_attempt_duration_seconds{hook}",
        "delivery_delay_seconds{hook}",
        "archive_expiry_margin_seconds{provider}",
        "store_commit_duration_seconds",
        "store_batch_writes",
        "loop_lag_seconds",
        "http_request_duration_seconds{route}",
    ),
    **_listed(
        "gauge",
        "tasks{provider,status}",
        "task_oldest_unfinished_timestamp_seconds{provider}",
        "callback_last_received_timestamp_seconds{provider}",
        "polls_due{provider}",
        "poll_lag_seconds{provider}",
        "upstream_circuit_open{host,family}",
        "account_paused_until_timestamp_seconds{account}",
        "account_key_refused{account}",
        "hook_deliveries{hook,status}",
        "hook_circuit_open{hook}",
        "outbox_events_waiting",
        "archive_outputs{state}",
        "store_queue_depth",
        "store_size_bytes",
        "store_wal_size_bytes",
        "disk_free_bytes{path}",
        "loop_last_success_timestamp_seconds{loop}",
        "clock_skew_seconds{host}",
        "alarms{kind}",
        "stream_clients",
        "config_last_reload_successful",
    ),
}
"""Every metric of the daemon, as dashboards and alert rules name it."""

OF_PROCESS = frozenset(
    f"process_{name}"
    for name in (
        "virtual_memory_bytes",
        "resident_memory_bytes",
        "start_time_seconds",
        "cpu_seconds_total",
        "open_fds",
        "max_fds",
    )
)
"""Those of the process, by the client library's own names."""


class Scrape:
    """The metrics of one response.

    Args:
        text: its body.
        is_open_metrics: its format.
    """

    def __init__(self, text: str, *, is_open_metrics: bool = True) -> None:
        parse = parse_openmetrics if is_open_metrics else parse_text
        self.families: list[Metric] = list(parse(text))

    def samples(self) -> Iterator[tuple[str, str, Sample]]:
        """Each sample with the name and type of its metric as `METRICS` lists them."""
        for family in self.families:
            suffix = {"counter": "_total", "info": "_info"}.get(family.type, "")
            name = family.name.removesuffix(suffix) + suffix if suffix else family.name
            for sample in family.samples:
                yield name, family.type, sample

    def by(self, name: str, *labels: str, **only: str) -> dict[tuple[str, ...], float]:
        """Sums of the samples with a name by some labels, of those with other labels as given."""
        sums: dict[tuple[str, ...], float] = {}
        for _, _, sample in self.samples():
            if sample.name == PREFIX + name and only.items() <= sample.labels.items():
                key = tuple(sample.labels[label] for label in labels)
                sums[key] = sums.get(key, 0.0) + sample.value
        return {key: value for key, value in sums.items() if value}

    def sum(self, name: str, **only: str) -> float:
        """The sum of the samples with a name and some labels."""
        return sum(self.by(name, **only).values())
