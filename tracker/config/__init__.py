"""The configuration: its keys, where its file is searched, and its error messages.

`load_config` reads it once, and it is passed down; nothing else in the program reads the environment. It names
secrets and does not contain them: they are read on demand and appear in no repr and no error.
"""

from tracker.config.hooks import HookSpec
from tracker.config.listen import Listen, is_loopback, parse_listen
from tracker.config.load import RESERVED, TOP_KEYS, find_file, load_config
from tracker.config.problems import known_keys
from tracker.config.sections import Account, Callbacks, Poll, ProviderCallbacks, Server
from tracker.config.settings import Config

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
