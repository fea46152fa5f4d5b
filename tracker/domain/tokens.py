"""Callback tokens: the unguessable part of the callback URL that is handed to a provider at submit.

A token names one task and its route and proves that this tracker made it: ``<route>.<task id>.<mac>``, where the
mac is a keyed BLAKE2b of 128 bits over the provider, the route and the task id. Nothing of it is stored, so nothing of
it can leak from the database; verifying one costs no look-up.

Source: https://www.rfc-editor.org/rfc/rfc7693, section 2.9 (read 2026-11).
"""

from __future__ import annotations

import hashlib
import hmac
from typing import NamedTuple

from tracker.domain.task import TaskId

_MAC_BYTES = 16
_LONGEST_KEY = 64
_PARTS = 3
SHORTEST_SECRET = 16


class TokenBearer(NamedTuple):
    """Whom a good token belongs to."""

    route: str
    task_id: TaskId


class CallbackTokens:
    """Makes and verifies callback tokens.

    Args:
        secret: at least 16 secret bytes; changing it makes older callback URLs unknown (polls still find the end).

    Raises:
        ValueError: the secret is too short.
    """

    def __init__(self, secret: bytes) -> None:
        if len(secret) < SHORTEST_SECRET:
            raise ValueError(f"a callback secret needs at least {SHORTEST_SECRET} bytes, not {len(secret)}")
        self._key = secret if len(secret) <= _LONGEST_KEY else hashlib.blake2b(secret).digest()

    def make(self, route: str, task_id: TaskId) -> str:
        """The token of a task; ``route`` is its full name, ``provider.name``."""
        return f"{route.partition('.')[2]}.{task_id}.{self._mac(route, task_id)}"

    def verify(self, provider: str, token: str) -> TokenBearer | None:
        """Whom a token belongs to, None when it is not one of ours for this provider."""
        parts = token.split(".")
        if len(parts) != _PARTS or not token.isascii():
            return None
        route = f"{provider}.{parts[0]}"
        task_id = TaskId(parts[1])
        if not hmac.compare_digest(self._mac(route, task_id), parts[2]):
            return None
        return TokenBearer(route, task_id)

    def _mac(self, route: str, task_id: TaskId) -> str:
        return hashlib.blake2b(f"{route}:{task_id}".encode(), key=self._key, digest_size=_MAC_BYTES).hexdigest()
