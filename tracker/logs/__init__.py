"""Structured logs with contexts, and the redactor that every line and every kept payload passes.

Must not know tasks, routes or configuration: level and secrets arrive as arguments.
"""

from tracker.logs.lines import Sink, configure_logging, get_logger
from tracker.logs.redactor import MASK, OwnText, Redactor

__all__ = ["MASK", "OwnText", "Redactor", "Sink", "configure_logging", "get_logger"]
