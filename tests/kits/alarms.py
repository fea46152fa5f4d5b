"""The alarms of a running daemon."""

from __future__ import annotations

from typing import Any

from tests.kits.daemon import ApiClient


async def alarms_of(api: ApiClient, kind: str) -> list[dict[str, Any]]:
    """The alarms of a kind that are raised."""
    status, found = await api.call("GET", "/v1/alarms")
    assert status == 200
    return [item for item in found["items"] if item["kind"] == kind]
