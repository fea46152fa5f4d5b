"""Callback tokens name one task and route, and cannot be guessed or changed."""

import pytest

from tests.kits.factories import TASK_ID
from tracker.domain.task import TaskId
from tracker.domain.tokens import CallbackTokens, TokenOwner

TOKENS = CallbackTokens(b"sixteen secret b")
TOKEN = TOKENS.make("suno.upload-cover", TASK_ID)


def test_round_trip() -> None:
    """A token names the route and the task that it was made for."""
    assert TOKENS.verify("suno", TOKEN) == TokenOwner("suno.upload-cover", TASK_ID)


def test_a_token_fits_into_a_path() -> None:
    """No character of it needs escaping."""
    assert all(character.isalnum() or character in ".-" for character in TOKEN)


@pytest.mark.parametrize("position", range(len(TOKEN)))
def test_tampering_at_each_character(position: int) -> None:
    """A changed, dropped or doubled character makes the token invalid."""
    for character in "0aA.-é\0":
        if character != TOKEN[position]:
            assert TOKENS.verify("suno", TOKEN[:position] + character + TOKEN[position + 1 :]) is None
    assert TOKENS.verify("suno", TOKEN[:position] + TOKEN[position + 1 :]) is None
    assert TOKENS.verify("suno", TOKEN[:position] + TOKEN[position] * 2 + TOKEN[position + 1 :]) is None


@pytest.mark.parametrize("token", ["", ".", "..", "...", f"generate.{TASK_ID}.", f"{TOKEN}.x", f"x.{TOKEN}", "é.é.é"])
def test_malformed_tokens(token: str) -> None:
    """A malformed token is rejected without an error."""
    assert TOKENS.verify("suno", token) is None


def test_a_token_belongs_to_one_provider_one_route_one_task_one_secret() -> None:
    """The same MAC is invalid elsewhere."""
    proof = TOKEN.rsplit(".", 1)[1]
    assert TOKENS.verify("kling", TOKEN) is None
    assert TOKENS.verify("", TOKEN) is None
    assert TOKENS.verify("suno", f"generate.{TASK_ID}.{proof}") is None
    assert TOKENS.verify("suno", f"upload-cover.{TaskId('01KAHTC1R00000000000000002')}.{proof}") is None
    assert CallbackTokens(b"another secret of some length").verify("suno", TOKEN) is None


def test_a_short_secret_is_rejected() -> None:
    """Fifteen bytes are too few."""
    with pytest.raises(ValueError, match="at least 16 bytes"):
        CallbackTokens(b"x" * 15)
