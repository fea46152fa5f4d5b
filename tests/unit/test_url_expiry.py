"""The expiry that a signed URL shows."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from tracker.archive.expiry import shown_expiry

END = datetime(2026, 11, 21, tzinfo=UTC)


@pytest.mark.parametrize(
    "query",
    [
        "x-oss-signature-version=OSS4-HMAC-SHA256&x-oss-date=20261120T000000Z&x-oss-expires=86400&x-oss-signature=s",
        "X-Tos-Algorithm=TOS4-HMAC-SHA256&X-Tos-Date=20261120T000000Z&X-Tos-Expires=86400&X-Tos-Signature=s",
        "x-tos-date=20261120T000000Z&x-tos-expires=86400",
        "X-Amz-Date=20261120T000000Z&X-Amz-Expires=86400",
    ],
)
def test_a_signing_date_and_a_lifetime(query: str) -> None:
    """Object stores name the time of signing and the lifetime."""
    assert shown_expiry(f"https://a.example/x.mp4?{query}") == END


@pytest.mark.parametrize(
    "query",
    [
        "x-oss-date=20261120T000000Z",
        "x-oss-expires=86400",
        "x-oss-date=yesterday&x-oss-expires=86400",
        "X-Tos-Date=20261120T000000Z&X-Tos-Expires=soon",
        "x-oss-date=20261120T000000Z&X-Tos-Expires=86400",
    ],
)
def test_incomplete_parameters_show_no_expiry(query: str) -> None:
    """One parameter alone, or those of two stores, show no expiry."""
    assert shown_expiry(f"https://a.example/x.mp4?{query}") is None
