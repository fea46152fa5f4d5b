"""Creates, observations and what is stored of them."""

import asyncio
import json
from collections.abc import Callable

import pytest

from tests.contract.store.conftest import OpenWorld
from tests.kits.clock import after
from tests.kits.factories import (
    make_answer,
    make_cancel,
    make_new_task,
    make_observation,
    make_output,
    make_registration,
    make_task_name,
)
from tracker.domain.observation import Submission, Trouble
from tracker.domain.task import ExternalId, Stage, Status, TaskId, UpstreamError
from tracker.errors import IdempotencyConflict, SubmitInFlight, TaskNotFound
from tracker.store.values import TaskFilter


async def test_a_create_returns_the_record_that_is_read_back(engine: OpenWorld) -> None:
    """With and without a decoded body, for a submit and for a task with a parked callback."""
    new = make_new_task(1, labels={"z": "1", "a": "2"}, idempotency_key="k", fallbacks=("m2",))
    async with engine() as world:
        await world.store.request_polls("suno", [ExternalId("up-3")], None)
        for drafted in (new, make_new_task(2, body={"p": "x"}, request='{"p":"x"}'), make_registration(3, "up-3")):
            created = await world.store.create_task(drafted)
            assert created.is_new
            assert created.record == await world.store.get_task(drafted.id)
            assert list(created.record.labels) == sorted(created.record.labels)


async def test_an_idempotency_key(engine: OpenWorld) -> None:
    """In flight: refused. Decided: the same task. Another payload: a conflict, also after the end."""
    async with engine() as world:
        first = make_new_task(1, idempotency_key="k", fingerprint="f")
        again = make_new_task(2, idempotency_key="k", fingerprint="f")
        other = make_new_task(3, idempotency_key="k", fingerprint="g")
        assert (await world.store.create_task(first)).is_new
        with pytest.raises(SubmitInFlight):
            await world.store.create_task(again)
        with pytest.raises(IdempotencyConflict):
            await world.store.create_task(other)
        await world.store.mark_sending(first.id, 60)
        with pytest.raises(SubmitInFlight):
            await world.store.create_task(again)
        await world.apply(make_answer(Submission.ACCEPTED, task_id=first.id))
        for _ in range(2):
            created = await world.store.create_task(again)
            assert (created.is_new, created.record.task.id) == (False, first.id)
            assert created.record.idempotency_key == "k"
            await world.poll(1, Status.SUCCEEDED)
        with pytest.raises(IdempotencyConflict):
            await world.store.create_task(other)
        assert (await world.store.create_task(make_new_task(4, idempotency_key="K", fingerprint="g"))).is_new


async def test_a_first_attempt_that_was_postponed_is_decided(engine: OpenWorld) -> None:
    """From then on the key finds its task, also while a later attempt is being sent."""
    async with engine() as world:
        first = make_new_task(1, idempotency_key="k", fingerprint="f")
        again = make_new_task(2, idempotency_key="k", fingerprint="f")
        await world.store.create_task(first)
        await world.store.mark_sending(first.id, 60)
        await world.apply(make_answer(Submission.DEFERRED, task_id=first.id, retry_after_s=1.0))
        assert not (await world.store.create_task(again)).is_new
        await world.store.mark_sending(first.id, 60)
        assert not (await world.store.create_task(again)).is_new


async def test_the_same_key_at_the_same_time(engine: OpenWorld) -> None:
    """Ten at once record one task."""
    async with engine() as world:
        new = [make_new_task(n, idempotency_key="k", fingerprint="f") for n in range(10)]
        answers = await asyncio.gather(*map(world.store.create_task, new), return_exceptions=True)
        assert [type(answer) for answer in answers[1:]] == [SubmitInFlight] * 9
        assert len((await world.store.list_tasks(TaskFilter())).items) == 1


async def test_registering_twice(engine: OpenWorld) -> None:
    """The same route, account and upstream id are the same task, also one that was submitted here."""
    async with engine() as world:
        first = await world.store.create_task(make_registration(1))
        again = await world.store.create_task(make_registration(2))
        assert (first.is_new, again.is_new, again.record.task.id) == (True, False, make_task_name(1))
        assert (await world.store.create_task(make_registration(3, account="other"))).is_new
        assert (await world.store.create_task(make_registration(4, route="suno.extend"))).is_new
        await world.submit(5)
        await world.apply(make_answer(Submission.ACCEPTED, task_id=make_task_name(5), external_id="up-5"))
        found = await world.store.create_task(make_registration(6, "up-5"))
        assert (found.is_new, found.record.task.id) == (False, make_task_name(5))


async def test_a_send_is_marked_once(engine: OpenWorld) -> None:
    """A create that is being sent, canceled or decided is not sent."""
    async with engine() as world:
        await world.submit(1)
        marks = await asyncio.gather(*(world.store.mark_sending(make_task_name(1), 60) for _ in range(5)))
        assert [mark is not None for mark in marks] == [True, False, False, False, False]
        await world.submit(2)
        await world.apply(make_cancel(task_id=make_task_name(2)))
        assert await world.store.mark_sending(make_task_name(2), 60) is None
        await world.follow(3)
        assert await world.store.mark_sending(make_task_name(3), 60) is None


async def test_every_step_of_a_task_is_stored(engine: OpenWorld) -> None:
    """Created, sent, accepted, running, succeeded: each step and the final record are read back unchanged."""
    async with engine() as world:
        await world.submit(labels={"user": "42", "näme": "wért"})
        sending = await world.store.mark_sending(make_task_name(1), 60)
        assert sending is not None
        assert (sending.submit_state, sending.submit_attempts, sending.due_at) == ("sending", 1, after(60))
        await world.apply(make_answer(Submission.ACCEPTED, task_id=make_task_name(1), payload='{"data":1}'))
        await world.call(1, Status.RUNNING, stage=Stage.FIRST, progress=50, outputs=(make_output(),))
        applied = await world.poll(
            1,
            Status.SUCCEEDED,
            outputs=(make_output(0, duration_s=91.2), make_output(1)),
            payload='{"done":true}',
            at=20,
        )
        record = await world.get()
        assert record.task == applied.task
        assert record.request == {"prompt": "a song about rain"}
        assert record.result == {"done": True}
        assert record.labels == {"user": "42", "näme": "wért"}
        events = await world.store.list_events(record.task.id)
        assert [(event.source, event.from_status, event.to_status) for event in events] == [
            ("submit", "PENDING", "PENDING"),
            ("callback", "PENDING", "RUNNING"),
            ("poll", "RUNNING", "SUCCEEDED"),
        ]
        assert events[0].payload == {"data": 1}
        assert [event.seq for event in events] == sorted({event.seq for event in events})


async def test_every_field_survives(engine: OpenWorld) -> None:
    """What an observation changed is read back exactly, counters and errors included."""
    async with engine() as world:
        await world.follow()
        error = UpstreamError("E\u00e9", "it's “down”\n", 503)
        for observation in (
            make_observation(trouble=Trouble.NOT_FOUND, error=error, task_id=make_task_name(1), at=11.001),
            make_observation(
                trouble=Trouble.UNKNOWN_STATUS, upstream_status="DREAMING", task_id=make_task_name(1), at=12.002
            ),
            make_observation(Status.SUCCEEDED, outputs=(), task_id=make_task_name(1), at=13.003),
            make_observation(Status.FAILED, error=error, retryable=False, task_id=make_task_name(1), at=14.004),
        ):
            applied = await world.apply(observation)
            assert (await world.get()).task == applied.task
        task = (await world.get()).task
        assert (task.unknown_status, task.error, task.polls) == ("DREAMING", error, 4)


async def test_an_unknown_task(engine: OpenWorld) -> None:
    """Every method for one task raises the same error."""
    async with engine() as world:
        unknown = TaskId("unknown")
        for call in (
            world.apply(make_observation(Status.RUNNING, task_id=unknown)),
            world.store.get_task(unknown),
            world.store.list_events(unknown),
            world.store.list_deliveries(unknown),
            world.at(1).poll_now(unknown),
        ):
            with pytest.raises(TaskNotFound):
                await call
        assert await world.store.mark_sending(unknown, 60) is None


async def test_a_large_payload_is_stored_with_the_end_only(engine: OpenWorld) -> None:
    """Before the end it is dropped; the one that ends the task is stored in full as its result."""
    large = json.dumps({"data": "x" * 100_000})
    async with engine() as world:
        await world.follow()
        await world.call(1, Status.RUNNING, payload=large)
        await world.call(1, Status.SUCCEEDED, payload=large)
        events = await world.store.list_events(make_task_name(1))
        assert [event.payload is not None for event in events] == [False, True]
        assert (await world.get()).result == json.loads(large)


async def test_payload_text_is_made_for_recorded_events_only(engine: OpenWorld) -> None:
    """A poll that changes nothing leaves no event, and its payload is never turned into text."""
    made: list[int] = []

    def payload(n: int) -> Callable[[], str]:
        def text() -> str:
            made.append(n)
            return json.dumps({"n": n})

        return text

    async with engine() as world:
        await world.follow()
        for n in range(3):
            await world.poll(1, Status.RUNNING, payload=payload(n))
        assert made == [0]
        (event,) = await world.store.list_events(make_task_name(1))
        assert event.payload == {"n": 0}
