"""The demo's environment: a sandbox gateway, a daemon and a hook, on loopback, with all files in one directory.

The configuration and the hook are ordinary files that a user may read, change and copy. `tracker doctor --full` uses
the same environment with a faster `Timing`.
"""

from __future__ import annotations

import os
import socket
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from tracker.config import load_config
from tracker.daemon.app import Tracker
from tracker.demo.scenarios import DURATION_S
from tracker.domain.durations import Durations
from tracker.hooks.kinds.registry import hook_table
from tracker.sandbox import DEFAULT_KEY, Sandbox

USUAL_PORT = 8780
"""The default port of daemons: commands without `TRACKER_URL` use the user's own daemon there."""
KEY_ENV = "TRACKER_DEMO_KEY"

_CONFIG = """\
# The demo's configuration. Every key is documented in config/tracker.toml.
public_url = "{url}"

[server]
listen = "{listen}"

[store]
path = "{directory}/tracker.db"

[accounts.default]
base_url = "{gateway}"
api_key_env = "{key_env}"

[poll]                      # the sandbox finishes in seconds, a gateway in minutes
{poll}

[prices]                    # invented; for tasks whose upstream does not say what they cost
"suno.generate" = {{ per_call = 0.08 }}
"dashscope.video" = {{ per_second = 0.1 }}
"openai.video" = {{ per_call = 0.4 }}
"seedance.video" = {{ per_1k_tokens = 0.0024 }}
"gemini.generate" = {{ per_image = 0.04 }}
"openai.chat" = {{ per_1k_tokens = 0.002 }}
"anthropic.messages" = {{ per_1k_tokens = 0.003 }}

[budget]
daily = 20.0

[archive]                   # the sandbox serves its files from this machine
dir = "{directory}/outputs"
allow_private_addresses = true

[log]
level = "error"
"""

_HOOK = """\
#!/bin/sh
# Runs once for every task that ends. The event is JSON on standard input; its main fields are in the environment.
echo "$TRACKER_TASK_ID $TRACKER_STATUS $TRACKER_DELIVERY_ID $TRACKER_OUTPUT_URL$TRACKER_REASON" >> "{log}"
"""


@dataclass(frozen=True, slots=True)
class Timing:
    """How fast things happen.

    Attributes:
        duration_s: from create to finish in the sandbox, unless a directive says otherwise.
        poll: ``[poll]`` and the tables below it, as TOML.
    """

    duration_s: float
    poll: str


DEMO_TIMING = Timing(
    DURATION_S,
    """\
tick_s = 0.25
first_delay_s = 2.0
min_interval_s = 1.0
max_interval_s = 2.0""",
)


@dataclass(frozen=True, slots=True)
class Environment:
    """What is running.

    Attributes:
        directory: the directory of all files.
        url: the daemon's base URL.
        sandbox: the gateway.
        hook_log: the file that the hook writes a line to.
        durations: what the daemon has learned of how long tasks take.
    """

    directory: Path
    url: str
    sandbox: Sandbox
    hook_log: Path
    durations: Callable[[], Durations]

    def hook_runs(self) -> Counter[str]:
        """How often the hook ran, by task id."""
        if not self.hook_log.exists():
            return Counter()
        return Counter(line.split(" ", 1)[0] for line in self.hook_log.read_text(encoding="utf-8").splitlines())


@asynccontextmanager
async def start_environment(directory: Path, timing: Timing = DEMO_TIMING) -> AsyncIterator[Environment]:
    """Start the gateway and the daemon; stop both at the end.

    Args:
        directory: its files stay, so that the demo can continue with an earlier database.
        timing: how fast things happen.

    Raises:
        ConfigError: the directory cannot hold its files.
        StoreUnusable: the same, or another process uses it.
        OSError: the same.
    """
    # A fresh seed: ids must differ from those in an earlier database.
    sandbox = Sandbox(seed=int.from_bytes(os.urandom(6), "big"), duration_s=timing.duration_s, suno_callbacks="bare")
    await sandbox.start()
    try:
        hook_log = directory / "hooks.log"
        with _take_port() as listener:
            tracker = _build(directory, sandbox, hook_log, listener, timing.poll)
            await tracker.start()
            try:
                yield Environment(directory, tracker.url, sandbox, hook_log, tracker.learned)
            finally:
                await tracker.stop()
    finally:
        await sandbox.stop()


def _build(directory: Path, sandbox: Sandbox, hook_log: Path, listener: socket.socket, poll: str) -> Tracker:
    """Write the configuration and the hook, and build the daemon."""
    port = listener.getsockname()[1]
    config_file = directory / "tracker.toml"
    config_file.write_text(
        _CONFIG.format(
            url=f"http://127.0.0.1:{port}",
            listen=f"127.0.0.1:{port}",
            directory=directory,
            gateway=sandbox.base_url,
            key_env=KEY_ENV,
            poll=poll,
        ),
        encoding="utf-8",
    )
    hook = directory / "hooks.d" / "task.finished" / "write-a-line"
    hook.parent.mkdir(parents=True, exist_ok=True)
    hook.write_text(_HOOK.format(log=hook_log), encoding="utf-8")
    hook.chmod(0o755)
    environ = {name: value for name, value in os.environ.items() if not name.startswith("TRACKER_")}
    environ[KEY_ENV] = DEFAULT_KEY
    return Tracker(load_config(config_file, environ, hook_table=hook_table), environ, sockets=[listener])


def _take_port() -> socket.socket:
    """Bind any free port but the default one, which is for the user's own daemon.

    The callback URL needs the port before the daemon listens.
    """
    while True:
        listener = socket.socket()
        listener.bind(("127.0.0.1", 0))
        if listener.getsockname()[1] != USUAL_PORT:
            return listener
        listener.close()
