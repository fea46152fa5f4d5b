"""What `doctor` looks at, one function per line of its checklist.

Owns what counts as well and how each fault is mended. Must not change anything: no file is made, no lock is taken for
longer than a look, nothing is sent but questions that cost nothing. A key goes to its own account's address alone.
"""

from __future__ import annotations

import contextlib
import fcntl
import http.client
import json
import os
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal
from urllib.parse import urlsplit

from tracker.domain.hook_events import PATTERNS
from tracker.errors import ConfigError
from tracker.hooks.dropins import find_objection
from tracker.hooks.trust import distrusted_programs, find_distrust, trusted_owners
from tracker.paths import is_file

if TYPE_CHECKING:
    from tracker.config import Config
    from tracker.domain.models import Model

ANSWER_S = 5.0
"""How long an upstream or a proxy may take to answer."""
LEAST_FREE_BYTES = 512 * 2**20
"""With less room beside the store the next growth of its log may fail, and callbacks are answered 503."""
CLOCK_TOLERANCE_S = 30.0
"""A tenth of what signatures allow, and far more than an answer takes."""
_MIB = 2**20


@dataclass(frozen=True, slots=True)
class Line:
    """One line of the checklist.

    Attributes:
        check: what was looked at.
        state: how it is; ``skipped`` where there is nothing to look at, or no way to.
        detail: what was found.
        mend: what to do about it; None unless ``failed``.
    """

    check: str
    state: Literal["ok", "failed", "skipped"]
    detail: str
    mend: str | None = None


@dataclass(frozen=True, slots=True)
class Answer:
    """An HTTP answer, and when it came."""

    status: int
    headers: Mapping[str, str]
    body: bytes
    at_s: float

    @property
    def json(self) -> Any:  # noqa: ANN401 - JSON of any shape
        """The body as JSON; None when it is none."""
        try:
            return json.loads(self.body)
        except ValueError:
            return None


def check_keys(config: Config) -> Iterator[Line]:
    """Each account has a key."""
    for name, account in config.accounts.items():
        source = str(account.api_key_file or account.api_key_env)
        if config.account_key(name):
            yield Line(f"key of {name}", "ok", f"{source} is set")
        else:
            mend = f"export {source}=…, or LoadCredential={source}:/path in the unit"
            yield Line(f"key of {name}", "failed", f"{source} is not set: every request would be refused", mend)


def check_gateways(config: Config, has_lists: Callable[[str], bool] = lambda _account: True) -> Iterator[Line]:
    """Each account's upstream answers, takes the key, and agrees on what time it is.

    Args:
        config: the configuration.
        has_lists: whether an account's API has lists of models; another one is asked without the key, and only whether
            it answers.
    """
    offsets: dict[str, float] = {}
    for name, account in config.accounts.items():
        check = f"gateway of {name}"
        key = config.account_key(name)
        url = account.base_url.rstrip("/")
        answer = ask(f"{url}/openai/v1/models", key) if has_lists(name) else ask(f"{url}/")
        if isinstance(answer, str):
            mend = f"check accounts.{name}.base_url, the name service and the firewall"
            yield Line(check, "failed", f"{account.base_url} gave no answer ({answer})", mend)
            continue
        offset_s = _offset_of(answer)
        if offset_s is not None:
            offsets[account.base_url] = offset_s
        if key and answer.status == HTTPStatus.UNAUTHORIZED and "invalid_api_key" in str(answer.json):
            mend = f"put the key of account {name} into {account.api_key_file or account.api_key_env}"
            yield Line(check, "failed", f"{account.base_url} refuses the key", mend)
        else:
            untried = "" if has_lists(name) else "; its key was not tried"
            yield Line(check, "ok", f"{account.base_url} answers (HTTP {answer.status}){untried}")
    yield _check_clock(offsets)


def _check_clock(offsets: Mapping[str, float]) -> Line:
    if not offsets:
        return Line("clock", "skipped", "no upstream said what time it is")
    url, offset_s = max(offsets.items(), key=lambda item: abs(item[1]))
    if abs(offset_s) <= CLOCK_TOLERANCE_S:
        return Line("clock", "ok", f"within {CLOCK_TOLERANCE_S:g} s of {url}")
    side = "ahead of" if offset_s > 0 else "behind"
    mend = "switch time synchronisation on, with systemd: timedatectl set-ntp true"
    return Line("clock", "failed", f"{abs(offset_s):.0f} s {side} {url}: signed callbacks may be refused", mend)


def _offset_of(answer: Answer) -> float | None:
    """By how much our clock is ahead of the sender's, seconds."""
    try:
        return answer.at_s - parsedate_to_datetime(answer.headers["date"]).timestamp()
    except (KeyError, ValueError, TypeError):
        return None


def check_models(config: Config, known: list[Model] | None) -> Line:
    """The models that ``[models]`` names are in a list.

    Args:
        config: the configuration.
        known: the models of all accounts as they were last fetched; None: never.
    """
    named = {
        f"models.{alias}": model
        for alias, target in config.model_aliases().items()
        for model in (target.id, *target.fallback)
    }
    if not named:
        return Line("models", "skipped", "the configuration names none")
    if not known:
        return Line("models", "skipped", "no list was fetched yet; fetch it with: tracker models sync")
    ids = {model.id for model in known}
    missing = [f"{key} ({model})" for key, model in named.items() if model not in ids]
    if missing:
        mend = "correct the names; what there is shows: tracker models list"
        return Line("models", "failed", f"in no account's list: {', '.join(missing)}", mend)
    return Line("models", "ok", f"{len(set(named.values()))} configured, all in the list")


def check_public_url(config: Config) -> Line:
    """Callbacks would reach a daemon; a proxy may let nothing in but ``/callbacks/``."""
    if config.public_url is None:
        return Line("public_url", "skipped", "it is unset: nothing is called back, polls find every end")
    base = config.public_url.rstrip("/")
    health = ask(f"{base}/healthz")
    if not isinstance(health, str) and health.status == HTTPStatus.OK and health.json == {"status": "alive"}:
        return Line("public_url", "ok", f"{base} leads to a tracker")
    door = ask(f"{base}/callbacks/doctor")
    if not isinstance(door, str) and "application/problem+json" in door.headers.get("content-type", ""):
        return Line("public_url", "ok", f"{base}/callbacks/ leads to a tracker")
    found = health if isinstance(health, str) else f"HTTP {health.status}"
    mend = f"start the daemon, and have the proxy pass {base}/callbacks/ on to {config.listen.url}"
    return Line("public_url", "failed", f"{base} does not lead to a tracker ({found})", mend)


def check_hooks(config: Config) -> Iterator[Line]:
    """Every script can be run, and nobody else can change it."""
    count = 0
    owners = _trusted_owners(config)
    for hook in config.hooks:
        if not hook.run:
            continue
        count += 1
        program = hook.run[0]
        if "/" not in program and shutil.which(program) is None:
            mend = f"install it, or write its whole path into run of hook {hook.name}"
            yield Line(f"hook {hook.name}", "failed", f"there is no program {program} on the path", mend)
        elif "/" in program and (line := _check_script(f"hook {hook.name}", Path(program))) is not None:
            yield line
        for why in distrusted_programs(hook.run, owners):
            yield Line(f"hook {hook.name}", "failed", why.reason, why.fix)
    scripts, unread = _list_dropins(config.hooks_path)
    for error in unread:
        detail = f"{error.filename} cannot be looked at ({error.strerror}): hooks in it do not run"
        yield Line("hooks_dir", "failed", detail, "let this user in, run as its owner, or set hooks_dir")
    for script in scripts:
        count += 1
        if script.parent.name not in PATTERNS:
            mend = f"rename {script.parent} to one of {', '.join(PATTERNS)}"
            yield Line(f"hook {script.name}", "failed", f"{script} lies below no event", mend)
        elif (objection := find_objection(script, owners)) is not None:
            state: Literal["failed", "skipped"] = "failed" if objection.fix else "skipped"
            yield Line(f"hook {script.name}", state, f"{script} is not run: {objection.reason}", objection.fix)
    for directory in sorted({*([config.hooks_path] if config.hooks_path else []), *(s.parent for s in scripts)}):
        with contextlib.suppress(OSError):  # it is not there, or told above
            if (objection := find_distrust(directory, owners)) is not None:
                yield Line("hooks_dir", "failed", f"no hook in {directory} runs: {objection.reason}", objection.fix)
                break
    if count or not unread:
        yield Line("hook scripts", "ok" if count else "skipped", f"{count} looked at" if count else "there are none")


def _trusted_owners(config: Config) -> frozenset[int]:
    """Who may own hook scripts: root, whoever runs this, and the daemon's user, to whom the store belongs."""
    with contextlib.suppress(OSError):
        return trusted_owners() | {config.store_path.stat().st_uid}
    return trusted_owners()


def _check_script(check: str, path: Path) -> Line | None:
    try:
        if not is_file(path, "correct its path"):
            return Line(check, "failed", f"{path} is not there", "put the script there, or correct its path")
    except ConfigError as error:
        what, _, mend = str(error).partition("; ")
        return Line(check, "failed", what, mend)
    if not os.access(path, os.X_OK):
        return Line(check, "failed", f"{path} is not executable", f"chmod +x {path}")
    return None


def _list_dropins(directory: Path | None) -> tuple[list[Path], list[OSError]]:
    """The scripts in the directories of events, and why some of these could not be looked into."""
    if directory is None:
        return [], []
    found: list[Path] = []
    unread: list[OSError] = []
    waiting = [directory]
    while waiting:
        looked_at = waiting.pop()
        try:
            for path in sorted(looked_at.iterdir()):
                if path.is_dir():
                    waiting += [path] if looked_at == directory else []
                elif looked_at != directory and path.is_file():
                    found.append(path)
        except (FileNotFoundError, NotADirectoryError):
            continue
        except OSError as error:
            unread.append(error)
    return [path for path in sorted(found) if not path.name.startswith(".") and path.suffix != ".disabled"], unread


def check_disk(config: Config, *, least_free_bytes: int = LEAST_FREE_BYTES) -> Line:
    """There is room beside the store."""
    directory = _nearest(config.store_path.parent)
    free = shutil.disk_usage(directory).free
    detail = f"{free // _MIB} MiB free in {directory}"
    if free < least_free_bytes:
        return Line("disk", "failed", detail, f"make room: the store needs {least_free_bytes // _MIB} MiB to be safe")
    return Line("disk", "ok", detail)


def check_place_of_store(config: Config) -> Line:
    """A store that is not there yet can be made."""
    directory = _nearest(config.store_path.parent)
    if os.access(directory, os.W_OK | os.X_OK):
        return Line("store", "ok", f"{config.store_path} is not there yet; the first start makes it")
    mend = "make the directory writable for the daemon's user, or set store.path"
    return Line("store", "failed", f"{config.store_path} is not there, and {directory} cannot be written", mend)


def check_lock(config: Config) -> Line:
    """Whoever has the store serves it, and answers."""
    url = config.listen.url
    path = config.store_path.resolve()
    holder = _holder_of(path.with_name(f"{path.name}.lock"))
    if holder is None:
        return Line("daemon", "skipped", "none has the store")
    health = None if url.startswith("unix:") else ask(f"{url}/healthz")
    if isinstance(health, str):
        mend = f"look at its log; if it hangs: kill {holder}, which loses nothing"
        return Line("daemon", "failed", f"process {holder} has the store, and {url} gives no answer ({health})", mend)
    return Line("daemon", "ok", f"process {holder} has the store, listening on {url}")


def _holder_of(lock: Path) -> str | None:
    """The process that has the lock; None when nobody has it."""
    try:
        with lock.open() as handle:
            try:
                fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except OSError:
                return handle.read(32).strip() or "unknown"
    except OSError:
        pass
    return None


def _nearest(directory: Path) -> Path:
    """The directory, or the nearest one above it that is there."""
    while directory != directory.parent:
        with contextlib.suppress(OSError):  # what may not be looked at is passed over, too
            if directory.is_dir():
                break
        directory = directory.parent
    return directory


def ask(url: str, key: str | None = None) -> Answer | str:
    """A GET without redirects or proxies; why there is no answer when there is none."""
    parts = urlsplit(url)
    kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
    headers = {"User-Agent": "tracker", "Accept": "application/json"}
    if key:
        headers["Authorization"] = f"Bearer {key}"
    try:
        connection = kind(parts.hostname or "", parts.port, timeout=ANSWER_S)
        try:
            connection.request("GET", parts.path or "/", headers=headers)
            response = connection.getresponse()
            body = response.read(_MIB)
            named = {name.lower(): value for name, value in response.getheaders()}
            return Answer(response.status, named, body, time.time())
        finally:
            connection.close()
    except (OSError, http.client.HTTPException, ValueError) as error:
        return getattr(error, "strerror", None) or str(error) or type(error).__name__
