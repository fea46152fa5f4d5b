"""When an output's URL expires, as far as the URL itself or the provider's contract shows.

Owns the formats of signed URLs, and the lifetimes that contracts promise. Must not fetch.

Source: Amazon S3 and Google Cloud Storage (``X-Amz-Date`` + ``X-Amz-Expires``, ``X-Goog-…``), Alibaba OSS V4
(``x-oss-…``, alibabacloud.com/help/en/oss/developer-reference/add-signatures-to-urls) and Volcengine TOS (``X-Tos-…``,
volcengine.com/docs/6349/196410) likewise; Alibaba OSS V1, CloudFront and S3 v2 (``Expires``, epoch seconds), Azure
(``se``, ISO 8601); lifetimes as below (read 2026-11).
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final
from urllib.parse import parse_qsl, urlsplit

if TYPE_CHECKING:
    from tracker.domain.task import Output, Task

LIFETIMES: Final = {
    # URL and task data: alibabacloud.com/help/en/model-studio/manage-asynchronous-tasks
    "dashscope": timedelta(days=1),
    "kling": timedelta(days=30),  # kling.ai/document-api: generated files are cleared after 30 days
    "suno": timedelta(days=14),  # docs.kie.ai/suno-api and docs.sunoapi.org: 14 to 15 days
    "openai": timedelta(hours=1),  # platform.openai.com/docs/guides/video-generation: about an hour for /content
}
"""Provider -> how long an output can be fetched after its task ended, if its URL does not show it."""
_EPOCH_NAMES: Final = frozenset({"expires", "expire", "exp", "x-expires", "e"})
_ISO_NAMES: Final = frozenset({"se", "expiry", "expires_at"})
_TTL_S: Final = re.compile(r"[0-9]{1,9}")
_VENDORS: Final = ("amz", "goog", "oss", "tos")
"""Their URLs show when they were signed, ``X-…-Date``, and for how many seconds, ``X-…-Expires``."""
_EPOCH: Final = re.compile(r"\d{10}(\d{3})?")


def expiry_of(task: Task, output: Output, now: datetime) -> datetime | None:
    """When an output's URL expires; None if unknown. Lifetimes count from the task's end, else from ``now``."""
    if output.url is None:
        return None
    # a URL without a query is not signed; parsing it anyway costs 4 us
    shown = shown_expiry(output.url) if "?" in output.url else None
    if shown is not None:
        return shown
    lifetime = LIFETIMES.get(task.provider)
    return None if lifetime is None else (task.finished_at or now) + lifetime


def shown_expiry(url: str) -> datetime | None:
    """The expiry that a signed URL shows; the earliest if it shows several."""
    try:
        query = {name.lower(): value for name, value in parse_qsl(urlsplit(url).query)}
    except ValueError:
        return None
    found = [_epoch(query[name]) for name in _EPOCH_NAMES & query.keys()]
    found += [_iso(query[name]) for name in _ISO_NAMES & query.keys()]
    for vendor in _VENDORS:
        found.append(_signed_expiry(query.get(f"x-{vendor}-date"), query.get(f"x-{vendor}-expires")))
    return min(filter(None, found), default=None)


def _epoch(text: str) -> datetime | None:
    if not _EPOCH.fullmatch(text):
        return None
    return datetime.fromtimestamp(int(text[:10]), UTC)


def _iso(text: str) -> datetime | None:
    try:
        expires_at = datetime.fromisoformat(text)
    except ValueError:
        return None
    return expires_at if expires_at.tzinfo else expires_at.replace(tzinfo=UTC)


def _signed_expiry(signed_at: str | None, ttl_s: str | None) -> datetime | None:
    if signed_at is None or ttl_s is None or not _TTL_S.fullmatch(ttl_s):
        return None
    try:
        return datetime.strptime(signed_at, "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC) + timedelta(seconds=int(ttl_s))
    except (ValueError, OverflowError):
        return None
