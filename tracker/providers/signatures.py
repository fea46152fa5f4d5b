"""Signatures of callbacks: the computation alone, over raw bytes and headers.

Owns the schemes of the providers. Must not hold secrets, read a clock, or write anything into a message that helps to
forge a signature, such as the expected value.

``standard-webhooks`` (Kling as "Svix", OpenAI): HMAC-SHA256 over ``<id>.<timestamp>.<body>``. The
``standardwebhooks`` library is not used for it: it reads the system's clock, decodes the body to text first, and raises
undocumented exceptions for malformed signatures.

``suno-hmac`` (kie.ai): HMAC-SHA256 over ``<task id>.<timestamp>``. It does not cover the body, so a poll must confirm
the callback. No tolerance is documented, and none is needed: a repeated callback only causes a poll.

**Source**: https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md;
https://docs.svix.com/receiving/verifying-payloads/how-manual for the ``svix-`` names;
https://docs.kie.ai/common-api/webhook-verification (all read 2026-11).
"""

from __future__ import annotations

import binascii
import hashlib
import hmac
from base64 import b64decode
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tracker.errors import SignatureInvalid

if TYPE_CHECKING:
    from datetime import datetime

TOLERANCE_S = 300
"""The largest difference between a timestamp and now."""

_SECRET_PREFIX = "whsec_"  # noqa: S105 - the prefix that marks a secret, not one
_VERSION = "v1"
_FAMILIES = ("webhook", "svix")
_MAX_SIGNATURES = 20
_MAX_TIMESTAMP_DIGITS = 12
_MISSING = "the header {} is missing"
_NO_MATCH = "no signature of the callback matches"


@dataclass(frozen=True, slots=True)
class Verified:
    """A valid signature.

    Attributes:
        confirm: it does not cover the body, so only a poll may end the task.
    """

    confirm: bool


def verify(  # noqa: PLR0917 - the parts of a callback
    scheme: str,
    secrets: Sequence[str],
    headers: Mapping[str, str],
    body: bytes,
    task_ids: Sequence[str],
    now: datetime,
) -> Verified:
    """Check a callback's signature.

    Args:
        scheme: one of `SCHEMES`.
        secrets: several while one is being replaced.
        headers: of the callback, names in any case.
        body: raw.
        task_ids: the upstream ids in the callback; only ``suno-hmac`` uses them.
        now: the current time, aware.

    Raises:
        SignatureInvalid: the signature is wrong or missing.
        ValueError: there is no such scheme.
    """
    check = _CHECKS.get(scheme)
    if check is None:
        raise ValueError(f"unknown signature scheme {scheme!r}; known are {', '.join(SCHEMES)}")
    return check(secrets, {name.lower(): value for name, value in headers.items()}, body, task_ids, now)


def find_secret_problem(scheme: str, secret: str) -> str | None:
    """What is wrong with the secret of a scheme, and how to fix it; None if nothing is. Never repeats the secret."""
    if not secret.strip():
        return "the secret is empty; set it to what the provider shows"
    if scheme == _STANDARD and _standard_key(secret) is None:
        return f"the secret is not base64; copy all of it, as the provider shows it ({_SECRET_PREFIX}…)"
    return None


def _check_standard(
    secrets: Sequence[str], headers: Mapping[str, str], body: bytes, task_ids: Sequence[str], now: datetime
) -> Verified:
    del task_ids
    family = next((family for family in _FAMILIES if f"{family}-signature" in headers), _FAMILIES[0])
    message_id, timestamp, signatures = (
        _require(headers, f"{family}-{part}") for part in ("id", "timestamp", "signature")
    )
    _check_age(timestamp, now)
    # the header's own spelling of the time is signed, not its number
    signed = b".".join((message_id.encode(errors="replace"), timestamp.encode(), body))
    given = [
        mac
        for signature in signatures.split()[:_MAX_SIGNATURES]
        if signature.startswith(f"{_VERSION},") and (mac := _decode(signature.removeprefix(f"{_VERSION},"))) is not None
    ]
    keys = [key for secret in secrets if (key := _standard_key(secret)) is not None]
    if not _any_matches(keys, [signed], given):
        raise SignatureInvalid(_NO_MATCH)
    return Verified(confirm=False)


def _check_task_only(
    secrets: Sequence[str], headers: Mapping[str, str], body: bytes, task_ids: Sequence[str], now: datetime
) -> Verified:
    del body, now
    timestamp = _require(headers, "x-webhook-timestamp")
    mac = _decode(_require(headers, "x-webhook-signature"))
    keys = [secret.strip().encode() for secret in secrets if secret.strip()]
    signed = [f"{task_id}.{timestamp}".encode(errors="replace") for task_id in task_ids]
    if mac is None or not _any_matches(keys, signed, [mac]):
        raise SignatureInvalid(_NO_MATCH)
    return Verified(confirm=True)


def _require(headers: Mapping[str, str], name: str) -> str:
    value = headers.get(name, "").strip()
    if not value:
        raise SignatureInvalid(_MISSING.format(name))
    return value


def _check_age(timestamp: str, now: datetime) -> None:
    if not (timestamp.isascii() and timestamp.isdigit() and len(timestamp) <= _MAX_TIMESTAMP_DIGITS):
        raise SignatureInvalid("the timestamp of the callback is not a number of seconds")
    age_s = now.timestamp() - int(timestamp)
    if abs(age_s) > TOLERANCE_S:
        when = "past" if age_s > 0 else "future"
        raise SignatureInvalid(
            f"the callback's timestamp is more than {TOLERANCE_S} s in the {when}; check both clocks"
        )


def _standard_key(secret: str) -> bytes | None:
    return _decode(secret.strip().removeprefix(_SECRET_PREFIX)) or None


def _decode(text: str) -> bytes | None:
    """Base64 with or without its padding; None for anything else."""
    bare = text.rstrip("=")
    try:
        return b64decode(bare + "=" * (-len(bare) % 4), validate=True)
    except (binascii.Error, ValueError):
        return None


def _any_matches(keys: Sequence[bytes], signed: Sequence[bytes], given: Sequence[bytes]) -> bool:
    """Whether a key signs a text with one of the given values; compared in constant time."""
    found = False
    for key in keys:
        for text in signed:
            expected = hmac.new(key, text, hashlib.sha256).digest()
            for mac in given:
                found |= hmac.compare_digest(expected, mac)
    return found


_STANDARD = "standard-webhooks"
_Check = Callable[[Sequence[str], Mapping[str, str], bytes, Sequence[str], "datetime"], Verified]
_CHECKS: dict[str, _Check] = {_STANDARD: _check_standard, "suno-hmac": _check_task_only}
SCHEMES = tuple(_CHECKS)
"""The names of the schemes, as configured and as in `Route.signature`."""
