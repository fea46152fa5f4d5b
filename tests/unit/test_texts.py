"""Text files: byte order marks, other encodings, line endings; and keys that are invalid in a header."""

from __future__ import annotations

from codecs import BOM_UTF8, BOM_UTF16_LE
from pathlib import Path

import pytest

from tests.unit.test_declared import ACME
from tracker.cli.local_checks import check_hooks
from tracker.cli.network_checks import check_keys
from tracker.clock import SystemClock
from tracker.config import Config, load_config
from tracker.daemon.provider_files import read_registry
from tracker.domain.api_keys import key_problem
from tracker.domain.text import NotText, decode_text
from tracker.domain.upstream_http import WireRequest
from tracker.errors import ConfigError, NotAttempted
from tracker.hooks.kinds.registry import hook_table
from tracker.systemd.credentials import with_credentials
from tracker.upstream.breaker import Breakers
from tracker.upstream.client import Account, UpstreamClient
from tracker.upstream.limits import RateLimits

KEY = "sk-never-real-0001"


@pytest.mark.parametrize(
    ("raw", "text"),
    [
        (b"a = 1\n", "a = 1\n"),
        (BOM_UTF8 + b"a = 1\r\nb = 2\rc = 3", "a = 1\nb = 2\nc = 3"),
        ("ü 猫".encode(), "ü 猫"),
        (b"", ""),
    ],
)
def test_utf_8_is_read(raw: bytes, text: str) -> None:
    """With or without a mark, with the line endings of any system."""
    assert decode_text(raw) == text


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        ("a = 1\n".encode("utf-16"), "is UTF-16 text; save it as UTF-8"),
        (b"\xfe\xff" + "a = 1".encode("utf-16-be"), "is UTF-16 text; save it as UTF-8"),
        ("a = 1\n".encode("utf-16-le"), "is UTF-16 text; save it as UTF-8"),
        ("a = 1\n".encode("utf-16-be"), "is UTF-16 text; save it as UTF-8"),
        ("a = 1\n".encode("utf-32"), "is UTF-32 text; save it as UTF-8"),
        (b"a = 1\nb\0 = 2\n", "line 2: contains a NUL byte; remove it"),
        (b"a = 1\nb = '\xfc'\n", "line 2, byte 11: is not UTF-8 text; save the file as UTF-8"),
    ],
)
def test_other_encodings_are_named(raw: bytes, message: str) -> None:
    """One line with the encoding, or with the line and the byte."""
    with pytest.raises(NotText) as caught:
        decode_text(raw)
    assert str(caught.value) == message


def load(directory: Path, raw: bytes, **env: str) -> Config:
    """Write a configuration file and load it."""
    (directory / "tracker.toml").write_bytes(raw)
    return load_config(directory / "tracker.toml", env, serving=True, hook_table=hook_table)


def test_the_configuration_file(tmp_path: Path) -> None:
    """A mark is ignored; other encodings and invisible characters are named with the line."""
    assert load(tmp_path, BOM_UTF8 + b'public_url = "https://x.example"\r\n').public_url == "https://x.example"
    cases = {
        BOM_UTF16_LE + b"a\0": "is UTF-16 text; save it as UTF-8",
        b"[poll]\ntick_s\0 = 1": "line 2: contains a NUL byte; remove it",
        "[poll]\n\ufefftick_s = 1\n".encode(): "U+FEFF ZERO WIDTH NO-BREAK SPACE",
        "[poll]\ntick_s\u00a0= 1\n".encode(): "U+00A0 NO-BREAK SPACE",
        "environment = \u201cproduction\u201d\n".encode(): "U+201C LEFT DOUBLE QUOTATION MARK",
    }
    for raw, message in cases.items():
        with pytest.raises(ConfigError) as caught:
            load(tmp_path, raw)
        (line,) = caught.value.problems
        assert message in line
        assert ";" in line


def test_provider_files(tmp_path: Path) -> None:
    """The same for them; files that editors and file systems leave beside them are ignored."""
    (tmp_path / "acme.toml").write_bytes(BOM_UTF8 + ACME.replace("\n", "\r\n").encode())
    (tmp_path / "._acme.toml").write_bytes(b"\0\5\x16\7")
    assert read_registry(tmp_path).provider_named("acme") is not None
    (tmp_path / "acme.toml").write_text(ACME.replace('"acme"', "\u201cacme\u201d"), encoding="utf-8")
    with pytest.raises(ConfigError, match=r"acme.toml:2: .*the line has U\+201C LEFT DOUBLE QUOTATION MARK\); fix"):
        read_registry(tmp_path)
    (tmp_path / "acme.toml").write_bytes(ACME.encode("utf-16"))
    (tmp_path / "other.toml").write_bytes(b"name = '\xff'")
    with pytest.raises(ConfigError) as caught:
        read_registry(tmp_path)
    assert caught.value.problems == [
        f"{tmp_path}/acme.toml: is UTF-16 text; save it as UTF-8",
        f"{tmp_path}/other.toml: line 1, byte 8: is not UTF-8 text; save the file as UTF-8",
    ]


@pytest.mark.parametrize("raw", [BOM_UTF8 + KEY.encode() + b"\r\n", f" {KEY}\n\n".encode(), f"\t{KEY}".encode()])
def test_secrets_in_files(tmp_path: Path, raw: bytes) -> None:
    """Marks, blanks and line endings around a secret are removed, whatever its source."""
    for name in ("key", "callback.secret", "NAMED"):
        (tmp_path / name).write_bytes(raw)
        (tmp_path / name).chmod(0o600)
    config = load(tmp_path, f'store.path = "{tmp_path}/t.db"\n[accounts.default]\napi_key_file = "key"'.encode())
    assert config.account_key("default") == KEY
    assert config.account_key_problem("default") is None
    assert config.callback_secret() == KEY.encode()
    named = b'[accounts.default]\napi_key_env = "NAMED"'
    assert load(tmp_path, named, CREDENTIALS_DIRECTORY=str(tmp_path)).account_key("default") == KEY
    handed = with_credentials({"CREDENTIALS_DIRECTORY": str(tmp_path)})
    assert load(tmp_path, named, **handed).account_key("default") == KEY


def test_secret_files_in_other_encodings(tmp_path: Path) -> None:
    """One line, with the file and its key; never the secret."""
    (tmp_path / "key").write_bytes(KEY.encode("utf-16"))
    with pytest.raises(ConfigError) as caught:
        load(tmp_path, b'[accounts.default]\napi_key_file = "key"')
    assert caught.value.problems == [f"{tmp_path}/key: accounts.default.api_key_file: is UTF-16 text; save it as UTF-8"]


@pytest.mark.parametrize(
    ("key", "message"),
    [
        (f"{KEY}\nsk-another", "has more than one line; keep the one with the key"),
        (f"{KEY}\u2028x", "has more than one line"),
        (f'"{KEY}"', "has quotes around the key; remove them"),
        (f"'{KEY}'", "has quotes around the key; remove them"),
        (f"\u201c{KEY}\u201d", "has a character that is invalid in a header (LEFT DOUBLE QUOTATION MARK at 1)"),
        (f"{KEY}\u200b", "has a character that is invalid in a header (ZERO WIDTH SPACE at 19); copy the key again"),
        ("sk-\u0430bc", "has a character that is invalid in a header (CYRILLIC SMALL LETTER A at 4)"),
        (f"sk\t{KEY}", "has a character that is invalid in a header (a control character at 3)"),
        (f"ANYINT_API_KEY={KEY}", "has the name of a variable before the key; keep only the part after the ="),
        (f"export KEY={KEY}", "has the name of a variable before the key"),
        (f"Bearer {KEY}", "starts with a word like Bearer; keep only the key, the tracker adds the rest"),
        (f"Authorization: Bearer {KEY}", "starts with a word like Bearer"),
        (f"Key {KEY}", "starts with a word like Bearer"),
        ("", "is not set; requests will be rejected"),
    ],
)
async def test_invalid_keys(tmp_path: Path, key: str, message: str) -> None:
    """The client, doctor and the configuration check give the same message, without the key."""
    assert message in str(key_problem(key))
    (tmp_path / "key").write_text(key or " ", encoding="utf-8")
    config = load(tmp_path, b'[accounts.default]\napi_key_env = "SOME_KEY"', SOME_KEY=key)
    (line,) = config.missing_secrets()
    assert line.startswith(f"accounts.default.api_key_env: SOME_KEY {message.partition(';')[0]}")
    (checked,) = check_keys(config, {})
    assert checked.state == "failed"
    clock = SystemClock()
    account = Account("default", "https://x.example", lambda: key)
    client = UpstreamClient({"default": account}, clock, RateLimits({"default": 9}, clock), Breakers(clock))
    with pytest.raises(NotAttempted) as caught:
        await client.fetch("default", WireRequest("GET", "/"))
    if key:
        assert message in str(caught.value)
        assert message.partition(";")[0] in checked.detail
    for said in (line, f"{checked.detail} {checked.fix}", str(caught.value)):
        assert KEY not in said


@pytest.mark.parametrize("key", [KEY, "AKID:secret==", "eyJhbGciOi.J9.x_-y", "ABC123==", f"{KEY}-bearer"])
def test_valid_keys(key: str) -> None:
    """Anything that is valid in a header."""
    assert key_problem(key) is None


def test_scripts_that_cannot_start(tmp_path: Path) -> None:
    """A mark before ``#!`` and line endings of Windows are named; the shell's own error does not name the cause."""
    script = tmp_path / "publish.sh"
    config = load(tmp_path, f'[[hooks]]\nname = "publish"\non = "task.finished"\nrun = ["{script}"]\n'.encode())
    for raw, message in (
        (BOM_UTF8 + b"#!/bin/sh\n", "begins with a byte order mark"),
        (b"#!/bin/sh\r\necho\r\n", "has Windows line endings"),
        (b"#!/bin/sh\necho\n", None),
    ):
        script.write_bytes(raw)
        script.chmod(0o755)
        failed = [line.detail for line in check_hooks(config) if line.state == "failed"]
        assert (failed == []) if message is None else (message in failed[0])
