"""Places for work of lanes: bounded over all lanes and for each, and one of each lane's that no other can take.

Owns who is at work. Must not know what the work is, nor whether it was any use.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from tracker.domain.task import TaskId

LaneKey = tuple[str, str]
"""Account and provider."""


class Places:
    """Work under way, one piece for a task.

    Args:
        total: pieces at once, over all lanes. So many, and one more for each lane that would have none: slow upstreams
            take what there is, and must not keep a quick one waiting.
        of_lane: pieces at once of one lane.
    """

    def __init__(self, total: int, of_lane: int) -> None:
        self._total = total
        self._of_lane = of_lane
        self._works: dict[TaskId, asyncio.Task[None]] = {}
        self._taken: Counter[LaneKey] = Counter()

    def __contains__(self, task_id: TaskId) -> bool:
        """Whether a piece of work for this task is under way."""
        return task_id in self._works

    def __len__(self) -> int:
        """How many are under way."""
        return len(self._works)

    def free(self, lane: LaneKey, lanes: int = 1) -> int:
        """How many places a lane may take, when so many lanes share what is free."""
        taken = self._taken[lane]
        share = max(0, self._total - len(self._works)) // lanes
        return min(max(share, 0 if taken else 1), self._of_lane - taken)

    def start(
        self, lane: LaneKey, task_id: TaskId, work: Coroutine[Any, Any, None], ended: Callable[[], None] | None = None
    ) -> None:
        """Begin a piece of work; ``ended`` is called once its place is free again."""
        self._taken[lane] += 1
        task = asyncio.create_task(work)
        self._works[task_id] = task

        def leave(_: asyncio.Task[None]) -> None:
            del self._works[task_id]
            self._taken[lane] -= 1
            if ended is not None:
                ended()

        task.add_done_callback(leave)

    async def join(self, task_id: TaskId) -> bool:
        """Wait for the work for a task, without cutting it off; whether there was any."""
        work = self._works.get(task_id)
        if work is not None:
            await asyncio.wait({work})
        return work is not None

    async def end(self, within_s: float) -> None:
        """Let the work end, and cancel what does not."""
        works = set(self._works.values())
        if works:
            await asyncio.wait(works, timeout=within_s)
        for work in works:
            work.cancel()
        await asyncio.gather(*works, return_exceptions=True)
