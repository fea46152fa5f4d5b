"""The archive: copies outputs to local or configured storage before their temporary URLs expire.

The store is authoritative. An item exists because the event with its output was committed; it is claimed by lease and
tried until it is stored or dead. A file gets its final name only when it is complete, hashed and synced; until then it
is in ``.partial``, where a crash may lose it or the next attempt resumes it.

A failed attempt never changes a task. Fresh URLs of a task go through the reconciler.
"""
