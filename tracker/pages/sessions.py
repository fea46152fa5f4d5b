"""Sessions of people who signed in with an API token.

A session has the scope of its token, as the configuration has it now: it ends with the token. Only digests are held, in
memory: a restart ends every session.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Final, NamedTuple

from tracker.domain.scopes import find_token

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tracker.clock import Clock
    from tracker.domain.scopes import ApiToken

LASTS: Final = timedelta(hours=12)
MAX_SESSIONS: Final = 1000
"""The oldest ones end first."""


class _Session(NamedTuple):
    token: bytes
    """The digest of the token's value."""
    ends_at: datetime


class Sessions:
    """All sessions of this process."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._sessions: dict[bytes, _Session] = {}

    def begin(self, presented: str, tokens: Sequence[ApiToken]) -> tuple[str, ApiToken] | None:
        """Begin a session: its secret id, and its token; None if the token is none of those configured."""
        token = find_token(presented, tokens)
        if token is None:
            return None
        session_id = secrets.token_urlsafe(32)
        now = self._clock.now()
        self._sessions = {key: session for key, session in self._sessions.items() if session.ends_at > now}
        while len(self._sessions) >= MAX_SESSIONS:
            del self._sessions[next(iter(self._sessions))]
        self._sessions[_digest(session_id)] = _Session(_digest(token.value), now + LASTS)
        return session_id, token

    def find(self, session_id: str, tokens: Sequence[ApiToken]) -> ApiToken | None:
        """The token of a session; None: it is unknown or over, or its token is no longer configured."""
        session = self._sessions.get(_digest(session_id))
        if session is None or session.ends_at <= self._clock.now():
            return None
        fitting = [
            token for token in tokens if token.value and hmac.compare_digest(_digest(token.value), session.token)
        ]
        return None if not fitting else find_token(fitting[0].value, fitting)

    def end(self, session_id: str) -> None:
        """End a session."""
        self._sessions.pop(_digest(session_id), None)


def _digest(text: str) -> bytes:
    return hashlib.sha256(text.encode(errors="surrogateescape")).digest()
