"""The configuration: defaults, overrides, secrets, and one line per error."""

import re
import stat
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel

import tracker.config.sources
from tracker.config import Config, Listen, is_loopback, load_config, parse_listen
from tracker.config.client import read_client_config
from tracker.config.likely_mistakes import list_warnings
from tracker.config.listen import SOCKET_PATH_MAX
from tracker.config.sections import Account, ModelAlias, PollOverride, ProviderCallbacks
from tracker.config.sources import TABLES, TOP_KEYS
from tracker.domain.schedule import PollPolicy
from tracker.errors import ConfigError
from tracker.hooks.kinds.http import HttpHook
from tracker.hooks.kinds.notify import NotifyHook
from tracker.hooks.kinds.plugins import PluginHook
from tracker.hooks.kinds.registry import hook_table
from tracker.hooks.kinds.script import ScriptHook
from tracker.hooks.kinds.worker import WorkerHook

REPOSITORY = Path(__file__).parents[2]
DOCUMENTED = REPOSITORY / "config" / "tracker.toml"
HOOKS = [ScriptHook, WorkerHook, HttpHook, PluginHook, NotifyHook]
PROVIDERS = ["dashscope", "kling", "suno", "openai-video"]


@pytest.fixture(autouse=True)
def _no_system_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Ignore a configuration that is installed on this machine."""
    monkeypatch.setattr(tracker.config.sources, "SYSTEM_FILE", tmp_path / "etc" / "tracker.toml")


def load(tmp_path: Path, text: str, env: Mapping[str, str] | None = None, **options: Any) -> Config:  # noqa: ANN401 - handed on
    """Write a file and load it."""
    file = tmp_path / "tracker.toml"
    file.write_text(text, encoding="utf-8")
    return load_config(file, env or {}, hook_table=hook_table, **options)


def problems_of(tmp_path: Path, text: str, env: Mapping[str, str] | None = None, **options: Any) -> list[str]:  # noqa: ANN401 - handed on
    """The errors of a file, without the directory's name."""
    with pytest.raises(ConfigError) as caught:
        load(tmp_path, text, env, **options)
    return [line.replace(f"{tmp_path}/", "") for line in caught.value.problems]


# -- what commands read of it ----------------------------------------------------------------------------------

PLAIN_ENV = {"HOME": "/home/invented"}


@pytest.mark.parametrize(
    ("text", "env"),
    [
        ("", {}),
        ("", {"STATE_DIRECTORY": "/var/lib/invented:/elsewhere"}),
        ("", {"XDG_STATE_HOME": "/state", "TRACKER_API_TOKEN": "fake-token"}),
        ('[server]\nlisten = "[::1]:9000"\nmax_callback_bytes = 4096\n[store]\npath = "~/t.db"', {}),
        ('[server]\nlisten = "unix:/run/tracker.sock"\n[store]\npath = "here/t.db"', {}),
        ('[server]\napi_token_env = "MY_TOKEN"', {"MY_TOKEN": " fake-token\n"}),
        ('[server]\napi_token_file = "token"', {}),
        ("", {"TRACKER_SERVER__LISTEN": "[::1]:9001", "TRACKER_STORE__PATH": "/elsewhere/t.db"}),
        ('[poll]\ntick_s = 2\n[accounts.default]\n[models]\nvideo = "a"', {"TRACKER_LOG__LEVEL": "debug"}),
    ],
)
def test_commands_read_the_same_address_token_and_store(tmp_path: Path, text: str, env: dict[str, str]) -> None:
    """The short way gives what the complete configuration gives."""
    (tmp_path / "token").write_text("fake-token\n")
    complete = load(tmp_path, text, PLAIN_ENV | env, serving=False)
    short = read_client_config(tmp_path / "tracker.toml", PLAIN_ENV | env)
    assert short is not None
    found = [(config.listen, config.store_path, config.client_token()) for config in (short, complete)]
    assert found[0] == found[1]


@pytest.mark.parametrize(
    ("text", "env"),
    [
        ("[sever]", {}),
        ("server = 1", {}),
        ('[server]\nlistn = "127.0.0.1:1"', {}),
        ("[server]\nlisten = 8780", {}),
        ('[server]\nlisten = "nowhere"', {}),
        ("[server]\nmax_callback_bytes = true", {}),
        ('[server]\napi_token_env = "sk-123"', {}),
        ("[store]\npath = [1]", {}),
        ("", {"TRACKER_SERVER__LISTEN": "nowhere"}),
        ("", {"TRACKER_SEVER__LISTEN": "127.0.0.1:1"}),
        ("", {"TRACKER_STORE__PATH__MORE": "x"}),
    ],
)
def test_commands_leave_errors_to_the_complete_checks(tmp_path: Path, text: str, env: dict[str, str]) -> None:
    """What these keys have wrong is found by the complete checks, with their messages."""
    assert problems_of(tmp_path, text, PLAIN_ENV | env, serving=False)
    assert read_client_config(tmp_path / "tracker.toml", PLAIN_ENV | env) is None


def test_the_names_of_tables_are_those_of_the_models() -> None:
    """They are listed twice, because commands must not load the models."""
    assert [*TOP_KEYS, *TABLES] == list(Config.model_fields)


# -- the documented file -------------------------------------------------------------------------------------


def test_the_documented_file_equals_the_defaults() -> None:
    """config/tracker.toml sets the defaults."""
    assert load_config(DOCUMENTED, {}).model_dump() == load_config(None, {}).model_dump()
    assert load_config(DOCUMENTED, {}).not_acted_on() == []


def test_the_documented_file_is_in_the_package() -> None:
    """`tracker config init` writes the same file."""
    assert (REPOSITORY / "tracker" / "config" / "tracker.toml").read_bytes() == DOCUMENTED.read_bytes()


def test_the_documented_file_names_every_key() -> None:
    """Every key of the models is in the file."""
    text = DOCUMENTED.read_text(encoding="utf-8")

    def keys(model: type[BaseModel]) -> set[str]:
        return set(model.model_fields) - {"providers", "names", "environments", "rates"}

    models: list[Any] = [Config, *HOOKS, Account, PollOverride, ProviderCallbacks, ModelAlias]
    models += [type(value) for _name, value in Config() if isinstance(value, BaseModel)]
    # as a key, as a table, or named in a comment
    missing = {
        key
        for model in models
        for key in keys(model)
        if not re.search(rf"(?m)(^#? ?|[{{,] ){key} = |[\[.]{key}[\].]|\"{key}\"", text)
    }
    assert missing == set()


def test_the_commented_examples_are_valid(tmp_path: Path) -> None:
    """Every commented key is valid TOML with a valid value."""
    text = DOCUMENTED.read_text(encoding="utf-8")
    text = re.sub(r"(?m)^# (?=\[|[a-z_]+ = )", "", text)
    text = re.sub(
        r"(?m)^(api_token_file|api_key_file|secret_file|headers_file|api_key_env|secret_env) = .*$", r"", text
    )
    text = text.replace("[accounts.default]", '[accounts.default]\napi_key_env = "FAKE"')
    text = text.replace('url = "https://example.com/hook"', 'url = "https://example.com/hook"\nsecret_env = "FAKE"')
    config = load(tmp_path, text)
    assert [hook.name for hook in config.hooks] == ["publish", "endpoint", "plug-in", "tell-me"]
    assert config.models.environments["staging"]["video"].fallback == ("wan2.5-i2v-preview",)
    assert config.archive.url == "s3://bucket/prefix"


# -- where the file is searched -------------------------------------------------------------------------------


def test_search_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """--config, $TRACKER_CONFIG, $CONFIGURATION_DIRECTORY, the system's file, the defaults."""
    files = {}
    for name in ("option", "variable", "directory", "system"):
        files[name] = tmp_path / name / "tracker.toml"
        files[name].parent.mkdir()
        files[name].write_text(f'public_url = "https://{name}"', encoding="utf-8")
    env = {"TRACKER_CONFIG": str(files["variable"]), "CONFIGURATION_DIRECTORY": str(files["directory"].parent)}
    monkeypatch.setattr(tracker.config.sources, "SYSTEM_FILE", files["system"])
    assert load_config(files["option"], env).public_url == "https://option"
    assert load_config(None, env).public_url == "https://variable"
    del env["TRACKER_CONFIG"]
    assert load_config(None, env).public_url == "https://directory"
    assert load_config(None, {}).file == files["system"]
    files["system"].unlink()
    assert load_config(None, {}).file is None


def test_a_named_file_must_exist(tmp_path: Path) -> None:
    """A misspelt --config is an error."""
    with pytest.raises(ConfigError, match=r"absent.toml: file: cannot be read .*; choose another with --config"):
        load_config(tmp_path / "absent.toml", {})


# -- overrides -----------------------------------------------------------------------------------------------


def test_the_environment_overrides_every_kind_of_key(tmp_path: Path) -> None:
    """Sections, accounts, providers with hyphens, top-level keys, numbers, booleans and tables."""
    env = {
        "TRACKER_PUBLIC_URL": "https://env.example",
        "TRACKER_ACCOUNTS__DEFAULT__BASE_URL": "http://127.0.0.1:9/",
        "TRACKER_ACCOUNTS__TEAM_TWO__MAX_REQUESTS_PER_S": "5",
        "TRACKER_POLL__MIN_INTERVAL_S": "1.5",
        "TRACKER_POLL__SUNO__MIN_INTERVAL_S": "2",
        "TRACKER_POLL__OPENAI_VIDEO__MIN_INTERVAL_S": "4",
        "TRACKER_ARCHIVE__ENABLED": "false",
        "TRACKER_MODELS__VIDEO": '{ id = "m1", fallback = ["m2"] }',
    }
    text = '[accounts.Team-Two]\napi_key_env = "TEAM_KEY"\n[poll]\nmin_interval_s = 9\nmax_interval_s = 10'
    config = load(tmp_path, text, env, providers=PROVIDERS)
    assert config.public_url == "https://env.example"
    assert config.accounts["default"].base_url == "http://127.0.0.1:9"
    assert config.accounts["default"].api_key_env == "ANYINT_API_KEY"
    assert config.accounts["Team-Two"].max_requests_per_s == 5
    assert config.poll_policy("kling") == PollPolicy(min_interval_s=1.5, max_interval_s=10)
    assert config.poll_policy("suno").min_interval_s == 2
    assert config.poll_policy("openai-video").min_interval_s == 4
    assert config.archive.enabled is False
    assert config.models.names["video"].fallback == ("m2",)


def test_reserved_variables_override_nothing(tmp_path: Path) -> None:
    """Reserved names and the variables of hooks are not keys."""
    env = {
        "TRACKER_URL": "http://127.0.0.1:1",
        "TRACKER_API_TOKEN": "fake-token-for-tests",
        "TRACKER_CALLBACK_SECRET": "fake-secret-for-tests",
        "TRACKER_TASK_ID": "01JD",
        "TRACKER_LABEL_A__B": "c",
    }
    assert load(tmp_path, "", env).model_dump() == Config().model_dump()


def test_a_wrong_override_names_the_variable(tmp_path: Path) -> None:
    """The message names the variable, where the mistake must be fixed."""
    env = {
        "TRACKER_POLL__MIN_INTERVAL_S": "soon",
        "TRACKER_SERVR__LISTEN": "127.0.0.1:1",
        "TRACKER_POLL__TICKS_S": "1",
        "TRACKER_HOOKS__A": "b",
        "TRACKER_ACCOUNTS__DEFAULT__API_KEY": "sk-fake-key-never-shown",
    }
    lines = problems_of(tmp_path, "", env)
    assert [line.split(": ")[:2] for line in lines] == [
        ["TRACKER_HOOKS__A", "hooks"],
        ["TRACKER_SERVR__LISTEN", "servr.listen"],
        ["TRACKER_ACCOUNTS__DEFAULT__API_KEY", "accounts.default.api_key"],
        ["TRACKER_POLL__MIN_INTERVAL_S", "poll.min_interval_s"],
        ["TRACKER_POLL__TICKS_S", "poll.ticks_s"],
    ]
    assert "did you mean TRACKER_SERVER__…?" in lines[1]
    assert "sk-fake" not in "\n".join(lines)


# -- mistakes ------------------------------------------------------------------------------------------------

HOOK = '[[hooks]]\nname = "a"\non = ["task.finished"]\nrun = ["x"]\n'


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("[pol]\n", "tracker.toml: pol: unknown key; did you mean poll?"),
        (
            "[poll]\nmin_intervall_s = 1",
            "tracker.toml: poll.min_intervall_s: unknown key; did you mean min_interval_s?",
        ),
        (
            "[poll.suno]\nmax_intervals = 1",
            "tracker.toml: poll.suno.max_intervals: unknown key; did you mean max_interval_s?",
        ),
        ("[poll.sunno]\ntick_s = 1", "tracker.toml: poll.sunno: unknown provider; known are dash"),
        ("[poll]\ntick_s = 0", "tracker.toml: poll.tick_s: must be greater than 0; write for example tick_s = 1"),
        *(
            (f"[accounts.default]\nmax_in_flight = {value}", "tracker.toml: accounts.default.max_in_flight: must be ")
            for value in ("0", "-3", "2.5", '"many"', "true")
        ),
        ("[poll]\ntick_s = true", "tracker.toml: poll.tick_s: must be a number, not true or false"),
        ("[poll]\ntick_s = 'soon'", "tracker.toml: poll.tick_s: must be a number; write for example tick_s = 1"),
        ("[poll]\ndeadline_s = inf", "tracker.toml: poll.deadline_s: "),
        ("poll = 3", "tracker.toml: poll: must be a table; write [poll]"),
        ("[poll]\nmin_interval_s = 60", "tracker.toml: poll.min_interval_s: max_interval_s (30) is less than min"),
        ("[poll.suno]\nmax_interval_s = 1", "tracker.toml: poll.suno.max_interval_s: max_interval_s (1) is less"),
        ("[server]\nlisten = '8780'", "tracker.toml: server.listen: is not a listen address; write host:port"),
        (
            "[server]\napi_token = 'x'",
            "tracker.toml: server.api_token: secrets are not allowed here; put it into the environment",
        ),
        (
            "[accounts.default]\napi_key = 'sk-x'",
            "tracker.toml: accounts.default.api_key: secrets are not allowed here",
        ),
        (
            "[accounts.default]\napi_key_env = 'sk-x'",
            "tracker.toml: accounts.default.api_key_env: is not the name of an",
        ),
        ("[accounts.two]\nbase_url = 'https://x'", "tracker.toml: accounts.two: no key is set; set api_key_env or"),
        ("[accounts.default]\nbase_url = 'https://u:p@x'", "tracker.toml: accounts.default.base_url: has a user"),
        ("[accounts]\n", "tracker.toml: accounts: "),
        ("public_url = 'tracker.example.com'", "tracker.toml: public_url: is not an http(s) URL; write for example"),
        (
            "[accounts.default]\nbase_url = 'gateway'",
            "tracker.toml: accounts.default.base_url: is not an http(s) URL; write for example https://gateway.api.anyint.ai",
        ),
        ("[callbacks]\ntrust = 'always'", "tracker.toml: callbacks.trust: must be 'token' or 'confirm'; write for"),
        ("[callbacks]\nsecret = 'x'", "tracker.toml: callbacks.secret: secrets are not allowed here"),
        ("[callbacks.kling]\nscheme = 'hmac'", "tracker.toml: callbacks.kling.scheme: must be 'none', 'standard-we"),
        (
            "[models]\nvideo = 3",
            'tracker.toml: models.video: must be the id of a model, or a table; write for example video = "kling',
        ),
        (
            "[models.staging]\nvideo = 3",
            'tracker.toml: models.staging.video: must be the id of a model, or a table; write for example video = "',
        ),
        ("models = 3", "tracker.toml: models: must be a table; write [models] and its keys below"),
        (
            "hooks = 'x'",
            "tracker.toml: hooks: must be a list of tables; write [[hooks]] and the keys below",
        ),
        ("hooks = [1]", "tracker.toml: hooks[1]: must be a table; write [[hooks]] and its keys below"),
        (HOOK + "labels = 5", "tracker.toml: hooks[a].labels: must be a table; write [hooks.labels] and its keys"),
        (
            HOOK.replace('"x"', "7").replace("[7]", "7"),
            'tracker.toml: hooks[a].run: must be a list in [ ]; write for example run = ["/usr/local/bin/publish.s',
        ),
        (
            "store.path = 5",
            'tracker.toml: store.path: must be a path in quotes; write for example path = "/var/lib/tracker/track',
        ),
        (
            "server.max_callback_bytes = -1",
            (
                "tracker.toml: server.max_callback_bytes: must be greater than or equal to 1; "
                "write for example max_callback_bytes = 1048576"
            ),
        ),
        (
            "archive.max_bytes = 1.5",
            "tracker.toml: archive.max_bytes: must be an integer; write for example max_bytes = 2147483648",
        ),
        (
            "archive.enabled = 'maybe'",
            "tracker.toml: archive.enabled: must be true or false; write for example enabled = true",
        ),
        ("environment = 3", "tracker.toml: environment: must be a string in quotes; write for example environment"),
        (
            "[models.staging.video]\nid = 'x'\nfallbck = []",
            "tracker.toml: models.staging.video.fallbck: unknown key; did",
        ),
        ("[retention]\nevents_days = -1", "tracker.toml: retention.events_days: must be greater than or equal to 0"),
        ("environment = ''", "tracker.toml: environment: is not a valid name; use up to 64"),
        (HOOK + HOOK, "tracker.toml: hooks: two hooks are named 'a'"),
        (
            HOOK.replace("finished", "finishd"),
            "tracker.toml: hooks[a].on: unknown event 'task.finishd'; did you mean 'task.finished'?",
        ),
        (
            HOOK.replace('run = ["x"]', "url = 'https://x'"),
            "tracker.toml: hooks[a].secret_env: requests are signed, which needs a secret; set secret_env or",
        ),
        (
            HOOK.replace('run = ["x"]', ""),
            "tracker.toml: hooks[a].run: nothing to run: set one of run, url, plugin, ",
        ),
        (HOOK.replace('name = "a"', ""), "tracker.toml: hooks[1].name: is missing; add it"),
        (
            HOOK + "retry_max_s = 1",
            "tracker.toml: hooks[a].retry_max_s: retry_max_s (1) is less than retry_first_s (2)",
        ),
        (
            HOOK + "account = 'other'",
            "tracker.toml: hooks[a].account: unknown account 'other'; add [accounts.other]",
        ),
        ("a = \n", "tracker.toml: line 1, column 5: is not TOML: invalid value; correct that line"),
    ],
)
def test_an_error_is_one_line(tmp_path: Path, text: str, expected: str) -> None:
    """File, key, what is wrong, how to fix it; the wrong value is not repeated."""
    lines = problems_of(tmp_path, text, providers=PROVIDERS)
    assert [line[: len(expected)] for line in lines] == [expected]
    assert "\n" not in lines[0]
    assert ";" in lines[0]
    assert "sk-x" not in lines[0]


def test_all_mistakes_are_reported_at_once(tmp_path: Path) -> None:
    """Syntax of values, unknown keys, bounds, hooks and the exposed API: one run shows them all."""
    text = (
        'nonsense = 1\n[server]\nlisten = "0.0.0.0:1"\n[poll]\ntick_s = -1\n[poll.suno]\nmin_interval_s = 99\n'
        "[callbacks]\ntrust = 1\n" + HOOK.replace("task.finished", "x")
    )
    keys = [line.split(": ")[1] for line in problems_of(tmp_path, text)]
    assert sorted(keys) == ["callbacks.trust", "hooks[a].on", "nonsense", "poll.tick_s", "server.listen"]


def test_an_exposed_api_needs_a_token(tmp_path: Path) -> None:
    """Without an API token only this machine may reach the daemon; clients may still read the file."""
    text = '[server]\nlisten = "0.0.0.0:8780"'
    (line,) = problems_of(tmp_path, text)
    assert line.startswith("tracker.toml: server.listen: 0.0.0.0:8780 can be reached from other machines")
    assert load(tmp_path, text, {"TRACKER_API_TOKEN": "fake-token"}).api_token() == "fake-token"
    assert load(tmp_path, text, serving=False).listen.port == 8780


TOKENS = """
[[server.tokens]]
name = "grafana"
scope = "read"
token_env = "GRAFANA_TOKEN"
[[server.tokens]]
name = "studio"
scope = "submit"
token_file = "studio"
"""
GRAFANA, STUDIO = "fake-token-of-grafana", "fake-token-of-studio"


def test_tokens_have_names_and_scopes(tmp_path: Path) -> None:
    """Each secret is found as any other; with one token in the file, no call is open, set or not."""
    (tmp_path / "studio").write_text(f"{STUDIO}\n", encoding="utf-8")
    config = load(tmp_path, TOKENS, {"GRAFANA_TOKEN": GRAFANA, "TRACKER_API_TOKEN": "fake-token-of-the-api"})
    found = [(token.name, token.scope, token.value) for token in config.api_tokens() or ()]
    assert found == [
        (None, "admin", "fake-token-of-the-api"),
        ("grafana", "read", GRAFANA),
        ("studio", "submit", STUDIO),
    ]
    assert "fake-" not in repr(config.api_tokens())
    assert {GRAFANA, STUDIO} <= set(config.secrets())
    (tmp_path / "studio").unlink()
    assert [token.name for token in config.api_tokens() or ()] == [None, "grafana"], "the others stay usable"
    assert load(tmp_path, "").api_tokens() is None
    unset = load(tmp_path, '[server]\nlisten = "0.0.0.0:1"\n' + TOKENS[: TOKENS.index("[[", 3)])
    assert unset.api_tokens() == []
    assert any("tokens[grafana].token_env: GRAFANA_TOKEN is not set" in line for line in unset.missing_secrets())


def test_commands_use_the_token_that_allows_most(tmp_path: Path) -> None:
    """That of the API, else a named one; the short way and the complete one agree."""
    (tmp_path / "studio").write_text(STUDIO, encoding="utf-8")
    for env, expected in (
        ({"GRAFANA_TOKEN": GRAFANA}, STUDIO),
        ({"GRAFANA_TOKEN": GRAFANA, "TRACKER_API_TOKEN": "fake-token-of-the-api"}, "fake-token-of-the-api"),
    ):
        config = load(tmp_path, TOKENS, env)
        short = read_client_config(tmp_path / "tracker.toml", env) or config
        assert (config.client_token(), short.client_token()) == (expected, expected)


@pytest.mark.parametrize(
    ("edit", "problem"),
    [
        (('scope = "read"', ""), "tracker.toml: server.tokens[grafana].scope: is missing; add it"),
        (('"read"', '"write"'), "tracker.toml: server.tokens[grafana].scope: must be 'read', 'submit' or 'admin'"),
        (('"studio"', '"grafana"'), "tracker.toml: server.tokens: two tokens are named 'grafana'; rename one"),
        (('token_file = "studio"', ""), "tracker.toml: server.tokens[studio]: no token is set; set token_env or"),
        (("token_file", 'token_env = "X"\ntoken_file'), "tracker.toml: server.tokens[studio]: two tokens are set; set"),
        (
            ('token_file = "studio"', 'token = "x"'),
            "tracker.toml: server.tokens[studio].token: secrets are not allowed",
        ),
        (('file = "studio"', 'file = "absent"'), "absent: server.tokens[studio].token_file: cannot be read"),
        (
            ('token_file = "studio"', 'token_env = "GRAFANA_TOKEN"'),
            "tracker.toml: server.tokens[studio]: is the same as",
        ),
        (
            (TOKENS, "[server.tokens]\nx = 1"),
            "tracker.toml: server.tokens: must be a list of tables; write [[server.tok",
        ),
    ],
)
def test_wrong_tokens_are_one_line_each(tmp_path: Path, edit: tuple[str, str], problem: str) -> None:
    """A missing or unknown scope, equal names, equal tokens, no token, a token in the file itself."""
    (tmp_path / "studio").write_text(STUDIO, encoding="utf-8")
    text = TOKENS.replace(*edit)
    assert any(line.startswith(problem) for line in problems_of(tmp_path, text, {"GRAFANA_TOKEN": GRAFANA}))


def test_a_short_token_is_warned_about(tmp_path: Path) -> None:
    """Few characters can be guessed."""
    (tmp_path / "studio").write_text(STUDIO, encoding="utf-8")
    lines = list_warnings(load(tmp_path, TOKENS, {"GRAFANA_TOKEN": "short"}), {})
    assert [line.partition(";")[0] for line in lines] == [
        "server.tokens[grafana]: the token is shorter than 16 characters"
    ]


def test_a_token_in_the_variable_of_the_api_is_warned_about(tmp_path: Path) -> None:
    """A person's own token there is no error in a shell; in a file that only the daemon reads it is."""
    (tmp_path / "studio").write_text(STUDIO, encoding="utf-8")
    lines = list_warnings(load(tmp_path, TOKENS, {"GRAFANA_TOKEN": GRAFANA, "TRACKER_API_TOKEN": GRAFANA}), {})
    assert [line.partition(",")[0] for line in lines] == [
        "server.api_token_env: TRACKER_API_TOKEN is the token grafana here"
    ]
    (line,) = problems_of(tmp_path, '[server]\napi_token_file = "studio"\n' + TOKENS, {"GRAFANA_TOKEN": GRAFANA})
    assert line == "tracker.toml: server.tokens[studio]: is the same as api_token_file; give each its own"


def test_a_signature_scheme_needs_its_secret(tmp_path: Path) -> None:
    """Without one every callback would be refused, or none."""
    text = '[callbacks.kling]\nscheme = "standard-webhooks"\n'
    (line,) = problems_of(tmp_path, text)
    assert "callbacks.kling.secret_env: a signature requires a secret" in line
    config = load(tmp_path, text + 'secret_env = "K"', {"K": "fake-secret"})
    assert config.provider_secret("kling") == "fake-secret"
    assert config.callback_rules("suno").scheme == "none"


# -- secrets -------------------------------------------------------------------------------------------------


def test_secrets_are_read_on_demand_and_never_shown(tmp_path: Path) -> None:
    """Environment, then credentials directory, then nothing; a named file comes first."""
    credentials = tmp_path / "credentials"
    credentials.mkdir()
    (credentials / "TEAM_KEY").write_text("fake-team-key\n", encoding="utf-8")
    (tmp_path / "third").write_text("fake-third-key\n", encoding="utf-8")
    text = '[accounts.default]\n[accounts.team]\napi_key_env = "TEAM_KEY"\n[accounts.third]\napi_key_file = "third"'
    env = {"ANYINT_API_KEY": "fake-default-key", "CREDENTIALS_DIRECTORY": str(credentials), "HOME": str(tmp_path)}
    config = load(tmp_path, text, env)
    assert config.account_key("default") == "fake-default-key"
    assert config.account_key("team") == "fake-team-key"
    assert config.account_key("third") == "fake-third-key"
    assert sorted(config.secrets()) == ["fake-default-key", "fake-team-key", "fake-third-key"]
    assert load(tmp_path, text).account_key("team") is None
    for shown in (repr(config), str(config), config.model_dump_json()):
        assert "fake-" not in shown


def test_a_secret_file_that_cannot_be_read_is_an_error(tmp_path: Path) -> None:
    """The daemon reports it at start, not at the first request."""
    text = '[accounts.default]\napi_key_file = "absent"\n[server]\napi_token_file = "empty"'
    (tmp_path / "empty").write_text("\n", encoding="utf-8")
    fix = "make it readable, or choose another file"
    assert problems_of(tmp_path, text) == [
        "empty: server.api_token_file: the file is empty; write the secret into it",
        f"absent: accounts.default.api_key_file: cannot be read (No such file or directory); {fix}",
    ]
    assert load(tmp_path, text, serving=False).file is not None


def test_the_callback_secret_is_made_once_and_stored(tmp_path: Path) -> None:
    """If unset, it is created beside the store for this user only; if set, it is used."""
    text = f'[store]\npath = "{tmp_path}/state/tracker.db"'
    config = load(tmp_path, text)
    assert config.secrets() == []
    secret = config.callback_secret()
    made = tmp_path / "state" / "callback.secret"
    assert len(secret) >= 32
    assert stat.S_IMODE(made.stat().st_mode) == 0o600
    assert load(tmp_path, text).callback_secret() == secret
    assert config.secrets() == [secret.decode()]
    assert [path.name for path in made.parent.iterdir()] == ["callback.secret"]
    given = load(tmp_path, text, {"TRACKER_CALLBACK_SECRET": "a-fake-callback-secret"})
    assert given.callback_secret() == b"a-fake-callback-secret"


def test_an_unsafe_callback_secret_is_refused(tmp_path: Path) -> None:
    """Readable by others, or too short to be a secret."""
    config = load(tmp_path, "", {"STATE_DIRECTORY": str(tmp_path)})
    config.callback_secret()
    (tmp_path / "callback.secret").chmod(0o644)
    with pytest.raises(ConfigError, match="others can read this secret; run chmod 600"):
        config.callback_secret()
    with pytest.raises(ConfigError, match=r"TRACKER_CALLBACK_SECRET: .*shorter than 16 bytes"):
        load(tmp_path, "", {"TRACKER_CALLBACK_SECRET": "short"}).callback_secret()


def test_missing_secrets_are_listed(tmp_path: Path) -> None:
    """For a warning at start; the defaults work without them."""
    (line,) = load(tmp_path, "").missing_secrets()
    assert line == "accounts.default.api_key_env: ANYINT_API_KEY is not set; requests will be rejected"
    lines = load(tmp_path, '[callbacks]\nsecret_env = "CB"', {"ANYINT_API_KEY": "fake"}).missing_secrets()
    assert lines == ["callbacks.secret_env: CB is not set; a secret is created"]


# -- answers -------------------------------------------------------------------------------------------------


def test_paths_start_from_the_file(tmp_path: Path) -> None:
    """Relative paths do not depend on the working directory."""
    config = load(
        tmp_path,
        'hooks_dir = "h"\n[store]\npath = "~/t.db"\n' + HOOK.replace('["x"]', '["./x.sh", "./y"]'),
        {"HOME": "/home/u"},
    )
    assert config.hooks_path == tmp_path / "h"
    assert config.store_path == Path("/home/u/t.db")
    assert config.hooks[0].model_dump()["run"] == (str(tmp_path / "x.sh"), "./y")
    assert load(tmp_path, HOOK).hooks[0].model_dump()["run"] == ("x",)
    assert load(tmp_path, "").hooks_path == tmp_path / "hooks.d"
    assert Config().hooks_path is None


@pytest.mark.parametrize(
    ("env", "expected"),
    [
        ({"STATE_DIRECTORY": "/var/lib/tracker:/var/lib/other"}, "/var/lib/tracker/tracker.db"),
        ({"XDG_STATE_HOME": "/x", "HOME": "/home/u"}, "/x/tracker/tracker.db"),
        ({"HOME": "/home/u"}, "/home/u/.local/state/tracker/tracker.db"),
    ],
)
def test_default_store_path(env: dict[str, str], expected: str) -> None:
    """The state directory of the systemd service, else that of the user."""
    assert load_config(None, env).store_path == Path(expected)


def test_hooks_accept_one_name_or_several(tmp_path: Path) -> None:
    """Filters and events may be written without brackets."""
    hook = load(tmp_path, HOOK + 'provider = "suno"\nroute = ["a.b", "c.d"]\nlabels = { user = "4" }').hooks[0]
    assert (hook.provider, hook.route, hook.account) == (("suno",), ("a.b", "c.d"), ())
    assert hook.labels == {"user": "4"}
    assert load(tmp_path, HOOK.replace('["task.finished"]', '"task.*"')).hooks[0].on == ("task.*",)


def test_keys_without_effect_are_listed(tmp_path: Path) -> None:
    """Keys of a later release are valid; the start logs a warning."""
    assert load(tmp_path, "[archive]\nenabled = true\n[poll.suno]\ntick_s = 2").not_acted_on() == ["poll.suno.tick_s"]


@pytest.mark.parametrize(
    ("text", "wrong"),
    [
        ("s3://bucket/prefix", False),
        ("gs://bucket", False),
        ("https://bucket.example", True),
        ("s3://key:secret@bucket", True),
        ("s3://bucket?key=1", True),
        ("s3://", True),
    ],
)
def test_the_url_of_an_archive_is_a_bucket(tmp_path: Path, text: str, wrong: bool) -> None:
    """The scheme names the object store; the URL has no credentials."""
    if wrong:
        with pytest.raises(ConfigError, match=r"archive\.url"):
            load(tmp_path, f'[archive]\nurl = "{text}"')
    else:
        assert load(tmp_path, f'[archive]\nurl = "{text}/"').archive.url == text


@pytest.mark.parametrize(
    ("accounts", "expected"),
    [
        ("", "default"),
        ('[accounts.a]\napi_key_env="A"', "a"),
        ('[accounts.a]\napi_key_env="A"\n[accounts.b]\napi_key_env="B"', None),
    ],
)
def test_the_default_account(tmp_path: Path, accounts: str, expected: str | None) -> None:
    """`default`, or the only one; several without a default must be named."""
    assert load(tmp_path, accounts).default_account == expected


@pytest.mark.parametrize(
    ("text", "expected", "url"),
    [
        ("127.0.0.1:8780", Listen("127.0.0.1", 8780), "http://127.0.0.1:8780"),
        ("localhost:0", Listen("localhost", 0), "http://localhost:0"),
        ("[::1]:8780", Listen("::1", 8780), "http://[::1]:8780"),
        ("0.0.0.0:80", Listen("0.0.0.0", 80), "http://127.0.0.1:80"),
        ("[::]:80", Listen("::", 80), "http://[::1]:80"),
        ("unix:/run/t.sock", Listen(path=Path("/run/t.sock")), "unix:/run/t.sock"),
    ],
)
def test_listen_addresses(text: str, expected: Listen, url: str) -> None:
    """Each form is read, written the same again, and gives clients a URL."""
    assert parse_listen(text) == expected
    assert str(expected) == text
    assert expected.url == url


def test_a_path_that_is_too_long_for_a_socket_is_refused(tmp_path: Path) -> None:
    """The error has its length and the limit in bytes; the longest valid path is accepted."""
    longest = "/" + "é" * ((SOCKET_PATH_MAX - 1) // 2)
    longest += "x" * (SOCKET_PATH_MAX - len(longest.encode()))
    assert parse_listen(f"unix:{longest}").path == Path(longest)
    with pytest.raises(ConfigError) as refused:
        load(tmp_path, f'[server]\nlisten = "unix:{longest}x"')
    (problem,) = refused.value.problems
    assert f"its path has {SOCKET_PATH_MAX + 1} bytes, the maximum is {SOCKET_PATH_MAX}" in problem
    assert "server.listen" in problem


@pytest.mark.parametrize(
    "text", ["", "8780", ":8780", "h:", "h:x", "h:65536", "::1:80", "[h]:80", "unix:t", "http://h:1", "a b:1"]
)
def test_rejects_an_invalid_listen_address(text: str) -> None:
    """The message shows a valid one."""
    with pytest.raises(ValueError, match="; write"):
        parse_listen(text)


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("localhost", True),
        ("127.3.2.1", True),
        ("::1", True),
        ("::ffff:127.0.0.1", True),
        ("0.0.0.0", False),
        ("::", False),
        ("192.168.1.1", False),
        ("localhost.example.com", False),
        ("", False),
    ],
)
def test_is_loopback(host: str, expected: bool) -> None:
    """Only addresses of this machine; names are not looked up."""
    assert is_loopback(host) is expected


def test_the_configuration_does_not_change() -> None:
    """It is read once and passed down."""
    with pytest.raises(ValueError, match="frozen"):
        Config().environment = "x"  # type: ignore[misc]  # the mistake under test


def test_every_documented_section_is_in_the_interface_order() -> None:
    """The standard library alone can parse the file."""
    assert list(tomllib.loads(DOCUMENTED.read_text(encoding="utf-8"))) == [
        "server",
        "store",
        "accounts",
        "poll",
        "callbacks",
        "retention",
        "messages",
        "log",
    ]
