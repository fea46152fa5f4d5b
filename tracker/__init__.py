"""Tracker follows paid asynchronous AI media jobs from submission to a delivered result.

Callbacks come in, polls go out, and both become observations of one task. This package root holds
only the version, so that importing it costs nothing; `tracker.daemon.app` puts the pieces together.
"""

__version__ = "0.2.0"
