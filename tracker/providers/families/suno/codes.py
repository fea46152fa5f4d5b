"""The body codes of the Suno-compatible API.

Owns what each code means for a request and for a failed task. They look like HTTP statuses but are not: 429 is a
used-up quota, 405 and 430 are rate limits, with any HTTP status (mostly 200).

**Source**: https://anyint.ai/docs/media-and-music/music-tasks-and-webhooks for 400, 401, 405, 413, 429, 430,
455 and 500; https://docs.sunoapi.org/suno-api/generate-music and its callback page for the others (read
2026-11).
"""

from __future__ import annotations

import re

from tracker.domain.task import UpstreamError
from tracker.providers.reading import error_meanings as meanings
from tracker.providers.reading.error_meanings import Meaning, NestedError, by_number, reads_like_policy

REQUEST_CODES: dict[str, Meaning] = {
    "400": meanings.INVALID,
    "401": meanings.AUTH,
    "402": meanings.QUOTA,
    "404": meanings.NOT_FOUND,
    "405": meanings.RATE,
    "409": meanings.INVALID,
    "413": meanings.INVALID,  # text too long
    "422": meanings.INVALID,
    "429": meanings.QUOTA,
    "430": meanings.RATE,
    "451": meanings.INVALID,  # could not fetch the source audio
    "455": meanings.MAINTENANCE,
    "500": meanings.BROKEN,
    "501": meanings.NOT_MADE,
    "531": meanings.NOT_MADE,  # failed, and the credits came back
}
"""Of the reply to a create or a poll."""

TASK_CODES: dict[str, Meaning] = {**REQUEST_CODES, "413": meanings.POLICY}
"""Of a failed task, in callbacks and queries: there 413 means that the audio matches an existing work."""

_POLICY_ALSO = frozenset({"400", "422"})
"""Codes that also report violations of content rules; only the message shows it."""
_NOT_MADE_TEXT = re.compile(r"generation failed", re.IGNORECASE)
"""The message of a callback about lyrics with code 400 although the request was valid: a poll of the same task has
500. **Source**: https://docs.sunoapi.org/suno-api/generate-lyrics-callbacks."""


def find_request_meaning(error: UpstreamError) -> Meaning | None:
    """What a code in the reply to a request means; None for one outside the contract.

    Only those of ``{code, msg}``: the numbers inside the gateway's ``error`` are HTTP's, where 429 is a rate limit.
    """
    if isinstance(error, NestedError):
        return None
    return _look_up(error, REQUEST_CODES)


def find_task_meaning(error: UpstreamError) -> Meaning | None:
    """What the code of a failed task means; None for one outside the contract."""
    if error.code in _POLICY_ALSO and _NOT_MADE_TEXT.search(error.message or "") is not None:
        return meanings.NOT_MADE
    return _look_up(error, TASK_CODES)


def _look_up(error: UpstreamError, codes: dict[str, Meaning]) -> Meaning | None:
    if error.code in _POLICY_ALSO and reads_like_policy(error.message):
        return meanings.POLICY
    return codes.get(error.code or "") or by_number(error.code)


def is_documented(code: str | None) -> bool:
    """Whether a body code states an error of the contract, or repeats an HTTP status that does."""
    return code in REQUEST_CODES or by_number(code) is not None


def refuses(code: str | None) -> bool:
    """Whether a body code of the contract certainly refuses or defers a request because of its content."""
    return code in REQUEST_CODES and (code or "").startswith("4")
