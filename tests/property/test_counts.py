"""After any events, retention and hand edits: the counts that triggers keep are those of the rows."""

import asyncio
import contextlib
import sqlite3
import tempfile
from contextlib import closing
from pathlib import Path

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.kits.factories import make_task_name
from tests.kits.world import World
from tests.property.test_retention import ACTS, TASKS, live
from tracker.config.sections import Retention as Days
from tracker.maintenance.pruning import Pruning
from tracker.store.sqlite.audit import audit
from tracker.store.sqlite.counts import find_wrong
from tracker.store.values import ArchiveWish, DeliveryFilter

EDITS = (
    "UPDATE tasks SET status = 'FAILED', reason = 'canceled', finished_at = 1, due_at = NULL WHERE id = ?",
    "UPDATE tasks SET status = 'SUCCEEDED', reason = NULL, outputs = '[{\"kind\":\"audio\"}]' WHERE id = ?",
    "UPDATE tasks SET status = 'RUNNING' WHERE id = ?",
    "UPDATE deliveries SET hook = 'renamed' WHERE task_id = ?",
    "UPDATE deliveries SET hook = 'other', status = 'dead', due_at = NULL, finished_at = 1 WHERE task_id = ?",
    "DELETE FROM deliveries WHERE task_id = ?",
    "UPDATE archives SET state = 'dead', due_at = NULL, finished_at = 1 WHERE task_id = ?",
    "DELETE FROM archives WHERE task_id = ?",
    "DELETE FROM tasks WHERE id = ?",
    "UPDATE tasks SET cost_amount = 5, cost_currency = 'USD', cost_kind = 'actual' WHERE id = ?",
    "UPDATE tasks SET cost_amount = 7, cost_currency = 'credits', cost_kind = 'estimate' WHERE id = ?",
    "UPDATE tasks SET cost_amount = NULL, cost_currency = NULL, cost_kind = NULL WHERE id = ?",
    "UPDATE tasks SET price_amount = 3, price_currency = 'USD' WHERE id = ?",
    "UPDATE tasks SET price_amount = NULL, price_currency = NULL WHERE id = ?",
    "INSERT INTO labels (task_id, name, value) VALUES (?, 'user', '7')",
    "UPDATE labels SET value = '8' WHERE task_id = ?",
    "DELETE FROM labels WHERE task_id = ?",
)
"""What a user may do with the sqlite3 shell; the schema refuses some of it, depending on the task."""


async def check(acts: list[tuple[str, int, int]], edits: list[tuple[int, int]], aged_days: float) -> None:
    """Run, retry, edit, prune, and count again after each."""
    with tempfile.TemporaryDirectory() as name:
        async with World(Path(name) / "t.db") as world:

            def recount() -> list[str]:
                with closing(sqlite3.connect(world.path)) as db:
                    return find_wrong(db)

            world.store.choose_archives(lambda _task, _output: ArchiveWish(None))
            await live(world, acts)
            assert recount() == []
            await world.store.claim_archives(2, 60)
            await world.store.retry_deliveries(DeliveryFilter(hook="publish"))
            assert recount() == []
            for edit, n in edits:
                with closing(sqlite3.connect(world.path)) as db, contextlib.suppress(sqlite3.IntegrityError), db:
                    db.execute("PRAGMA foreign_keys = ON")
                    db.execute(EDITS[edit], (make_task_name(n),))
                assert recount() == []
            world.clock.advance(aged_days * 86_400)
            await Pruning(world.store, world.clock, lambda: Days(events_days=1, payload_days=1)).run()
            assert recount() == []
            stats = await world.store.stats()
            rows = world.edit("SELECT (SELECT count(*) FROM tasks), (SELECT count(*) FROM deliveries)")
            assert rows == [(sum(stats["tasks"].values()), sum(stats["deliveries"].values()))]


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    acts=st.lists(ACTS, min_size=4, max_size=25),
    edits=st.lists(st.tuples(st.sampled_from(range(len(EDITS))), st.sampled_from(TASKS)), max_size=12),
    aged_days=st.sampled_from((0, 2)),
)
def test_counts_are_those_of_the_rows(
    acts: list[tuple[str, int, int]], edits: list[tuple[int, int]], aged_days: float
) -> None:
    """Whatever changed the rows."""
    asyncio.run(check(acts, edits, aged_days))


async def test_a_wrong_count_is_found(tmp_path: Path) -> None:
    """The check of a file names it, with both numbers."""
    async with World(tmp_path / "t.db") as world:
        await world.follow()
        assert audit(world.path).is_sound
        world.edit("UPDATE task_counts SET pending = 5")
        found = audit(world.path)
        assert (found.is_sound, found.counts) == (
            False,
            ["task_counts of suno default suno.generate: pending 5, counted 1"],
        )
