"""How unreliable the sandbox gateway is: rates and values, nothing else.

Owns the ``Chaos`` record and the enumerations of what can go wrong. Must not decide: ``fate`` combines
these rates, the directives of a prompt and the dice.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from enum import StrEnum
from typing import Any


class CreateFault(StrEnum):
    """What may happen to a create request. The values are the spelling in ``[sandbox: create=…]``."""

    POLICY = "policy"
    """Refused by content policy, in the family's own error shape."""
    QUOTA = "quota"
    """Refused for lack of credit, in the family's own error shape."""
    RATE_LIMITED = "rate_limited"
    """HTTP 429 from the gateway, with Retry-After."""
    THROTTLED = "throttled"
    """Rate limit in the family's own shape (Suno body code 430, Kling 1303, others HTTP 429)."""
    UNAVAILABLE = "503"
    """HTTP 503 from the gateway, with Retry-After."""
    MAINTENANCE = "maintenance"
    """Maintenance in the family's own shape (Suno body code 455, Kling 5001, Anthropic HTTP 529)."""
    SERVER_ERROR = "500"
    """HTTP 500 in the family's own error shape."""
    BAD_GATEWAY = "502"
    """HTTP 502 with an HTML page: it is unknown whether a job was made (none was)."""
    ERROR_BODY = "error_body"
    """HTTP 200 whose body is an error of the family."""
    REFUSED = "refused"
    """The connection is cut before the request is processed: no job, no answer."""
    HANG = "hang"
    """The request is taken and never answered: no job."""
    CUT = "cut"
    """The job is made, then the connection is cut: an ambiguous create."""
    GARBLED = "garbled"
    """The job is made, the answer is an unreadable page."""


class GenerationFault(StrEnum):
    """How an accepted job may fail. The values are the spelling in ``[sandbox: fail=…]``."""

    POLICY = "policy"
    """The content check rejects the result."""
    ERROR = "error"
    """The generation breaks."""
    INVALID = "invalid"
    """The parameters turn out to be wrong only now."""
    SILENT = "silent"
    """Failed without code or message."""
    CANCELED = "canceled"
    """DashScope CANCELED, OpenAI-style ``cancelled``; other families fail silently."""


class PollFault(StrEnum):
    """What may happen to a poll; the job is not affected."""

    RATE_LIMITED = "rate_limited"
    """HTTP 429 from the gateway, with Retry-After."""
    THROTTLED = "throttled"
    """Rate limit in the family's own shape."""
    SERVER_ERROR = "server_error"
    """HTTP 503 from the gateway."""
    BAD_GATEWAY = "bad_gateway"
    """HTTP 502 with an HTML page."""
    HTML = "html"
    """HTTP 200 with an HTML page."""
    EMPTY = "empty"
    """HTTP 200 without a body."""
    NULL = "null"
    """HTTP 200 with the JSON value null."""
    HANG = "hang"
    """Never answered."""
    CUT = "cut"
    """The connection is cut instead of an answer."""


_VALUES = {"latency_min_s", "latency_max_s", "retry_after_s", "callback_late_s"}


def _field(meaning: str, default: float = 0.0) -> Any:  # noqa: ANN401 - like dataclasses.field
    """A field and what it does: one sentence without its full stop, for the options of ``tracker sandbox``."""
    return field(default=default, metadata={"meaning": meaning})


@dataclass(frozen=True, slots=True, kw_only=True)
class Chaos:
    """Rates between 0 and 1 and a few values. The default is a gateway without faults.

    A create meets at most one of the faults ``create_…``, which are tried in this order; likewise ``fail_…`` and
    ``poll_…``. The names are those of `CreateFault`, `GenerationFault` and `PollFault`.
    """

    latency_min_s: float = _field("Minimum latency of creates and polls")
    latency_max_s: float = _field("Maximum latency of creates and polls")
    retry_after_s: int = _field("The value of Retry-After, an integer", 1)
    retry_after_date: float = _field("Retry-After is a date")

    create_refused: float = _field("The connection is cut before a create is read")
    create_hang: float = _field("A create is never answered, and no job is made")
    create_rate_limited: float = _field("A create is answered 429 with Retry-After")
    create_throttled: float = _field("A create gets the rate limit error of its family")
    create_unavailable: float = _field("A create is answered 503 with Retry-After")
    create_maintenance: float = _field("A create gets the maintenance error of its family")
    create_server_error: float = _field("A create is answered 500")
    create_bad_gateway: float = _field("A create is answered 502 with a web page, and no job is made")
    create_error_body: float = _field("A create is answered 200 with an error in it")
    create_policy: float = _field("A create is refused by the content rules")
    create_quota: float = _field("A create is refused for lack of credit")
    create_cut: float = _field("The job is made, then the connection is cut")
    create_garbled: float = _field("The job is made, and the answer cannot be read")

    fail_policy: float = _field("A job fails on the content rules")
    fail_error: float = _field("A job breaks")
    fail_invalid: float = _field("A job fails late on wrong parameters")
    fail_silent: float = _field("A job fails without a code or a message")
    fail_canceled: float = _field("A job is canceled upstream")
    missing_url: float = _field("A job succeeds and never shows an output")

    poll_rate_limited: float = _field("A poll is answered 429 with Retry-After")
    poll_throttled: float = _field("A poll gets the rate limit error of its family")
    poll_server_error: float = _field("A poll is answered 503")
    poll_bad_gateway: float = _field("A poll is answered 502 with a web page")
    poll_html: float = _field("A poll is answered 200 with a web page")
    poll_empty: float = _field("A poll is answered 200 with nothing")
    poll_null: float = _field("A poll is answered with the JSON value null")
    poll_hang: float = _field("A poll is never answered")
    poll_cut: float = _field("A poll's connection is cut")

    callback_duplicate: float = _field("A callback is sent twice")
    callback_lost: float = _field("A callback is never sent")
    callback_late: float = _field("A callback comes late")
    callback_late_s: float = _field("How late a late callback is", 1.0)
    callback_early: float = _field("A first callback comes before the create is answered")
    callback_reordered: float = _field("A job's callbacks come in reverse order")

    def __post_init__(self) -> None:
        """Refuse invalid values.

        Raises:
            ValueError: A rate outside 0..1, a negative or non-numeric value, latencies out of order.
        """
        for name, value in asdict(self).items():
            if isinstance(value, bool) or not isinstance(value, int | float):
                raise ValueError(f"{name} must be a number, not {value!r}")  # noqa: TRY004 - one kind for callers
            if name in _VALUES:
                if not 0 <= value <= 86_400:  # noqa: PLR2004 - a day; also excludes inf and nan
                    raise ValueError(f"{name} must be 0..86400 seconds, not {value!r}")
            elif not 0 <= value <= 1:
                raise ValueError(f"{name} is a rate and must be 0..1, not {value!r}")
        if self.retry_after_s != int(self.retry_after_s):
            raise ValueError("retry_after_s must be an integer: the header has no fractions")
        if self.latency_max_s < self.latency_min_s:
            raise ValueError("latency_max_s must not be less than latency_min_s")

    @classmethod
    def from_json(cls, payload: object) -> Chaos:
        """Read a JSON object of fields; missing fields have their default.

        Raises:
            ValueError: Not an object, an unknown field, or a value out of range.
        """
        if not isinstance(payload, Mapping):
            raise ValueError("chaos must be a JSON object of fields")  # noqa: TRY004 - one kind for callers
        known = {field.name for field in fields(cls)}
        if unknown := sorted(set(payload) - known):
            raise ValueError(f"unknown chaos field {', '.join(unknown)}; known: {', '.join(sorted(known))}")
        return cls(**payload)

    def to_json(self) -> dict[str, float]:
        """Return the fields by name."""
        return asdict(self)

    def rate(self, group: str, fault: StrEnum) -> float:
        """Return the rate of one fault: the field ``<group>_<member name>``."""
        return float(getattr(self, f"{group}_{fault.name.lower()}"))
