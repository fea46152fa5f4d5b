"""Structured logs, and the redactor of log lines and stored payloads.

Must not know tasks, routes or configuration: level and secrets arrive as arguments.
"""

from tracker.logs.lines import Sink, configure_logging, get_logger, written_together
from tracker.logs.redactor import MASK, OwnText, Redactor

__all__ = ["MASK", "OwnText", "Redactor", "Sink", "configure_logging", "get_logger", "written_together"]
