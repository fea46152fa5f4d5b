"""How callbacks are signed, for receivers that check.

Owns the two schemes and the secrets. Must not know what a callback says: bytes and ids in, headers out.

Source: Standard Webhooks (github.com/standard-webhooks/standard-webhooks, spec): ``webhook-id``,
``webhook-timestamp``, ``webhook-signature``; Kling's newer callbacks
(https://kling.ai/document-api/api/get-started/callbacks) and OpenAI's webhooks
(https://platform.openai.com/docs/guides/webhooks) use it. Suno by way of kie.ai signs task id and time
only (https://docs.kie.ai/common-api/webhook-verification). AnyInt documents no signature at all.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
from collections.abc import Mapping
from dataclasses import dataclass

_PREFIX = "whsec_"


@dataclass(frozen=True, slots=True)
class Secrets:
    """What callbacks are signed with; a family without a secret sends them unsigned.

    Attributes:
        kling: ``whsec_`` and base64; several, separated by spaces, while a key rotates.
        openai: The same, for the events of OpenAI-style video.
        suno: Any text, for the signature over task id and time.
    """

    kling: str | None = None
    openai: str | None = None
    suno: str | None = None

    def __post_init__(self) -> None:
        """Refuse secrets that cannot be read, rather than sign with something else.

        Raises:
            ValueError: A Standard Webhooks secret is no base64; the secret itself is not shown.
        """
        for name, secret in (("kling", self.kling), ("openai", self.openai)):
            if secret is not None and not (secret.split() and all(map(_is_readable, secret.split()))):
                raise ValueError(f"the {name} callback secret must be base64, with or without {_PREFIX!r} before it")
        if self.suno is not None and not self.suno:
            raise ValueError("the suno callback secret must not be empty")


def sign_webhook(secrets: str, message_id: str, at_s: float, body: bytes) -> dict[str, str]:
    """Sign a body as Standard Webhooks ask.

    Args:
        secrets: One or several secrets, separated by spaces; each gives a signature.
        message_id: The same for every attempt to deliver this message.
        at_s: When this attempt is made, seconds since the epoch.
        body: The exact bytes that are sent.

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


def sign_task(secret: str, task_id: str, at_s: float) -> dict[str, str]:
    """Sign a task id and a time. The body is not covered: that is the scheme's own weakness.

    Args:
        secret: The key, as text.
        task_id: The id as the callback spells it.
        at_s: When this attempt is made, seconds since the epoch.

    Returns:
        The two headers.
    """
    stamp = str(int(at_s))
    digest = hmac.digest(secret.encode(), f"{task_id}.{stamp}".encode(), hashlib.sha256)
    return {"X-Webhook-Timestamp": stamp, "X-Webhook-Signature": base64.b64encode(digest).decode()}


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
