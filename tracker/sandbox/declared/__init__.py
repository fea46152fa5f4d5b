"""Providers that users declare in TOML files, played by the interpreter of the built-in families.

A file says where things stand in the upstream's answers, as JMESPath; ``answers`` makes answers in which they stand
there, ``load`` turns a file into routes. The files are those of the tracker, whose check names their mistakes; nothing
here imports it.
"""

from tracker.sandbox.declared.load import PlayedProvider, load_providers

__all__ = ["PlayedProvider", "load_providers"]
