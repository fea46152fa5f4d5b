"""The built-in providers. A new one is a file here and a line in `tracker.providers.registry`."""
