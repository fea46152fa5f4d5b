"""How callbacks are signed, for receivers that check.

Owns the two schemes and the check of secrets. Must not read callbacks: bytes and ids in, headers out.

Source: Standard Webhooks (github.com/standard-webhooks/standard-webhooks, spec): ``webhook-id``,
``webhook-timestamp``, ``webhook-signature``; Kling's newer callbacks
(https://kling.ai/document-api/api/get-started/callbacks) and OpenAI's webhooks
(https://platform.openai.com/docs/guides/webhooks) use it. Suno through kie.ai signs task id and time
only (https://docs.kie.ai/common-api/webhook-verification). AnyInt documents no signature at all.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
from collections.abc import Callable, Mapping

_PREFIX = "whsec_"


def check_secrets(standard: Mapping[str, str | None], plain: Mapping[str, str | None]) -> dict[str, str]:
    """Return the secrets that are set, by family; a family without one sends unsigned callbacks.

    Args:
        standard: Secrets of Standard Webhooks: ``whsec_`` and base64; several, separated by spaces, in a rotation.
        plain: Secrets that are any text.

    Raises:
        ValueError: A secret cannot be read; the secret itself is not shown.
    """
    for name, secret in standard.items():
        if secret is not None and not (secret.split() and all(map(_is_readable, secret.split()))):
            raise ValueError(f"the {name} callback secret must be base64, with or without {_PREFIX!r} before it")
    for name, secret in plain.items():
        if secret is not None and not secret:
            raise ValueError(f"the {name} callback secret must not be empty")
    return {name: secret for name, secret in {**standard, **plain}.items() if secret is not None}


def sign_webhook(secrets: str, message_id: str, body: bytes, at_s: float) -> dict[str, str]:
    """Sign a body as Standard Webhooks ask.

    Args:
        secrets: One or several secrets, separated by spaces; each gives a signature.
        message_id: The same for every attempt to deliver this message.
        body: The exact bytes that are sent.
        at_s: When this attempt is made, seconds since the epoch.

    Returns:
        The three headers.
    """
    stamp = str(int(at_s))
    signed = b".".join((message_id.encode(), stamp.encode(), body))
    signatures = (hmac.digest(_read(secret), signed, hashlib.sha256) for secret in secrets.split())
    return {
        "webhook-id": message_id,
        "webhook-timestamp": stamp,
        "webhook-signature": " ".join(f"v1,{base64.b64encode(one).decode()}" for one in signatures),
    }


def sign_task(secret: str, task_id: str, body: bytes, at_s: float) -> dict[str, str]:
    """Sign a task id and a time. The body is not covered: that is the scheme's own weakness.

    Args:
        secret: The key, as text.
        task_id: The id as it is in the callback.
        body: The bytes that are sent; not covered.
        at_s: When this attempt is made, seconds since the epoch.

    Returns:
        The two headers.
    """
    del body
    stamp = str(int(at_s))
    digest = hmac.digest(secret.encode(), f"{task_id}.{stamp}".encode(), hashlib.sha256)
    return {"X-Webhook-Timestamp": stamp, "X-Webhook-Signature": base64.b64encode(digest).decode()}


Sign = Callable[[str, str, bytes, float], dict[str, str]]
SCHEMES: Mapping[str, Sign] = {"standard-webhooks": sign_webhook, "suno-hmac": sign_task}
"""The headers of a signature, from secret, message or task id, body and time."""


def forge(headers: Mapping[str, str]) -> dict[str, str]:
    """Return the headers with a signature of the right form that fits no body."""
    wrong = base64.b64encode(bytes(32)).decode()
    forged = {"webhook-signature": f"v1,{wrong}", "X-Webhook-Signature": wrong}
    return {name: forged.get(name, value) for name, value in headers.items()}


def _read(secret: str) -> bytes:
    return base64.b64decode(secret.removeprefix(_PREFIX), validate=True)


def _is_readable(secret: str) -> bool:
    try:
        return bool(_read(secret))
    except (binascii.Error, ValueError):
        return False
