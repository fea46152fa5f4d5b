"""The configuration: its keys, where its file is searched, and its error messages.

`load_config` reads it once, and it is passed down; nothing else in the program reads the environment. It names
secrets and does not contain them: they are read on demand and appear in no repr and no error.

Each name is imported when it is first used: most commands need `client` only, and the models of all tables take longer
to build than such a command takes.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tracker.config.hooks import HookSpec
    from tracker.config.listen import Listen, is_loopback, parse_listen
    from tracker.config.load import load_config
    from tracker.config.problems import known_keys
    from tracker.config.sections import Account, Callbacks, Poll, ProviderCallbacks, Server
    from tracker.config.settings import Config
    from tracker.config.sources import RESERVED, TOP_KEYS, find_file

__all__ = [
    "RESERVED",
    "TOP_KEYS",
    "Account",
    "Callbacks",
    "Config",
    "HookSpec",
    "Listen",
    "Poll",
    "ProviderCallbacks",
    "Server",
    "find_file",
    "is_loopback",
    "known_keys",
    "load_config",
    "parse_listen",
]

_MODULES = {
    "RESERVED": "sources",
    "TOP_KEYS": "sources",
    "Account": "sections",
    "Callbacks": "sections",
    "Config": "settings",
    "HookSpec": "hooks",
    "Listen": "listen",
    "Poll": "sections",
    "ProviderCallbacks": "sections",
    "Server": "sections",
    "find_file": "sources",
    "is_loopback": "listen",
    "known_keys": "problems",
    "load_config": "load",
    "parse_listen": "listen",
}


def __getattr__(name: str) -> object:
    """Import a name of this package on its first use."""
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
