"""Callback tokens: the unguessable part of the callback URL in a submit.

A token names a task and its route and proves that this tracker made it: ``<route>.<task id>.<mac>``; the MAC is a
keyed BLAKE2b of 128 bits over provider, route and task id. Tokens are not stored, so the database cannot leak them, and
verifying one needs no query.

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


class TokenOwner(NamedTuple):
    """The task that a valid token belongs to."""

    route: str
    task_id: TaskId


class CallbackTokens:
    """Makes and verifies callback tokens.

    Args:
        secret: at least 16 secret bytes; changing it invalidates older callback URLs (polls still find results).

    Raises:
        ValueError: the secret is too short.
    """

    def __init__(self, secret: bytes) -> None:
        if len(secret) < SHORTEST_SECRET:
            raise ValueError(f"a callback secret needs at least {SHORTEST_SECRET} bytes, not {len(secret)}")
        key = secret if len(secret) <= _LONGEST_KEY else hashlib.blake2b(secret).digest()
        self._keyed = hashlib.blake2b(key=key, digest_size=_MAC_BYTES)

    def make(self, route: str, task_id: TaskId) -> str:
        """The token of a task; ``route`` is its full name, ``provider.name``."""
        return f"{route.partition('.')[2]}.{task_id}.{self._mac(route, task_id)}"

    def verify(self, provider: str, token: str) -> TokenOwner | None:
        """The owner of a token; None if this tracker did not make it for this provider."""
        parts = token.split(".")
        if len(parts) != _PARTS or not token.isascii():
            return None
        route = f"{provider}.{parts[0]}"
        task_id = TaskId(parts[1])
        if not hmac.compare_digest(self._mac(route, task_id), parts[2]):
            return None
        return TokenOwner(route, task_id)

    def _mac(self, route: str, task_id: TaskId) -> str:
        mac = self._keyed.copy()  # half the time of a new one, since the key is processed already
        mac.update(f"{route}:{task_id}".encode())
        return mac.hexdigest()
