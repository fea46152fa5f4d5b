"""The message for end users: present for every state, without technical terms."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.kits.factories import make_task
from tracker.config import load_config
from tracker.domain.task import Reason, Status, SubmitState
from tracker.domain.user_messages import MESSAGES, use_messages, user_message
from tracker.errors import ConfigError

TECHNICAL = re.compile(
    r"suno|kling|dashscope|openai|anthropic|gemini|seedance|wan\b|http|api\b|json|\b\d{3}\b|task|poll|callback|upstream|"
    r"provider|error|_|\{|\}",
    re.IGNORECASE,
)


@pytest.fixture(autouse=True)
def _usual_messages() -> Iterator[None]:
    yield
    use_messages({}, {})


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


def test_a_create_without_an_answer_is_being_checked() -> None:
    """The reader learns neither of charges nor of a wait without an end."""
    message = user_message(make_task(submit_state=SubmitState.AMBIGUOUS))
    assert message == "We are checking whether your song was accepted."
    unknown = user_message(make_task(status=Status.FAILED, reason=Reason.SUBMIT_UNKNOWN))
    assert "need to order" in unknown
    assert "charge" not in message + unknown


def test_every_state_has_a_sentence() -> None:
    """A new status or reason gets a key of the configuration, too."""
    assert set(MESSAGES) == {"pending", "checking", "running", "succeeded", *Reason}


def test_sentences_can_be_translated(tmp_path: Path) -> None:
    """The configuration replaces sentences and the words for what is made; the others stay."""
    file = tmp_path / "tracker.toml"
    text = """
        [messages]
        succeeded = "Fertig: {asset}."
        canceled = "Abgebrochen."
        [messages.assets]
        song = "Lied"
    """
    file.write_text(text, encoding="utf-8")
    messages = load_config(file, {}).messages
    use_messages(messages.sentences(), messages.assets)
    assert user_message(make_task(status=Status.SUCCEEDED)) == "Fertig: Lied."
    assert user_message(make_task(status=Status.SUCCEEDED, asset="video")) == "Fertig: video."
    assert user_message(make_task(status=Status.FAILED, reason=Reason.CANCELED)) == "Abgebrochen."
    assert user_message(make_task(status=Status.RUNNING)) == "Your Lied is being made."


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ('runing = "x"', "messages.runing: unknown key; did you mean running?"),
        ('running = ""', "messages.running: must be one line of text"),
        ('running = "a\\nb"', "messages.running: must be one line of text"),
        ('running = "{model} runs"', "messages.running: has a brace; the only placeholder is {asset}"),
        ("running = 1", "messages.running: "),
    ],
)
def test_a_sentence_that_cannot_be_used_is_refused(tmp_path: Path, line: str, problem: str) -> None:
    """One clear line names the key."""
    file = tmp_path / "tracker.toml"
    file.write_text(f"[messages]\n{line}\n", encoding="utf-8")
    with pytest.raises(ConfigError) as refused:
        load_config(file, {})
    assert problem in str(refused.value)
