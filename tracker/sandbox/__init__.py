"""The embedded sandbox gateway: the other side of the wire, for the demo, the drills and the tests.

It behaves as the real gateway does, with jobs that take seconds, callbacks, temporary output URLs, files
that open, and faults on demand. It shares no code with the tracker: shared code would hide shared mistakes.

    requests ->  creates   paid POSTs: journal, key, JSON, directives, validation, faults, jobs, callbacks
                 polls     queries and reads
                 files     temporary output URLs             media: what is behind them
                 admin     /sandbox/state, /sandbox/chaos, /sandbox/reset
    shared       gateway (state), jobs (life cycle), callbacks (posting), signatures, journal (what happened)
    decisions    chaos (rates), directives (scripts in prompts), dice (seed), fate (the three together)
    text         prompts (where it stands in a request), speech (what language models answer)
    families     one file or a few per wire format, each a tuple of routes; the seam is ``routes``

A new family is a new file in ``families`` and one line in ``families.registry``.
"""

from tracker.sandbox.chaos import Chaos, CreateFault, GenerationFault, PollFault
from tracker.sandbox.directives import DIRECTIVES, Directive
from tracker.sandbox.server import DEFAULT_KEY, Sandbox

__all__ = [
    "DEFAULT_KEY",
    "DIRECTIVES",
    "Chaos",
    "CreateFault",
    "Directive",
    "GenerationFault",
    "PollFault",
    "Sandbox",
]
