"""The archive: outputs are copied to a place of our own before their temporary URLs expire.

Who is authoritative: the store. An item exists because the event that brought its output was committed; it is
claimed by lease and tried until it is stored or dead. A file appears under its final name only when it is whole,
hashed and synced; everything before that lies in ``.partial`` and may be lost or found again after a crash.

A failed archive never changes a task. What it learns about a task (fresh URLs) goes through the reconciler.
"""
