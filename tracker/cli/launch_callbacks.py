"""Callbacks of ``doctor --full --account NAME``: which of them the daemon refuses, and one of them posted again.

Must not judge a task. The callback is the stored one, without secrets: a repetition is recognised by what it means.
"""

from __future__ import annotations

import http.client
import json
import re
import time
from collections import Counter
from collections.abc import Mapping
from contextlib import closing
from typing import TYPE_CHECKING

from tracker.cli.client import Client, Json
from tracker.cli.launch_checks import CheckFailed, CheckSkipped
from tracker.client.calls import Call
from tracker.client.connections import make_connection
from tracker.domain.task import TaskId
from tracker.domain.tokens import CallbackTokens
from tracker.errors import ConfigError
from tracker.sandbox.signatures import SCHEMES

if TYPE_CHECKING:
    from tracker.config import Config

ANSWER_S = 15.0
"""How long providers wait for a response to a callback."""
FIX_OF_STATUS = {
    "401": "the signature is wrong: correct the secret in [callbacks] of the provider, then reload the daemon",
    "404": "the URL is not one of this daemon: let public_url lead to it, and keep the callback secret",
    "413": "raise server.max_callback_bytes",
}
"""What to do when the daemon refuses callbacks, by the status of its responses."""
SEE_LOG = "see callback.rejected in the log of the daemon"
_CALLBACKS = re.compile(r"tracker_callbacks_total\{(?P<labels>[^}]*)\} (?P<value>\S+)")
_LABEL = re.compile(r'(\w+)="([^"]*)"')


def count_rejected(client: Client, route: str) -> Counter[str]:
    """Status -> how many callbacks of the provider of a route the daemon has refused with it since its start."""
    pieces: list[bytes] = []
    client.save(Call("GET", "/metrics"), pieces.append)
    found: Counter[str] = Counter()
    for line in b"".join(pieces).decode().splitlines():
        if (sample := _CALLBACKS.match(line)) is not None:
            labels = dict(_LABEL.findall(sample["labels"]))
            if labels["provider"] == route.partition(".")[0] and labels["http_status"].startswith("4"):
                found[labels["http_status"]] += int(float(sample["value"]))
    return found


def post_again(url: str, config: Config | None, task: Json, payload: Json) -> tuple[int, str]:
    """Post a callback of a task to the daemon, as its provider did.

    Args:
        url: of the daemon.
        config: its configuration; None if it is not known here.
        task: the task.
        payload: the callback.

    Returns:
        The status of the response, and the outcome in it.

    Raises:
        CheckSkipped: the secrets of the daemon are not known here.
        CheckFailed: there is no response.
    """
    path, headers, body = _sign(config, task, payload)
    connection, prefix = make_connection(url, ANSWER_S)
    try:
        with closing(connection):
            connection.request("POST", prefix + path, body, dict(headers))
            response = connection.getresponse()
            answer = json.loads(response.read() or b"null")
    except (OSError, http.client.HTTPException, ValueError) as error:
        raise CheckFailed(f"the daemon at {url} gave no answer to a callback ({error})") from error
    return response.status, str(answer.get("outcome")) if isinstance(answer, dict) else ""


def _sign(config: Config | None, task: Json, payload: Json) -> tuple[str, Mapping[str, str], bytes]:
    """The path, the headers and the body of a callback."""
    if config is None:
        raise CheckSkipped("the callback secret of a daemon that --url names is not known here")
    try:
        secret = config.find_callback_secret()
        signing = config.provider_secret(task["provider"])
    except ConfigError as error:
        raise CheckSkipped(f"run it as the user of the daemon: {error.problems[0]}") from None
    if secret is None:
        raise CheckSkipped("the callback secret of the daemon is not known here")
    token = CallbackTokens(secret).make(task["route"], TaskId(task["id"]))
    body, headers = json.dumps(payload).encode(), {"Content-Type": "application/json"}
    sign = SCHEMES.get(config.callback_rules(task["provider"]).scheme)
    if sign is not None and signing is not None:
        headers |= sign(signing.split()[0], task["external_id"], body, time.time())
    return f"/callbacks/{task['provider']}/{token}", headers, body
