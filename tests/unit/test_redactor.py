"""The redactor against texts that were made to keep it busy: anybody may send a callback."""

import json
from collections.abc import Callable

import pytest

from tracker.logs import Redactor

SIZE = 1_000_000
"""Bytes of the largest callback that is read. What is not linear takes minutes for it, and pytest ends the test."""

ROWS_OF_BACKSLASHES = "".join(f'secret:{chr(92) * (2 * n)}"x ' for n in range(1, 1000))

HOSTILE = {
    "backslashes": "secret" + "\\" * SIZE,
    "shorter rows of backslashes": ("secret" + "\\" * 1000 + "x") * (SIZE // 1000),
    "quotes of every depth, never closed": ROWS_OF_BACKSLASHES,
    "escaped quotes": 'secret:"' + 'x\\"secret:' * (SIZE // 10),
    "two kinds of quotes": "secret:'\"" * (SIZE // 9),
    "callbacks": "/callbacks/" * (SIZE // 11),
    "callbacks without an end": "/callbacks/" + "a." * (SIZE // 2),
    "escaped callbacks": "%2fcallbacks%2faaaa" * (SIZE // 19),
    "blanks": "secret" + " " * SIZE,
    "bearers": "bearer " * (SIZE // 7),
    "beginnings of keys": "sk-" * (SIZE // 3),
    "names of keys": "api-key-" * (SIZE // 8),
    "brackets": "[" * SIZE,
    "objects without an end": '{"secret":' * (SIZE // 10),
}


@pytest.mark.timeout(20)
@pytest.mark.parametrize("hostile", HOSTILE.values(), ids=HOSTILE)
@pytest.mark.parametrize("look", [Redactor.text, Redactor.json_text])
def test_no_text_keeps_it_busy(look: Callable[[Redactor, str], str], hostile: str) -> None:
    """A body of the largest size, as it is and as a string in JSON, is looked through in one go."""
    redactor = Redactor(["no-real-key-4711"])
    for text in (hostile, json.dumps({"text": hostile})):
        assert look(redactor, text)


@pytest.mark.parametrize("slash", ["/", "\\/", "\\\\/", "\\\\\\/", "%2F", "%2f"])
def test_a_callback_token_is_masked_however_its_slashes_are_written(slash: str) -> None:
    """As they are, escaped in JSON, in JSON inside JSON, and in a URL inside a URL."""
    address = slash.join(["https:", "", "x.example", "callbacks", "kling", "t0ken.abc"])
    assert Redactor().text(f"to {address} now") == f"to {address.replace('t0ken.abc', '[redacted]')} now"


@pytest.mark.parametrize("depth", range(8))
def test_a_pair_is_masked_at_every_depth_of_json(depth: int) -> None:
    """JSON in JSON in JSON: each level escapes the quotes of the one below."""
    text = json.dumps({"password": "hush-hush", "kept": "news"})
    for _ in range(depth):
        text = json.dumps(text)
    masked = Redactor().text(text)
    assert "hush-hush" not in masked
    assert "news" in masked


def test_only_known_secrets_are_masked_in_what_the_user_paid_for() -> None:
    """A story about ``sk-…`` keys stays as it was written; the real key goes."""
    redactor = Redactor(["no-real-key-4711"])
    story = 'Her password: "sk-abcdefghijkl", he said.'
    assert redactor.known_secrets(story) is story
    assert redactor.known_secrets("It was no-real-key-4711.") == "It was [redacted]."
