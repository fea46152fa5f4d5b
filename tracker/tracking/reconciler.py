"""The one door: every observation, whoever made it, enters here and nowhere else.

Who is authoritative: the store's row of the task, changed only inside `Store.apply`, in one transaction that also
writes the event and so the outbox. A callback handler, a poll, the submitter, an operator's command and the clock
all hand in an `Observation`; what it means is decided by `tracker.domain.judge`, a pure function, while the
transaction holds the row. Nobody else decides, and nobody decides from a copy read earlier.

After a commit, `Changes` wakes those who wait for a task.
"""

from __future__ import annotations

import asyncio
import random
from collections import defaultdict
from contextlib import contextmanager
from functools import cache
from typing import TYPE_CHECKING

from msgspec.structs import replace

from tracker.domain.judge import judge
from tracker.domain.lenient_json.large import LARGE_BYTES
from tracker.domain.observation import Source
from tracker.domain.schedule import Pace, PollPolicy
from tracker.domain.task import Reason
from tracker.logs import get_logger

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence

    from tracker.domain.judge import Step
    from tracker.domain.observation import Observation
    from tracker.domain.task import Output, Task, TaskId
    from tracker.logs import Redactor
    from tracker.store.protocol import Store
    from tracker.store.values import Applied

log = get_logger(__name__)

HEALTHY_AFTER = 3
"""So many ends in a row told by callbacks, and the callbacks of a lane count as healthy."""


class Changes:
    """Wakes those who wait for a change of a task, after it is on disk."""

    def __init__(self) -> None:
        self._waiting: defaultdict[TaskId, set[asyncio.Event]] = defaultdict(set)

    @contextmanager
    def watch(self, task_id: TaskId) -> Iterator[asyncio.Event]:
        """An event that is set at each change of the task from now on; the waiter clears it."""
        changed = asyncio.Event()
        self._waiting[task_id].add(changed)
        try:
            yield changed
        finally:
            waiters = self._waiting[task_id]
            waiters.discard(changed)
            if not waiters:
                del self._waiting[task_id]

    def tell(self, applied: Sequence[Applied]) -> None:
        """Wake the waiters of these tasks; a listener of the store."""
        for change in applied:
            for changed in self._waiting.get(change.task.id, ()):
                changed.set()


class CallbackHealth:
    """Whether callbacks of a lane bring the news themselves, or polls have to find it.

    Kept in memory: after a restart callbacks must prove themselves again, and until then polls run at full pace.
    """

    def __init__(self) -> None:
        self._streak: dict[tuple[str, str], int] = {}

    def is_healthy(self, account: str, provider: str) -> bool:
        """Whether the last `HEALTHY_AFTER` ends were all told by callbacks."""
        return self._streak.get((account, provider), 0) >= HEALTHY_AFTER

    def note_end(self, task: Task, source: Source) -> None:
        """Take in who told the end of a task that expected a callback."""
        if not task.expects_callback or task.is_given_up or task.reason is Reason.NOT_FOUND:
            return  # the tracker's own verdicts say nothing about who brings news
        lane = (task.account, task.provider)
        if source is Source.CALLBACK:
            self._streak[lane] = min(self._streak.get(lane, 0) + 1, HEALTHY_AFTER)
        elif source is Source.POLL:
            if self.is_healthy(*lane):
                log.warning("callbacks.fell_silent", account=task.account, provider=task.provider, task=task.id)
            self._streak[lane] = 0


class Reconciler:
    """Applies observations.

    Args:
        store: where tasks are kept.
        policy_of: the poll policy of a provider.
        interval_of: the poll interval that a route's contract suggests, seconds.
        redactor: masks secrets in what an upstream says; of a key that it refuses it may speak by quoting it.
        draw: numbers from 0 to 1 for jitter.
    """

    def __init__(
        self,
        store: Store,
        *,
        policy_of: Callable[[str], PollPolicy],
        interval_of: Mapping[str, float],
        redactor: Redactor,
        draw: Callable[[], float] = random.random,
    ) -> None:
        self._store = store
        self.policy_of = cache(policy_of)
        self._interval_of = interval_of
        self._redactor = redactor
        self._draw = draw
        self._health = CallbackHealth()
        self.changes = Changes()
        store.subscribe(self.changes.tell)
        store.subscribe(self._note_ends)

    def set_policies(self, policy_of: Callable[[str], PollPolicy]) -> None:
        """Replace the poll policies: they hold from the next decision on each task."""
        self.policy_of = cache(policy_of)

    def apply(self, observation: Observation) -> Awaitable[Applied]:
        """Take in one observation; once this was awaited, what follows from it is on disk.

        Raises:
            TaskNotFound: the task does not exist.
            StoreUnavailable: nothing was written; the sender should try again.
        """
        if any(output.text and len(output.text) > LARGE_BYTES for output in observation.reading.outputs):
            return self._apply_large(observation)
        return self._store.apply(self._masked(observation), self._judge)

    def _masked(self, observation: Observation) -> Observation:
        """The observation without secrets in its words; they go to disk, to answers, and to hooks."""
        reading = observation.reading
        masked = reading
        error = reading.error
        if error is not None and (error.message or error.code):
            masked = replace(
                masked, error=replace(error, code=self._mask(error.code), message=self._mask(error.message))
            )
        if reading.detail is not None:
            masked = replace(masked, detail=self._redactor.text(reading.detail))
        if reading.status is None and reading.upstream_status is not None:  # a status that is known holds no secret
            masked = replace(masked, upstream_status=self._redactor.text(reading.upstream_status))
        for output in reading.outputs:
            if output.title or output.text:
                masked = replace(masked, outputs=tuple(map(self._masked_output, reading.outputs)))
                break
        return observation if masked is reading else replace(observation, reading=masked)

    def _mask(self, words: str | None) -> str | None:
        return words and self._redactor.text(words)

    def _masked_output(self, output: Output) -> Output:
        title = output.title and self._redactor.known_secrets(output.title)
        text = output.text and self._redactor.known_secrets(output.text)
        return output if (title, text) == (output.title, output.text) else replace(output, title=title, text=text)

    async def _apply_large(self, observation: Observation) -> Applied:
        """The same where texts are long: the event loop does not wait for looking them through."""
        return await self._store.apply(await asyncio.to_thread(self._masked, observation), self._judge)

    def _judge(self, task: Task, heard: Observation, seen: Callable[[str], bool]) -> tuple[Step, ...]:
        return judge(task, heard, seen, self._pace(task))

    def _note_ends(self, applied: Sequence[Applied]) -> None:
        for change in applied:
            if change.ended_by is not None:
                task = change.task
                self._health.note_end(task, change.ended_by)
                log.info(
                    "task.ended",
                    task=task.id,
                    provider=task.provider,
                    status=task.status,
                    reason=task.reason,
                    source=change.ended_by,
                )

    def _pace(self, task: Task) -> Pace:
        return Pace(
            policy=self.policy_of(task.provider),
            suggested_interval_s=self._interval_of.get(task.route, 0.0),
            jitter=self._draw(),
            callbacks_healthy=task.expects_callback and self._health.is_healthy(task.account, task.provider),
        )
