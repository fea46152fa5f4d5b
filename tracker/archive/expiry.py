"""When an output's URL stops being honoured, as far as the URL itself or the provider's contract shows.

Owns the ways in which signed URLs name their end, and the lifetimes that contracts promise. Must not fetch.

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
"""By provider: how long an output can be fetched after the task's end, where its URL does not say."""
_EPOCH_NAMES: Final = frozenset({"expires", "expire", "exp", "x-expires", "e"})
_ISO_NAMES: Final = frozenset({"se", "expiry", "expires_at"})
_LASTS_S: Final = re.compile(r"[0-9]{1,9}")
_VENDORS: Final = ("amz", "goog", "oss", "tos")
"""Whose URLs say when they were signed, ``X-…-Date``, and for how many seconds, ``X-…-Expires``."""
_EPOCH: Final = re.compile(r"\d{10}(\d{3})?")


def expiry_of(task: Task, output: Output, now: datetime) -> datetime | None:
    """When an output's URL expires; None when nothing shows it.

    Args:
        task: its contract counts from the end, else from now.
        output: its URL.
        now: when the output was named.
    """
    if output.url is None:
        return None
    # nothing is signed in a URL without a query: parsing it to learn that costs 4 us
    shown = shown_expiry(output.url) if "?" in output.url else None
    if shown is not None:
        return shown
    lifetime = LIFETIMES.get(task.provider)
    return None if lifetime is None else (task.finished_at or now) + lifetime


def shown_expiry(url: str) -> datetime | None:
    """The end that a signed URL names itself; the earliest, should it name several."""
    try:
        query = {name.lower(): value for name, value in parse_qsl(urlsplit(url).query)}
    except ValueError:
        return None
    found = [_epoch(query[name]) for name in _EPOCH_NAMES & query.keys()]
    found += [_iso(query[name]) for name in _ISO_NAMES & query.keys()]
    for vendor in _VENDORS:
        found.append(_signed(query.get(f"x-{vendor}-date"), query.get(f"x-{vendor}-expires")))
    return min((moment for moment in found if moment is not None), default=None)


def _epoch(text: str) -> datetime | None:
    if not _EPOCH.fullmatch(text):
        return None
    return datetime.fromtimestamp(int(text[:10]), UTC)


def _iso(text: str) -> datetime | None:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def _signed(since: str | None, lasts_s: str | None) -> datetime | None:
    if since is None or lasts_s is None or not _LASTS_S.fullmatch(lasts_s):
        return None
    try:
        return datetime.strptime(since, "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC) + timedelta(seconds=int(lasts_s))
    except (ValueError, OverflowError):
        return None
