"""Metric families of `prometheus_client` from plain numbers.

The other packages count with integers, since a counter of the library with labels takes longer than a callback may cost
here. So a family is made at the scrape, with the samples that exist by then.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, TypeVar

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.utils import floatToGoString

if TYPE_CHECKING:
    from prometheus_client.core import Metric

    from tracker.domain.histograms import Histogram

PREFIX = "tracker_"

K = TypeVar("K", bound="str | tuple[object, ...]")
"""The values of the labels, in their order; a text is the only one."""


def counter(name: str, text: str, labels: Sequence[str], values: Mapping[K, float] | float) -> Metric:
    """A counter.

    Args:
        name: without the prefix, and without ``_total``.
        text: its ``# HELP``.
        labels: names of the labels.
        values: the value for each combination of labels, or the only value.
    """
    family = CounterMetricFamily(PREFIX + name, text, labels=labels)
    for texts, value in _items(values):
        family.add_metric(texts, value)
    return family


def gauge(name: str, text: str, labels: Sequence[str], values: Mapping[K, float] | float) -> Metric:
    """A gauge; see `counter`."""
    family = GaugeMetricFamily(PREFIX + name, text, labels=labels)
    for texts, value in _items(values):
        family.add_metric(texts, value)
    return family


def histogram(name: str, text: str, labels: Sequence[str], values: Mapping[K, Histogram] | Histogram) -> Metric:
    """A histogram; see `counter`."""
    family = HistogramMetricFamily(PREFIX + name, text, labels=labels)
    items = [(_texts(key), value) for key, value in values.items()] if isinstance(values, Mapping) else [([], values)]
    for texts, value in items:
        bounds = [*map(floatToGoString, value.bounds), "+Inf"]
        family.add_metric(texts, list(zip(bounds, value.cumulative(), strict=True)), value.sum)
    return family


def _items(values: Mapping[K, float] | float) -> list[tuple[list[str], float]]:
    if isinstance(values, Mapping):
        return [(_texts(key), value) for key, value in values.items()]
    return [([], values)]


def _texts(key: str | tuple[object, ...]) -> list[str]:
    return [key] if isinstance(key, str) else [str(part) for part in key]
