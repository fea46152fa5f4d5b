"""The kinds of hooks. A new one is a file here and a line in `tracker.hooks.kinds.registry`."""
