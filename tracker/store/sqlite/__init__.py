"""The SQLite engine of the store: the only package that contains SQL.

Each name is imported when it is first used: a command that compares the id of a file with that of a daemon loads
`schema` alone.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tracker.store.sqlite.backup import copy_database
    from tracker.store.sqlite.engine import SqliteStore
    from tracker.store.sqlite.file_reader import open_reader
    from tracker.store.sqlite.reads import SqliteReader
    from tracker.store.sqlite.schema import read_instance

__all__ = ["SqliteReader", "SqliteStore", "copy_database", "open_reader", "read_instance"]

_MODULES = {
    "SqliteReader": "reads",
    "SqliteStore": "engine",
    "copy_database": "backup",
    "open_reader": "file_reader",
    "read_instance": "schema",
}


def __getattr__(name: str) -> object:
    """Import a name of this package on its first use."""
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
