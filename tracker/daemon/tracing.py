"""Tracing as the configuration asks for it: imported, connected and checked only where it is on.

Without an endpoint nothing of OpenTelemetry is imported.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tracker.errors import ConfigError

if TYPE_CHECKING:
    from tracker.clock import Clock
    from tracker.config import Config
    from tracker.tracing.traces import Traces


def make_traces(config: Config, clock: Clock) -> Traces | None:
    """What makes spans; None if tracing is off.

    Raises:
        ConfigError: the extra is not installed, or the headers cannot be read.
    """
    endpoint = config.tracing.endpoint
    if endpoint is None:
        return None
    try:
        from tracker.tracing.traces import Traces  # noqa: PLC0415 - it takes 0.2 s, and is an extra
    except ModuleNotFoundError as error:
        fix = "install task-tracker[otel], or remove the key"
        raise ConfigError([f"tracing.endpoint: {error.name} is not installed; {fix}"]) from error
    return Traces(endpoint, _headers(config.tracing_headers() or ""), config.tracing.ratio, clock)


def _headers(text: str) -> dict[str, str]:
    """Headers from ``name=value,…``."""
    headers = {}
    for part in filter(None, map(str.strip, text.split(","))):
        name, equals, value = part.partition("=")
        if not (name.strip() and equals):
            raise ConfigError(["tracing.headers_env: a header has no name or value; write name=value,name=value"])
        headers[name.strip().lower()] = value.strip()
    return headers
