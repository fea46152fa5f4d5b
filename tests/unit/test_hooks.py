"""Hooks without running any: their filters, the events that they get, and when they are retried."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.kits.clock import START
from tests.kits.factories import make_alarm
from tests.kits.hooks import make_hook, make_job
from tracker.config import load_config
from tracker.config.hooks import HookSpec
from tracker.domain.alarms import OF_HOOKS, AlarmKind
from tracker.domain.deliveries import AlarmJob
from tracker.domain.hook_events import EVENTS, PATTERNS, TASK_EVENTS, DeliveryStatus, HookEvent, covers
from tracker.domain.records import Json
from tracker.domain.task import Output, Reason, Status, TaskId, UpstreamError
from tracker.errors import ConfigError
from tracker.hooks.delivery import attempt_result, retry_delay_s
from tracker.hooks.kinds.notify import message_of
from tracker.hooks.kinds.registry import KINDS, hook_table, make_runners
from tracker.hooks.kinds.script import ScriptAction, ScriptHook, read_exit
from tracker.hooks.runner import RunOutcome, RunResult, encode_event
from tracker.hooks.running.environment import (
    LABELS_MAX_BYTES,
    VALUE_MAX_BYTES,
    label_variable,
    script_environment,
)
from tracker.hooks.spec import HookKind, WriterThreadMatch, is_for
from tracker.hooks.trial import sample_job
from tracker.store.values import Announcement

RUN = ScriptAction.of(["/bin/true"])
RETRY = RunResult(RunOutcome.RETRY, "exit 1")


def make_spec(**changes: Json) -> HookSpec:
    """A hook on everything, but for ``changes``."""
    return make_hook(**{"name": "publish", "on": ("task.*",), "action": RUN, **changes})


def problems_of(directory: Path, table: str) -> list[str]:
    """What is wrong with the keys of a hook that runs a program."""
    keys = {"name": '"publish"', "on": '"task.*"', "run": '"/bin/true"'}
    keys |= dict(line.split(" = ", 1) for line in table.splitlines())
    file = directory / "tracker.toml"
    file.write_text("[[hooks]]\n" + "\n".join(f"{key} = {value}" for key, value in keys.items()), encoding="utf-8")
    with pytest.raises(ConfigError) as caught:
        load_config(file, {}, hook_table=hook_table)
    return [line.removeprefix(f"{file}: ") for line in caught.value.problems]


def announce(event: str = "task.succeeded", **changes: Json) -> Announcement:
    """An announcement of a Suno task."""
    facts: dict[str, Any] = {"provider": "suno", "route": "suno.generate", "account": "default", "labels": {}}
    return Announcement(seq=1, index=0, event=event, task_id=TaskId("t"), **{**facts, **changes})


@pytest.mark.parametrize(
    ("pattern", "covered"),
    [
        ("task.*", set(TASK_EVENTS)),
        ("system.*", {"system.alarm", "system.clear"}),
        ("task.finished", {"task.succeeded", "task.failed"}),
        ("task.succeeded", {"task.succeeded"}),
        ("task.archived", {"task.archived"}),
        ("task.nonsense", set()),
    ],
)
def test_a_pattern_covers_its_events(pattern: str, covered: set[str]) -> None:
    """Exact names cover themselves, task.finished both ends, task.* and system.* all of theirs."""
    assert {event for event in EVENTS if covers(pattern, event)} == covered


def test_hooks_can_subscribe_to_every_event() -> None:
    """The events that transitions announce are all known here, by themselves and as part of ``task.*``."""
    assert [*HookEvent] == [*TASK_EVENTS]
    assert PATTERNS["task.*"] == set(TASK_EVENTS)
    assert set(EVENTS) == PATTERNS.keys() - {"task.*", "system.*", "task.finished"}


@pytest.mark.parametrize(
    ("filters", "subscribes"),
    [
        ({}, True),
        ({"provider": ("kling", "suno")}, True),
        ({"provider": ("kling",)}, False),
        ({"route": ("suno.generate",)}, True),
        ({"route": ("suno.extend",)}, False),
        ({"account": ("default",)}, True),
        ({"account": ("other",)}, False),
        ({"labels": {"user": "42"}}, True),
        ({"labels": {"user": "43"}}, False),
        ({"labels": {"user": "42", "team": "a"}}, False),
        ({"provider": ("suno",), "account": ("other",)}, False),
        ({"on": ("task.failed",)}, False),
        ({"on": ("task.failed", "task.finished")}, True),
    ],
)
def test_filters(filters: dict[str, Any], subscribes: bool) -> None:
    """A hook subscribes to what passes all of its filters."""
    assert is_for(make_spec(**filters), announce(labels={"user": "42"})) is subscribes


def test_an_alarm_passes_the_filters_of_tasks_and_is_not_for_the_hook_that_it_is_about() -> None:
    """Such a hook cannot be reached, and each attempt would be a reason for the next alarm."""
    about = {kind: Announcement(1, 0, "system.alarm", alarm=make_alarm(kind, "publish")) for kind in AlarmKind}
    for on in (("system.*",), ("task.*", "system.alarm")):
        spec = make_spec(on=on, provider=("kling",), labels={"user": "1"})
        assert {kind for kind, announced in about.items() if not is_for(spec, announced)} == OF_HOOKS
        assert all(is_for(spec.model_copy(update={"name": "other"}), announced) for announced in about.values())
    assert not any(is_for(make_spec(on=on), about[AlarmKind.DISK_LOW]) for on in (("task.*",), ("system.clear",)))


def test_what_programs_and_people_get_of_an_alarm() -> None:
    """A script has variables of the alarm and none of a task; a notification says what to do, and when it is over."""
    raised = sample_job(make_spec(on=("system.*",)), "system.alarm", START)
    assert isinstance(raised, AlarmJob)
    alarm = make_alarm(AlarmKind.KEY_REJECTED, "default", message="No key.\0", fix="Set a key.")
    raised = replace(raised, alarm=alarm, is_test=False)
    found = script_environment(raised, {}, traceparent=None)
    assert {name: value for name, value in found.items() if name.startswith("TRACKER_")} == {
        "TRACKER_EVENT": "system.alarm",
        "TRACKER_DELIVERY_ID": "dlv_0_alarm_publish",
        "TRACKER_ATTEMPT": "1",
        "TRACKER_ALARM_KIND": "key_rejected",
        "TRACKER_ALARM_SUBJECT": "default",
        "TRACKER_ALARM_MESSAGE": "No key.",
        "TRACKER_ALARM_FIX": "Set a key.",
    }
    assert message_of(raised) == ("key rejected (default)", "No key.\0\nSet a key.", "warning")
    over = replace(raised, event="system.clear")
    assert message_of(over) == ("Over: key rejected (default)", "No key.\0", "success")


def test_match_names_each_hook_once_and_reports_it() -> None:
    """Overlapping patterns of one hook name it once: one delivery per task, hook and event."""
    specs = [make_spec(on=("task.*", "task.finished")), make_spec(name="other", on=("task.failed",))]
    match = WriterThreadMatch(specs)
    assert match(announce()) == match(announce()) == ["publish"]
    assert match.matched == {"publish"}


@pytest.mark.parametrize(
    ("table", "problem"),
    [
        (
            'on = "task.suceeded"',
            "hooks[publish].on: unknown event 'task.suceeded'; did you mean 'task.succeeded'?",
        ),
        ('on = "zzz"', "hooks[publish].on: unknown event 'zzz'; use one of task.submitted, task.running"),
        ("on = []", "hooks[publish].on: is empty"),
        ('name = "a/b"', "hooks[a/b].name: is not a valid name"),
        ('name = ""', "hooks[].name: is not a valid name"),
        ("timeout_s = 0", "hooks[publish].timeout_s: must be greater than 0"),
        ("max_attempts = 0", "hooks[publish].max_attempts: must be greater than or equal to 1"),
        ("concurrency = 0", "hooks[publish].concurrency: must be greater than or equal to 1"),
        ("retry_first_s = 5\nretry_max_s = 4", "hooks[publish].retry_max_s: retry_max_s (4) is less than"),
        ('url = "https://x.example"\nsecret_env = "S"', "hooks[publish].url: a hook runs one thing"),
        ("worker = 7", "hooks[publish].worker: must be true or false; write for example worker = false"),
        ("workr = true", "hooks[publish].workr: unknown key; did you mean worker?"),
        ("secret = 5", "hooks[publish].secret: secrets are not allowed here"),
    ],
)
def test_a_wrong_hook_is_refused_with_a_plain_line(tmp_path: Path, table: str, problem: str) -> None:
    """A mistake is reported with the hook, the key and the fix."""
    (line,) = problems_of(tmp_path, table)
    assert line.startswith(problem)


def test_all_mistakes_are_reported_at_once(tmp_path: Path) -> None:
    """Two mistakes are two lines."""
    assert len(problems_of(tmp_path, 'on = "task.done"\nconcurrency = 0')) == 2


def test_no_two_kinds_share_a_key() -> None:
    """The table of `[[hooks]]` has the keys of all kinds: one name has one meaning."""
    own = [key for kind in KINDS for key in vars(kind.table)["__annotations__"]]
    assert len(own) == len(set(own))
    assert {kind.key for kind in KINDS} <= set(own)
    assert set(own) < hook_table().model_fields.keys()


def test_the_event_is_the_contract() -> None:
    """The event has type, seq, delivery id, time, the task in its public form, and the status before."""
    event = json.loads(encode_event(make_job(labels={"user": "42"}, request={"prompt": "rain"})))
    assert list(event) == ["type", "seq", "delivery_id", "at", "task", "previous_status"]
    assert event["type"] == "task.succeeded"
    assert event["seq"] == 812
    assert event["delivery_id"] == "dlv_812_0_publish"
    assert event["at"] == "2026-11-20T20:42:00.000Z"
    assert event["previous_status"] == "RUNNING"
    assert event["task"]["labels"] == {"user": "42"}
    assert event["task"]["request"] == {"prompt": "rain"}
    assert event["task"]["outputs"][0]["url"] == "https://cdn.example/a.mp3?sig=1"


@pytest.mark.parametrize("odd", ["\ud800", 2**70, {"deep": ["\udfff"]}])
def test_odd_but_valid_json_is_delivered(odd: Json) -> None:
    """A lone surrogate or a huge integer in a request does not prevent the delivery."""
    assert json.loads(encode_event(make_job(request={"odd": odd})))["task"]["request"] == {"odd": odd}


def test_environment_is_the_contract_and_nothing_else() -> None:
    """A script sees the listed variables; it never sees the daemon's own, such as API keys."""
    environ = {
        "PATH": "/bin",
        "HOME": "/home/t",
        "LC_ALL": "C.UTF-8",
        "TZ": "UTC",
        "ANYINT_API_KEY": "sk-secret",
        "TRACKER_API_TOKEN": "token",
        "LD_PRELOAD": "/evil.so",
    }
    job = make_job(attempt=3, labels={"user": "42", "Order-No.": "é7"})
    assert script_environment(job, environ) == {
        "PATH": "/bin",
        "HOME": "/home/t",
        "LC_ALL": "C.UTF-8",
        "TZ": "UTC",
        "TRACKER_EVENT": "task.succeeded",
        "TRACKER_DELIVERY_ID": "dlv_812_0_publish",
        "TRACKER_ATTEMPT": "3",
        "TRACKER_TASK_ID": "01JDTASK",
        "TRACKER_EXTERNAL_ID": "5c79",
        "TRACKER_PROVIDER": "suno",
        "TRACKER_ROUTE": "suno.generate",
        "TRACKER_STATUS": "SUCCEEDED",
        "TRACKER_REASON": "",
        "TRACKER_ERROR_MESSAGE": "",
        "TRACKER_OUTPUT_URL": "https://cdn.example/a.mp3?sig=1",
        "TRACKER_OUTPUT_PATH": "",
        "TRACKER_LABEL_USER": "42",
        "TRACKER_LABEL_ORDER_NO_": "é7",
    }


def test_environment_of_a_failure() -> None:
    """A failed task shows its reason and the upstream's message, NUL bytes taken out."""
    error = UpstreamError(code="500", message="out\0 of\ud800 luck")
    env = script_environment(
        make_job(status=Status.FAILED, reason=Reason.GENERATION_FAILED, error=error, outputs=()), {}
    )
    assert env["TRACKER_REASON"] == "generation_failed"
    assert env["TRACKER_ERROR_MESSAGE"] == "out of? luck"
    assert env["TRACKER_OUTPUT_URL"] == ""


def test_a_url_that_needs_a_key_is_not_shown() -> None:
    """An output whose URL needs the account's key shows no URL."""
    env = script_environment(make_job(outputs=(Output("video", "https://up/v1/1", authenticated=True),)), {})
    assert env["TRACKER_OUTPUT_URL"] == ""


def test_the_environment_always_fits() -> None:
    """Texts are cut between characters, ids and URLs are complete or empty, and labels have a common limit."""
    error = UpstreamError(message="é" * VALUE_MAX_BYTES)
    job = make_job(
        error=error,
        external_id="x" * (VALUE_MAX_BYTES + 1),
        outputs=(Output("audio", "https://cdn/" + "a" * VALUE_MAX_BYTES),),
        labels={f"label{n:03}": "v" * 10_000 for n in range(50)},
    )
    env = script_environment(job, {"PATH": "p" * 500_000})
    assert env["TRACKER_ERROR_MESSAGE"] == "é" * (VALUE_MAX_BYTES // 2)
    assert env["TRACKER_EXTERNAL_ID"] == ""
    assert env["TRACKER_OUTPUT_URL"] == ""
    labels = {name: value for name, value in env.items() if name.startswith("TRACKER_LABEL_")}
    assert 1 < len(labels) < 50
    assert sum(len(name) + len(value) for name, value in labels.items()) <= LABELS_MAX_BYTES
    assert all(len(value.encode()) <= VALUE_MAX_BYTES for value in env.values())


@pytest.mark.parametrize(
    ("label", "variable"),
    [
        ("user", "TRACKER_LABEL_USER"),
        ("order-no.", "TRACKER_LABEL_ORDER_NO_"),
        ("größe=\0", "TRACKER_LABEL_GR_SSE__"),
        ("", "TRACKER_LABEL_"),
    ],
)
def test_label_variables(label: str, variable: str) -> None:
    """Upper case, and anything but ASCII letters and digits becomes an underscore."""
    assert label_variable(label) == variable


def test_of_two_labels_with_one_variable_the_first_wins() -> None:
    """What a script sees does not depend on the order in which labels were given."""
    for labels in ({"a-b": "1", "a_b": "2"}, {"a_b": "2", "a-b": "1"}):
        assert script_environment(make_job(labels=labels), {})["TRACKER_LABEL_A_B"] == "1"


@pytest.mark.parametrize(
    ("attempt", "draw", "delay_s"),
    [
        (1, 0.5, 2),
        (2, 0.5, 4),
        (5, 0.5, 32),
        (1, 0.0, 1.8),
        (1, 1.0, 2.2),
        (11, 0.5, 2048),
        (12, 0.5, 3600),
        (5000, 0.5, 3600),
    ],
)
def test_delays_double_up_to_the_longest(attempt: int, draw: float, delay_s: float) -> None:
    """Delays grow from retry_first_s to retry_max_s, spread by ten percent."""
    assert retry_delay_s(make_spec(), attempt, RETRY, draw) == pytest.approx(delay_s)


@pytest.mark.parametrize(("asked_s", "delay_s"), [(90.0, 90.0), (0.5, 2.0), (1e12, 7 * 86400.0)])
def test_a_requested_delay_is_never_shortened(asked_s: float, delay_s: float) -> None:
    """A hook that asks for a longer wait gets it, up to a week."""
    assert retry_delay_s(make_spec(), 1, RunResult(RunOutcome.RETRY, retry_after_s=asked_s), 0.5) == delay_s


@pytest.mark.parametrize(
    ("result", "attempt", "status", "next_s"),
    [
        (RunResult(RunOutcome.SUCCEEDED), 1, DeliveryStatus.SUCCEEDED, None),
        (RunResult(RunOutcome.FAILED_FOR_GOOD, "exit 100"), 1, DeliveryStatus.FAILED, None),
        (RETRY, 1, DeliveryStatus.PENDING, 2),
        (RETRY, 11, DeliveryStatus.PENDING, 2048),
        (RETRY, 12, DeliveryStatus.DEAD, None),
        (RETRY, 13, DeliveryStatus.DEAD, None),
        (RunResult(RunOutcome.RETRY, "too many open files", blameless=True), 12, DeliveryStatus.PENDING, 60),
    ],
)
def test_what_follows_from_a_run(result: RunResult, attempt: int, status: DeliveryStatus, next_s: float | None) -> None:
    """Retries end in dead when the attempts are used up; failures of the machine do not count."""
    recorded = attempt_result(make_spec(), attempt, result, 0.5)
    assert recorded.status is status
    assert recorded.retry_in_s == next_s


def test_an_error_is_one_line_that_can_be_stored() -> None:
    """Line breaks, lone surrogates and NUL of an error do not reach the store."""
    recorded = attempt_result(make_spec(), 1, RunResult(RunOutcome.RETRY, "a\n b\udcff\0" + "c" * 1000), 0.5)
    assert recorded.error is not None
    assert recorded.error.startswith("a b?\ufffdccc")
    assert len(recorded.error) == 500


@pytest.mark.parametrize(
    ("status", "outcome", "message"),
    [
        (0, RunOutcome.SUCCEEDED, None),
        (100, RunOutcome.FAILED_FOR_GOOD, "exit 100: failed for good"),
        (1, RunOutcome.RETRY, "exit 1"),
        (-9, RunOutcome.RETRY, "ended by SIGKILL"),
        (-35, RunOutcome.RETRY, "ended by signal 35"),
        (None, RunOutcome.RETRY, "the exit status was lost: the daemon was started with SIGCHLD ignored"),
    ],
)
def test_what_an_exit_means(status: int | None, outcome: RunOutcome, message: str | None) -> None:
    """Only 0 is done and only 100 is final; an unknown status is never a success."""
    assert read_exit(status, "said") == RunResult(outcome, message, "said")


def test_the_narrowest_pattern_names_the_program() -> None:
    """Where several patterns cover an event, the narrowest decides what runs."""
    action = ScriptAction((("task.*", ("all",)), ("task.finished", ("end",)), ("task.failed", ("bad",))))
    found = {event: action.find_argv(event) for event in EVENTS}
    assert found["task.failed"] == ("bad",)
    assert found["task.succeeded"] == ("end",)
    assert found["task.running"] == ("all",)
    assert ScriptAction((("task.failed", ("bad",)),)).find_argv("task.running") is None
    with pytest.raises(ValueError, match="needs a program"):
        ScriptAction.of([])


def test_patterns_go_from_narrow_to_wide() -> None:
    """The order of the table is what makes one pattern narrower than another."""
    sizes = [len(events) for events in PATTERNS.values()]
    assert sizes == sorted(sizes)


class NoRun:
    """A runner without its method."""


class WrongRun:
    """A runner whose method takes something else."""

    async def run(self, job: object, body: object) -> None:
        """Not what is called."""


def odd_kind(runner: Any) -> HookKind:  # noqa: ANN401 - no runner
    """A kind with a wrong runner."""
    return HookKind("odd", "odd", ScriptHook, lambda _hook, _secret: RUN, lambda _tools: runner)


@pytest.mark.parametrize(
    ("kinds", "message"),
    [
        ([*KINDS, *KINDS], "share the name 'script'"),
        ([odd_kind(NoRun())], "no async method 'run'"),
        ([odd_kind(WrongRun())], r"run takes \(job, body\)"),
    ],
)
def test_a_wrong_kind_is_refused_at_the_start(kinds: list[HookKind], message: str) -> None:
    """The registry names the kind that does not fit."""
    with pytest.raises(TypeError, match=message):
        make_runners(None, kinds)  # type: ignore[arg-type]  # these kinds need no tools
