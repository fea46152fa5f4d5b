"""Storage of tasks. The rest of the program uses `tracker.store.protocol` and `tracker.store.values` only."""
