"""The rules under random histories, without a store: any observations in any order are consistent."""

from collections.abc import Sequence
from datetime import timedelta
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from tests.kits.clock import START
from tests.kits.factories import make_observation, make_output, make_sent_task, make_task
from tests.kits.invariants import check_change, check_task
from tracker.domain.judge import judge
from tracker.domain.observation import NOTHING, Observation, Source, Submission, Trouble
from tracker.domain.schedule import PollPolicy, PollTiming
from tracker.domain.task import ExternalId, Reason, Stage, Status, SubmitState, Task
from tracker.domain.transitions import decide

TIMING = PollTiming(PollPolicy(deadline_s=300, missing_output_grace_s=30, not_found_grace_s=60, submit_retry_s=90), 5.0)
LEASE = timedelta(seconds=40)

TASKS = st.sampled_from(
    [
        make_task(),
        make_sent_task(),
        make_sent_task(expects_callback=False),
        make_sent_task(submit_state=SubmitState.QUEUED, submit_attempts=0),
        *(make_task(status=Status.FAILED, reason=reason) for reason in (Reason.EXPIRED, Reason.POLICY_REJECTED)),
    ]
)
OUTPUTS = st.integers(0, 2).map(lambda count: tuple(make_output(n) for n in range(count)))
IDS = st.sampled_from([None, None, "up-1", "up-2"])
GAPS = st.sampled_from([0.0, 0.001, 1.0, 7.0, 45.0, 200.0, 1000.0])


@st.composite
def observations(draw: st.DrawFn) -> tuple[float, Observation]:
    """A wait in seconds and any observation after it."""
    source: Source = draw(st.sampled_from([*Source, Source.POLL, Source.CALLBACK]))
    fields: dict[str, Any] = {"source": source, "task_id": make_task().id}
    match source:
        case Source.OPERATOR:
            fields |= {"status": Status.FAILED, "reason": Reason.CANCELED}
        case Source.CLOCK:
            pass
        case Source.SUBMIT:
            fields |= {
                "submission": draw(st.sampled_from(Submission)),
                "status": draw(st.sampled_from([None, None, Status.PENDING, Status.SUCCEEDED])),
                "attempt": draw(st.integers(1, 3)),
                "retry_after_s": draw(st.sampled_from([None, 1.0, 500.0])),
            }
        case Source.POLL | Source.CALLBACK:
            said = draw(st.sampled_from([*Status, *Trouble]))
            fields["is_trusted"] = source is Source.POLL or draw(st.booleans())
            if isinstance(said, Trouble):
                fields |= {"trouble": said, "expired_after_s": draw(st.sampled_from([None, 50.0]))}
            else:
                fields |= {
                    "status": said,
                    "stage": draw(st.sampled_from([None, *Stage])),
                    "progress": draw(st.sampled_from([None, 0, 30, 100, 400])),
                }
    if source is not Source.OPERATOR and source is not Source.CLOCK:
        fields |= {"outputs": draw(OUTPUTS), "external_id": draw(IDS)}
    return draw(GAPS), make_observation(**fields)


def run(task: Task, history: Sequence[tuple[float, Observation]]) -> Task:
    """Judge a history as a store would, checking every step."""
    now = START
    keys: set[str] = set()
    for wait_s, observation in history:
        now += timedelta(seconds=wait_s)
        if observation.source is Source.POLL:
            if task.external_id is None or task.due_at is None:
                continue  # it is not polled
            task = replace(task, due_at=now + LEASE)
        task = take_in(task, replace(observation, observed_at=now), keys)
    return task


def take_in(task: Task, observation: Observation, keys: set[str]) -> Task:
    """Judge one observation; every step follows the rules, and every event has its own key."""
    for step in judge(task, observation, keys.__contains__, TIMING):
        check_change(task, step.task)
        assert not step.announces or step.is_recorded, "what is announced is in the history"
        assert step.task.status is task.status or step.is_recorded, "a change of status is in the history"
        if step.is_recorded:
            assert step.key not in keys
            keys.add(step.key)
        task = step.task
    return task


@settings(max_examples=1000)
@given(TASKS, st.lists(observations(), max_size=15))
def test_any_history_follows_the_rules(task: Task, history: list[tuple[float, Observation]]) -> None:
    """Forward only, ends are final, a success has outputs, a failure a reason, an unfinished task a due time."""
    run(task, history)


@settings(max_examples=300)
@given(TASKS, st.lists(observations(), max_size=12))
def test_repeating_every_observation_changes_nothing(task: Task, history: list[tuple[float, Observation]]) -> None:
    """Each observation repeated at once leads to the same status, stage, outputs and reason."""

    def substance(ended: Task) -> tuple[object, ...]:
        return ended.status, ended.stage, ended.progress, ended.outputs, ended.reason, ended.external_id

    twice = [item for wait_s, observation in history for item in ((wait_s, observation), (0.0, observation))]
    assert substance(run(task, twice)) == substance(run(task, history))


@settings(max_examples=500)
@given(TASKS, observations())
def test_decide_announces_every_end(task: Task, history: tuple[float, Observation]) -> None:
    """The pure decision alone: an end is announced exactly when it is made, and the decision can be repeated."""
    _, observation = history
    if observation.reading == NOTHING:
        return
    decision = decide(task, observation, observation.observed_at)
    assert decision == decide(task, observation, observation.observed_at)
    check_task(decision.task)
    ended = decision.task.status.is_terminal and decision.task.status is not task.status
    said = [event for event in decision.announces if event in {"task.succeeded", "task.failed"}]
    assert said == ([f"task.{decision.task.status.lower()}"] if ended else [])


@settings(max_examples=400)
@given(TASKS, st.lists(observations(), max_size=10), st.sampled_from([Status.RUNNING, *Trouble]))
def test_every_task_ends(task: Task, history: list[tuple[float, Observation]], said: Status | Trouble) -> None:
    """From any state, acted on when due, with an upstream that reports nothing, a task ends."""
    keys: set[str] = set()
    task = run(task, history)
    now = START + timedelta(hours=12)
    for _ in range(400):
        if task.due_at is None:
            break
        now = max(now, task.due_at)
        task = replace(task, due_at=now + LEASE)
        fields: dict[str, Any] = {"source": Source.POLL}
        if task.submit_state is SubmitState.QUEUED:
            attempt = task.submit_attempts + 1
            task = replace(task, submit_attempts=attempt)
            fields = {"source": Source.SUBMIT, "submission": Submission.DEFERRED, "attempt": attempt}
        elif task.submit_state is SubmitState.SENDING:
            fields = {"source": Source.SUBMIT, "submission": Submission.AMBIGUOUS, "attempt": task.submit_attempts}
        elif task.external_id is None:
            fields = {"source": Source.CLOCK}
        elif isinstance(said, Trouble):
            fields["trouble"] = said
        else:
            fields["status"] = said
        task = take_in(task, replace(make_observation(**fields), observed_at=now), keys)
    assert task.due_at is None
    assert task.status.is_terminal


WORDS_BESIDE_A_SUCCESS = st.one_of(
    st.builds(
        lambda status, stage, progress, source: make_observation(
            status, stage=stage, progress=progress, source=source, external_id=ExternalId("up-1"), outputs=()
        ),
        st.sampled_from([Status.PENDING, Status.RUNNING, Status.SUCCEEDED]),
        st.sampled_from([None, *Stage]),
        st.sampled_from([None, 10, 90]),
        st.sampled_from([Source.POLL, Source.CALLBACK]),
    ),
    st.builds(
        lambda trouble: make_observation(trouble=trouble), st.sampled_from(sorted(set(Trouble) - {Trouble.NOT_FOUND}))
    ),
    st.builds(
        lambda submission: make_observation(
            source=Source.SUBMIT,
            submission=submission,
            attempt=1,
            external_id="up-1" if submission is Submission.ACCEPTED else None,
        ),
        st.sampled_from([Submission.ACCEPTED, Submission.AMBIGUOUS]),
    ),
    st.just(make_observation(source=Source.CLOCK)),
)


@settings(max_examples=400)
@given(
    st.sampled_from([make_task(), make_sent_task(), make_sent_task(expects_callback=False)]),
    st.lists(st.tuples(GAPS, WORDS_BESIDE_A_SUCCESS), max_size=10),
    st.integers(0, 10),
    GAPS,
)
def test_a_success_is_never_lost(
    task: Task, history: list[tuple[float, Observation]], position: int, wait_s: float
) -> None:
    """In any order, with any delays, repeats and gaps: a success with outputs is the end."""
    success = make_observation(Status.SUCCEEDED, source=Source.CALLBACK, external_id="up-1")
    history.insert(min(position, len(history)), (wait_s, success))
    ended = run(task, history)
    assert ended.status is Status.SUCCEEDED
    assert ended.outputs == (make_output(),)
    assert ended.due_at is None
