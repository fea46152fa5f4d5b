"""The models that each account can use, as the upstream last listed them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tracker.domain.ai_models import Model, ModelList
from tracker.store.sqlite.rows import from_ms

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tracker.store.sqlite.rows import ReadRows
    from tracker.store.sqlite.transactions import Transaction


async def list_models(read_rows: ReadRows, account: str) -> ModelList:
    """The models of an account as they were last fetched."""
    rows = await read_rows(
        "SELECT id, family, display_name, type, created_at FROM models WHERE account = ? ORDER BY family, id",
        (account,),
    )
    ((synced_at,),) = await read_rows("SELECT min(synced_at) FROM model_lists WHERE account = ?", (account,))
    return ModelList(tuple(Model(*row) for row in rows), from_ms(synced_at))


def replace_models(tx: Transaction, account: str, family: str, models: Sequence[Model]) -> None:
    """Store a provider's list of an account's models replacing the one before."""
    tx.db.execute("DELETE FROM models WHERE account = ? AND family = ?", (account, family))
    tx.db.executemany(
        "INSERT INTO models (account, family, id, display_name, type, created_at) VALUES (?, ?, ?, ?, ?, ?)"
        " ON CONFLICT DO NOTHING",
        [(account, family, model.id, model.display_name, model.type, model.created_at) for model in models],
    )
    tx.db.execute(
        "INSERT INTO model_lists (account, family, synced_at) VALUES (?, ?, ?)"
        " ON CONFLICT DO UPDATE SET synced_at = excluded.synced_at",
        (account, family, tx.in_ms()),
    )
