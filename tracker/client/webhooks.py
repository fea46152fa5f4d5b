"""Verifies the events that HTTP hooks of the tracker send.

Source: https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md (read 2026-11).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Protocol

from msgspec import Struct
from standardwebhooks.webhooks import EmptyWebhookSecretError, Webhook, WebhookVerificationError

from tracker.client.decoding import decode
from tracker.domain.alarms import AlarmEventView
from tracker.domain.hook_events import SYSTEM_EVENTS
from tracker.domain.records import HookEventView
from tracker.errors import SignatureInvalid


class Headers(Protocol):
    """The headers of a request, as any web framework has them."""

    def items(self) -> Iterable[tuple[str, str]]:
        """Names, in any case, with values."""


def verify_hook(body: bytes | str, headers: Headers, secret: str | Sequence[str]) -> HookEventView | AlarmEventView:
    """The event of a hook's request, once its signature is verified.

    Verify the body as it arrived: decoded and encoded again it has other bytes.

    Args:
        body: the body of the request.
        headers: its headers; ``webhook-id``, ``webhook-timestamp`` and ``webhook-signature`` count.
        secret: ``whsec_…`` as the hook has it; while it is changed several, or one text with blanks between.

    Returns:
        The event, of a task or of an alarm; its ``delivery_id`` is the same each time that it is sent again.

    Raises:
        SignatureInvalid: answer 401. No secret fits, a header is missing, or the request is more than five minutes old
            or new; the message never has the expected signature.
        AnswerInvalid: the signature is right, and the body is not an event of this version.
        ValueError: there is no secret, or it is not one.
    """
    secrets = secret.split() if isinstance(secret, str) else [part for text in secret for part in text.split()]
    if not secrets:
        raise ValueError('there is no secret; use that of the hook, "whsec_" and base64')
    verifiers = list(map(_verifier, secrets))
    named = dict(headers.items())
    refusals: list[str] = []
    for verifier in verifiers:
        try:
            verifier.verify(body, named, json_parse=False)
        except WebhookVerificationError as error:
            refusals.append(str(error))
        except ValueError:  # a malformed header, or a body that is not text
            refusals.append("Malformed signature")
        else:
            return _read_event(body.encode() if isinstance(body, str) else body)
    raise SignatureInvalid(f"the request of the hook is not accepted: {refusals[-1].lower()}")


class _Kind(Struct):
    """What both kinds of events have."""

    type: str


def _read_event(body: bytes) -> HookEventView | AlarmEventView:
    if decode(_Kind, body).type in SYSTEM_EVENTS:
        return decode(AlarmEventView, body)
    return decode(HookEventView, body)


def _verifier(secret: str) -> Webhook:
    try:
        return Webhook(secret)
    except (EmptyWebhookSecretError, ValueError):
        raise ValueError('the secret is not one of a hook; it is "whsec_" and base64') from None
