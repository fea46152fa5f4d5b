"""Structured logs, and the redactor of log lines and stored payloads.

Must not know tasks, routes or configuration: level and secrets arrive as arguments.
"""

from tracker.logs.lines import Sink, configure_logging, get_logger, written_together
from tracker.logs.redactor import MASK, OwnText, Redactor
from tracker.logs.repeats import Repeats

__all__ = ["MASK", "OwnText", "Redactor", "Repeats", "Sink", "configure_logging", "get_logger", "written_together"]
