"""Warnings about likely mistakes in a valid configuration."""

from pathlib import Path

import pytest

from tracker.config import load_config
from tracker.config.likely_mistakes import list_warnings, unknown_variables, unreachable_public_url
from tracker.hooks.kinds.registry import hook_table


def written(directory: Path, text: str) -> Path:
    """A configuration file with this text."""
    path = directory / "tracker.toml"
    path.write_text(text)
    return path


@pytest.mark.parametrize(
    "host",
    [
        *("localhost", "127.0.0.1", "[::1]", "192.168.1.5", "10.0.0.1", "169.254.1.1", "[fe80::1]", "[fc00::1]"),
        *("100.64.0.1", "tracker", "tracker.local", "tracker.internal", "a.localhost", "LOCALHOST."),
    ],
)
def test_a_public_url_that_providers_cannot_reach(tmp_path: Path, host: str) -> None:
    """A local address is a warning, unless the gateway is local, too, like the sandbox."""
    public = f'public_url = "http://{host}:8780"\n'
    assert "providers cannot reach" in str(unreachable_public_url(load_config(written(tmp_path, public), {})))
    near = f'{public}[accounts.default]\nbase_url = "http://127.0.0.1:8790"'
    assert unreachable_public_url(load_config(written(tmp_path, near), {})) is None


@pytest.mark.parametrize("host", ["tracker.example.com", "example.org", "callback.invalid", "a.example"])
def test_a_reserved_name(tmp_path: Path, host: str) -> None:
    """No network can resolve it."""
    near = f'public_url = "https://{host}"\n[accounts.default]\nbase_url = "http://127.0.0.1:8790"'
    assert "reserved for examples" in str(unreachable_public_url(load_config(written(tmp_path, near), {})))


@pytest.mark.parametrize("host", ["tracker.studio.dev", "8.8.8.8", "[2606:4700::1111]", "notexample.com"])
def test_an_address_that_may_be_reached(tmp_path: Path, host: str) -> None:
    """A public name or address causes no warning."""
    config = load_config(written(tmp_path, f'public_url = "https://{host}"'), {})
    assert list_warnings(config, {}) == []


def test_unknown_variables_are_named_with_the_nearest_known(tmp_path: Path) -> None:
    """A misspelt variable has no effect; variables of hooks and of the configuration are known."""
    hook = '[[hooks]]\nname = "h"\non = "task.*"\nurl = "https://hooks.dev"\nsecret_env = "TRACKER_HOOK_SECRET"'
    text = f'[accounts.default]\napi_key_env = "TRACKER_KEY"\n{hook}'
    config = load_config(written(tmp_path, text), {}, hook_table=hook_table)
    known = ["TRACKER_KEY", "TRACKER_HOOK_SECRET", "TRACKER_API_TOKEN", "TRACKER_URL", "TRACKER_PUBLIC_URL"]
    known += ["TRACKER_LABEL_USER", "TRACKER_EVENT", "TRACKER_WORKER", "TRACKER_POLL__TICK_S", "PATH"]
    assert unknown_variables(config, known) == []
    lines = unknown_variables(config, ["TRACKER_PUBLC_URL", "TRACKER_LISTEN", "TRACKER_QZX"])
    assert [line.partition("; ")[2] for line in lines] == [
        *("did you mean TRACKER_SERVER__LISTEN?", "did you mean TRACKER_PUBLIC_URL?"),
        "remove it, or write TRACKER_<SECTION>__<KEY>",
    ]


def test_a_key_that_is_sent_unencrypted(tmp_path: Path) -> None:
    """An http:// gateway on the internet has a warning, one on this machine has none."""
    for url, count in (("http://gateway.studio.dev", 1), ("http://127.0.0.1:8790", 0), ("http://gateway:80", 0)):
        config = load_config(written(tmp_path, f'[accounts.default]\nbase_url = "{url}"'), {})
        assert len(list_warnings(config, {})) == count


def test_a_budget_without_prices(tmp_path: Path) -> None:
    """It would not count a task before its end."""
    budget = "[budget]\ndaily = 5"
    (line,) = list_warnings(load_config(written(tmp_path, budget), {}), {})
    assert line.startswith("budget: without a price only what upstreams state counts")
    priced = f'{budget}\n[prices]\n"suno.generate" = {{ per_call = 0.08 }}'
    assert list_warnings(load_config(written(tmp_path, priced), {}), {}) == []
