"""The embedded sandbox gateway: it plays the upstream for the demo, for tests and for users without a key.

It behaves as the real gateway does, with jobs that take seconds, callbacks, temporary output URLs, files that open, and
faults on demand. It shares no code with the tracker: shared code would hide shared mistakes.

    requests     creates   paid POSTs: journal, key, JSON, directives, validation, faults, jobs, callbacks
                 polls     queries and reads
                 files     temporary output URLs             media: what is behind them
                 admin     /sandbox/state, /sandbox/chaos, /sandbox/reset
    shared       gateway (state), jobs (life cycle), callbacks (posting), signatures, journal (what happened)
    decisions    chaos (rates), directives (scripts in prompts), dice (seed), fate (the three together)
    answers      interpreter plays the tables of ``families`` and of ``declared`` providers, with scope, templates,
                 checks, prompts (finding a prompt), speech and streams (language models), computed (values from code)

A new family is a new TOML file in ``families``. Routes that need code implement ``routes``.
"""

from tracker.sandbox.chaos import Chaos, CreateFault, GenerationFault, PollFault
from tracker.sandbox.declared import PlayedProvider, load_providers
from tracker.sandbox.directives import DIRECTIVES, Directive
from tracker.sandbox.server import DEFAULT_KEY, Sandbox

__all__ = [
    "DEFAULT_KEY",
    "DIRECTIVES",
    "Chaos",
    "CreateFault",
    "Directive",
    "GenerationFault",
    "PlayedProvider",
    "PollFault",
    "Sandbox",
    "load_providers",
]
