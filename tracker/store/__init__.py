"""Where tasks are kept. The rest of the program knows only `tracker.store.protocol`; engines live beside it."""
