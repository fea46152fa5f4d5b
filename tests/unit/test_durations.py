"""How long tasks usually take: what is learned, for which key, and what a task is expected to take."""

import random
from collections.abc import Mapping
from datetime import datetime
from typing import Any

import pytest

from tests.kits.clock import START, after
from tests.kits.factories import TIMING, make_durations, make_task
from tracker.domain.durations import (
    LEAST_SAMPLES,
    MAX_KEYS,
    NO_OUTLOOK,
    NOTHING_LEARNED,
    WINDOW,
    Durations,
    ExpectedView,
    Usual,
    quantile,
    time_taken_s,
)
from tracker.domain.request_size import coarse_size
from tracker.domain.statuses import Source, Status

ENDED = {"status": Status.SUCCEEDED, "submit_attempts": 1, "ended_by": Source.CALLBACK, "finished_at": after(90)}


@pytest.mark.parametrize(
    ("change", "taken_s"),
    [
        ({}, 90.0),
        ({"submitted_at": after(30)}, 60.0),
        ({"status": Status.FAILED}, None),
        ({"submit_attempts": 0}, None),  # created elsewhere, at an unknown time
        ({"submitted_at": None}, None),
        ({"submitted_at": after(90)}, None),  # the answer to the create was the result
        ({"ended_by": Source.POLL, "upstream_finished_at": after(40)}, 40.0),  # as the upstream reports it
        ({"ended_by": Source.POLL}, 45.0),  # at some time since the acceptance
        ({"ended_by": Source.POLL, "unfinished_at": after(80)}, 85.0),  # since the poll before
        ({"ended_by": Source.POLL, "unfinished_at": after(10), "submitted_at": after(50)}, 20.0),
    ],
)
def test_the_time_counts_from_the_acceptance_to_the_end(change: Mapping[str, Any], taken_s: float | None) -> None:
    """Of tasks that succeeded and whose acceptance is known; a poll finds an end that came since the poll before."""
    assert time_taken_s(make_task(**{**ENDED, **change})) == taken_s


def test_the_finest_key_with_enough_samples_counts() -> None:
    """Route, model and size; then route and model; then the route alone; below eight samples nothing."""
    short, long = {"model": "V5", "size": "5s"}, {"model": "V5", "size": "60s"}
    durations = make_durations([10.0] * (LEAST_SAMPLES - 1), **short)
    assert durations.usual(make_task(**short)) is None
    assert durations.samples("suno.generate") == LEAST_SAMPLES - 1
    durations, _ = durations.learn([make_task(**ENDED, **short)])
    usual = durations.usual(make_task(**short))
    assert usual is not None
    assert usual == pytest.approx(Usual(10.0, 34.0, 62.0, LEAST_SAMPLES))
    assert durations.usual(make_task(**long)) == durations.usual(make_task(**short)), "of the model"
    assert durations.usual(make_task(model="V4")) == durations.usual(make_task(**short)), "of the route"
    assert durations.usual(make_task(route="suno.extend")) is None
    for _ in range(LEAST_SAMPLES):
        durations, _ = durations.learn([make_task(**ENDED, **long)])
    of_long, of_short = durations.find(make_task(**long)), durations.find(make_task(**short))
    assert of_long is not None
    assert of_short is not None
    assert (of_long.usual.p50_s, of_short.usual.p50_s) == (90.0, 10.0)


def test_what_is_learned_follows_changes_and_stays_small() -> None:
    """The last hundred tasks of a key count, and the keys that were updated last are kept."""
    durations = make_durations([300.0] * WINDOW)
    for _ in range(WINDOW):
        durations, _ = durations.learn([make_task(**ENDED)])
    assert durations.usual(make_task()) == Usual(90.0, 90.0, 90.0, WINDOW)
    for n in range(MAX_KEYS + 10):
        durations, _ = durations.learn([make_task(**ENDED, route=f"suno.route-{n}")])
    assert durations.usual(make_task()) is None, "dropped: it was the oldest"
    known = sum(durations.samples(f"suno.route-{n}") for n in range(MAX_KEYS + 10))
    assert known == MAX_KEYS


def test_any_number_of_models_leaves_the_times_of_routes() -> None:
    """Users name models: a burst of unknown ones hides neither its own route nor another one."""
    durations, _ = NOTHING_LEARNED.learn([make_task(**ENDED, route="kling.text2video", model="a")] * LEAST_SAMPLES)
    durations, _ = durations.learn([make_task(**ENDED, model=f"m-{n}", size="10s") for n in range(2 * MAX_KEYS)])
    assert durations.usual(make_task(model="another")) == Usual(90.0, 90.0, 90.0, WINDOW)
    assert durations.samples("kling.text2video") == LEAST_SAMPLES


def test_what_is_expected_of_a_task() -> None:
    """The quantiles, and when it should be ready: at p50, later at p90, beyond that unknown."""
    durations = make_durations([60.0] * 6 + [100.0] * 4)
    task = make_task(due_at=after(75), submit_attempts=1)

    def expected(at_s: float, submitted_at: datetime | None = START) -> ExpectedView | None:
        return durations.outlook(make_task(submit_attempts=1, submitted_at=submitted_at), after(at_s)).expected

    assert expected(12) == ExpectedView(60.0, 100.0, 10, after(60))
    assert expected(61) == ExpectedView(60.0, 100.0, 10, after(100))
    assert expected(101) == ExpectedView(60.0, 100.0, 10, None)
    assert expected(1, submitted_at=None) == ExpectedView(60.0, 100.0, 10, None)
    assert durations.outlook(task, after(12)).poll_after_s == 60.0, "at most a minute"
    assert durations.outlook(task, after(72.5)).poll_after_s == 2.5, "when the tracker asks"
    assert durations.outlook(task, after(80)).poll_after_s == 1.0, "at least a second"
    assert durations.outlook(make_task(due_at=None), after(12)).poll_after_s == 10.0, "it waits for a slot"
    assert durations.outlook(make_task(status=Status.SUCCEEDED), after(12)) is NO_OUTLOOK
    called_back = make_task(due_at=after(600), expects_callback=True)
    waits_s = [durations.outlook(called_back, after(at_s)).poll_after_s for at_s in (2, 50, 70)]
    assert waits_s == [58.0, 10.0, 14.0], "at the usual time, then at a fifth of its age"
    unknown = NOTHING_LEARNED.outlook(task, after(72.5))
    assert (unknown.expected, unknown.poll_after_s) == (None, 2.5)


def test_what_threads_read_never_changes() -> None:
    """Learning makes a new value; failures and tasks of unknown length make none."""
    before = make_durations([60.0] * 10)
    window = before.find(make_task())
    after_more, keys = before.learn([make_task(**ENDED)])
    assert keys == {("suno.generate", "", "")}
    assert before.find(make_task()) is window
    assert after_more.find(make_task()) is not window
    assert before.learn([make_task(**{**ENDED, "status": Status.FAILED})]) == (before, set())


def test_a_plan_is_made_anew_after_some_tasks() -> None:
    """Not after each: at thousands of ends per second that would cost more than all else."""
    durations, task = make_durations([60.0] * 20), make_task()
    plans = []
    for _ in range(17):
        window = durations.find(task)
        assert window is not None
        plans.append(window.plan(TIMING))
        durations, _ = durations.learn([make_task(**ENDED)])
    assert len(set(map(id, plans))) == 3


def test_quantiles_lie_between_the_samples() -> None:
    """Interpolated, and never outside."""
    assert quantile([1.0], 0.9) == 1.0
    assert quantile([1.0, 2.0, 3.0], 0.5) == 2.0
    assert quantile([1.0, 2.0], 0.25) == 1.25
    draw = random.Random(3)
    values = sorted(draw.uniform(0, 100) for _ in range(50))
    found = [quantile(values, share / 100) for share in range(101)]
    assert found == sorted(found)
    assert (found[0], found[-1]) == (values[0], values[-1])


@pytest.mark.parametrize(
    ("request_body", "size"),
    [
        ({"prompt": "a kite"}, None),
        ({"duration": "5"}, "5s"),
        ({"duration": 7.5, "mode": "pro"}, "10s 1080p"),
        ({"parameters": {"duration": 12, "resolution": "720P"}}, "15s 720p"),
        ({"parameters": {"size": "1280*720"}}, "720p"),
        ({"seconds": "8", "size": "720x1280"}, "10s 720p"),
        ({"size": "9999x9999", "duration": 100000}, "600s 2160p"),
        ({"size": "auto", "quality": "high"}, "high"),
        ({"size": {"evil": 1}, "duration": None, "resolution": True}, None),
        ({"duration": "-5", "size": "a user's own words"}, None),
        ("no object", None),
        (None, None),
    ],
)
def test_the_coarse_size_of_a_request(request_body: object, size: str | None) -> None:
    """Lengths and resolutions in few steps, wherever the provider has them; nothing of what users write otherwise."""
    assert coarse_size(request_body) == size


def test_durations_start_empty() -> None:
    """Nothing is known at the first start."""
    assert Durations().usual(make_task()) is None
