"""The message for end users: present for every state, without technical terms."""

import re

import pytest

from tests.kits.factories import make_task
from tracker.domain.task import Reason, Status
from tracker.domain.user_messages import user_message

TECHNICAL = re.compile(
    r"suno|kling|dashscope|openai|anthropic|gemini|seedance|wan\b|http|api\b|json|\b\d{3}\b|task|poll|callback|upstream|"
    r"provider|error|_|\{|\}",
    re.IGNORECASE,
)


@pytest.mark.parametrize("reason", Reason)
def test_every_reason_has_a_plain_sentence(reason: Reason) -> None:
    """Each reason has a message that a stranger to the system understands."""
    message = user_message(make_task(status=Status.FAILED, reason=reason))
    assert "song" in message
    assert message.endswith(".")
    assert message[0].isupper()
    assert not TECHNICAL.search(message)
    assert reason.value not in message or reason is Reason.CANCELED


def test_every_reason_has_a_different_message() -> None:
    """The messages of two reasons are never equal."""
    messages = {user_message(make_task(status=Status.FAILED, reason=reason)) for reason in Reason}
    assert len(messages) == len(Reason)


@pytest.mark.parametrize("status", [Status.PENDING, Status.RUNNING, Status.SUCCEEDED])
def test_every_other_status_has_a_plain_sentence(status: Status) -> None:
    """Waiting, being made, ready."""
    message = user_message(make_task(status=status, asset="video"))
    assert message.startswith("Your video is ")
    assert message.endswith(".")
    assert not TECHNICAL.search(message)
