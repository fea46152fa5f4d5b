"""Reads the JSON of the daemon as the records that the daemon writes it from."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

from msgspec import DecodeError, convert, json

from tracker.client import calls
from tracker.client.errors import AnswerInvalid
from tracker.domain.lists import GapView
from tracker.domain.records import CostView, FeedEventView

if TYPE_CHECKING:
    from tracker.client.answers import Answer
    from tracker.client.sse import Message

T = TypeVar("T")


def decode(form: type[T], body: bytes) -> T:
    """A record. Members that are unknown here are left out: a newer daemon may send more.

    Raises:
        AnswerInvalid: it is not this record.
    """
    try:
        return json.decode(body, type=form)
    except DecodeError as error:
        why = f"the JSON is not that of this version ({error}); use the same version of tracker on both sides"
        raise AnswerInvalid(why, 200) from None


def read_message(message: Message) -> FeedEventView | GapView | None:
    """What a message of the stream brings; None for one that is about the connection."""
    match message.kind:
        case "task":
            return decode(FeedEventView, message.data)
        case "gap":
            return decode(GapView, message.data)
        case _:
            return None


def read_price(answer: Answer) -> CostView | None:
    """The price of a request that was checked; None if it has no price, or its task exists."""
    price = calls.read_price(answer.headers)
    return None if price is None else convert(price, CostView)
