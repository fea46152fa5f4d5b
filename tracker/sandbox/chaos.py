"""How unreliable the sandbox gateway is: rates and values, nothing else.

Owns the ``Chaos`` record and the enumerations of what can go wrong. Must not decide: ``fate`` combines
these rates, the directives of a prompt and the dice.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from enum import StrEnum


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


@dataclass(frozen=True, slots=True, kw_only=True)
class Chaos:
    """Rates between 0 and 1 and a few values. The default is a gateway without faults.

    Attributes:
        latency_min_s: Least delay before a create or a poll is looked at, seconds.
        latency_max_s: Greatest such delay, seconds.
        retry_after_s: The value of Retry-After, full seconds.
        retry_after_date: Rate of Retry-After as HTTP-date instead of seconds.
        create_policy: Rate of creates with ``CreateFault.POLICY``; likewise all ``create_…``, which
            are tried in the order written here.
        fail_policy: Rate of accepted jobs that end in ``GenerationFault.POLICY``; likewise ``fail_…``.
        missing_url: Rate of jobs that succeed without ever showing an output.
        poll_rate_limited: Rate of polls with ``PollFault.RATE_LIMITED``; likewise ``poll_…``.
        callback_duplicate: Rate of callbacks that are sent twice.
        callback_lost: Rate of callbacks that are never sent.
        callback_late: Rate of callbacks that are sent ``callback_late_s`` after their time.
        callback_late_s: How late a late callback is, seconds.
        callback_early: Rate of jobs whose first callback is sent before the create is answered.
        callback_reordered: Rate of jobs whose callbacks come in reverse order, the last one first.
    """

    latency_min_s: float = 0.0
    latency_max_s: float = 0.0
    retry_after_s: int = 1
    retry_after_date: float = 0.0

    create_refused: float = 0.0
    create_hang: float = 0.0
    create_rate_limited: float = 0.0
    create_throttled: float = 0.0
    create_unavailable: float = 0.0
    create_maintenance: float = 0.0
    create_server_error: float = 0.0
    create_bad_gateway: float = 0.0
    create_error_body: float = 0.0
    create_policy: float = 0.0
    create_quota: float = 0.0
    create_cut: float = 0.0
    create_garbled: float = 0.0

    fail_policy: float = 0.0
    fail_error: float = 0.0
    fail_invalid: float = 0.0
    fail_silent: float = 0.0
    fail_canceled: float = 0.0
    missing_url: float = 0.0

    poll_rate_limited: float = 0.0
    poll_throttled: float = 0.0
    poll_server_error: float = 0.0
    poll_bad_gateway: float = 0.0
    poll_html: float = 0.0
    poll_empty: float = 0.0
    poll_null: float = 0.0
    poll_hang: float = 0.0
    poll_cut: float = 0.0

    callback_duplicate: float = 0.0
    callback_lost: float = 0.0
    callback_late: float = 0.0
    callback_late_s: float = 1.0
    callback_early: float = 0.0
    callback_reordered: float = 0.0

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
