"""Histograms count each value once, in the first bucket whose bound it does not exceed."""

import pytest

from tracker.domain.histograms import Histogram, Histograms


@pytest.mark.parametrize(
    ("values", "cumulative", "total"),
    [
        ([], [0, 0, 0], 0.0),
        ([1.0, 5.0], [1, 2, 2], 6.0),
        ([1.1, 6.0, 7.0], [0, 1, 3], 14.1),
        ([-2.0, 0.5], [2, 2, 2], 0.5),
    ],
    ids=["none", "bounds are inclusive", "above every bound", "a clock was set back: the sum never falls"],
)
def test_values_are_counted_below_their_bound(values: list[float], cumulative: list[int], total: float) -> None:
    """Cumulative counts as Prometheus wants them; the last one is the number of values."""
    histogram = Histogram((1.0, 5.0))
    for value in values:
        histogram.observe(value)
    assert histogram.cumulative() == cumulative
    assert histogram.count == len(values)
    assert histogram.sum == pytest.approx(total)


def test_each_key_has_its_own_histogram() -> None:
    """It exists from the first use on."""
    histograms: Histograms[str] = Histograms((1.0,))
    histograms["a"].observe(0.5)
    histograms["a"].observe(2.0)
    assert histograms.keys() == {"a"}
    assert histograms["b"].count == 0
    assert histograms["a"].cumulative() == [1, 2]
