"""Providers that users declare in TOML files, played by the interpreter of the built-in families.

A file locates the fields of the upstream's answers with JMESPath; ``answers`` builds answers with values at these
locations, ``load`` turns a file into routes. The format is the tracker's, whose check reports mistakes;
nothing here imports it.
"""

from tracker.sandbox.declared.load import PlayedProvider, load_providers

__all__ = ["PlayedProvider", "load_providers"]
