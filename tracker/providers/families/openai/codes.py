"""The error codes of OpenAI-style routes.

Owns what each code means, in a reply and for a failed job. The codes of the gateway itself (``invalid_api_key``,
``insufficient_quota``, ``moderation_blocked`` and others) are in `error_meanings`.

**Source**: https://platform.openai.com/docs/guides/error-codes for request errors;
https://platform.openai.com/docs/api-reference/responses/object for ``error.code`` of a response (read 2026-11).
"""

from __future__ import annotations

from tracker.domain.task import UpstreamError
from tracker.providers.reading import error_meanings as meanings
from tracker.providers.reading.error_meanings import Meaning

CODES: dict[str, Meaning] = {
    "incorrect_api_key": meanings.AUTH,
    **dict.fromkeys(
        (
            "billing_hard_limit_reached",
            "billing_not_active",
            "credit_balance_exhausted",
            "organization_spend_limit_exceeded",
            "organization_usage_limit_exceeded",
            "project_spend_limit_exceeded",
        ),
        meanings.QUOTA,  # with HTTP 429, and no rate limit
    ),
    "slow_down": meanings.RATE,
    "server_error": meanings.BROKEN,
    "internal_error": meanings.BROKEN,
    "vector_store_timeout": meanings.TIMEOUT,
    "unsupported_country_region_territory": meanings.ENTITLEMENT,
    "content_filter": meanings.POLICY,
    "image_content_policy_violation": meanings.POLICY,
    "refusal": meanings.POLICY,
    **dict.fromkeys(("invalid_prompt", "invalid_value", "invalid_image", "context_length_exceeded"), meanings.INVALID),
}


def find_meaning(error: UpstreamError) -> Meaning | None:
    """The meaning of an OpenAI-style code; None for one that is not in the documents."""
    code = (error.code or "").lower()
    if code in CODES:
        return CODES[code]
    return meanings.POLICY if "policy_violation" in code or "moderation" in code else None
