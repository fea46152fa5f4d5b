"""Tokens of the API and their scopes: what the holder of each may do. Must not know any route."""

from __future__ import annotations

import hmac
from enum import StrEnum
from typing import TYPE_CHECKING

from msgspec import Struct

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence


class Scope(StrEnum):
    """What a token allows. Each scope includes those before it."""

    READ = "read"
    """Look at everything; secrets are never shown."""
    SUBMIT = "submit"
    """Also create tasks, which costs money, and act on one."""
    ADMIN = "admin"
    """Everything."""

    def includes(self, other: Scope) -> bool:
        """Whether this scope allows what the other one allows."""
        return _ORDER.index(self) >= _ORDER.index(other)


_ORDER = tuple(Scope)


class ApiToken(Struct, frozen=True):
    """A bearer token of the API.

    Attributes:
        name: as configured; None for the one of ``api_token_env`` or ``api_token_file``.
        value: secret, never shown; an empty one matches nothing.
    """

    name: str | None
    scope: Scope
    value: str

    def __repr__(self) -> str:
        return f"ApiToken({self.name!r}, {self.scope!r})"


def find_token(presented: str, tokens: Iterable[ApiToken]) -> ApiToken | None:
    """The token that a request presents; None: it is none of them.

    Every token is compared, in constant time. Of equal ones, the one that allows least is returned.
    """
    given = presented.encode(errors="surrogateescape")
    found: ApiToken | None = None
    for token in tokens:
        is_equal = hmac.compare_digest(given, token.value.encode())
        if is_equal and token.value and (found is None or found.scope.includes(token.scope)):
            found = token
    return found


def widest(tokens: Sequence[ApiToken]) -> ApiToken | None:
    """The token that allows most; None without any."""
    return max(tokens, key=lambda token: _ORDER.index(token.scope), default=None)
