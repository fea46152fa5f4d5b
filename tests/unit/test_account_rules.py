"""Which account a task may use: a key never goes to another company's address by accident."""

from __future__ import annotations

from collections.abc import Collection

import pytest

from tracker.errors import RequestInvalid
from tracker.providers.route import Route
from tracker.tracking.accounts import AccountRules


def route(name: str, account: str | None = None) -> Route:
    """A route; with an account one of a declared provider."""
    return Route(name, "POST /v1/x", "GET /v1/x/{task_id}", "video", "https://x.example", {}, account=account)


KLING = route("kling.video")
LUMEN = route("lumen.video", "lumen")
SHARED = route("shared.video", "default")
FILED = route("filed.video", "purse")


def rules(names: Collection[str]) -> AccountRules:
    """The rules for four providers."""
    return AccountRules([KLING, LUMEN, SHARED, FILED], names)


@pytest.mark.parametrize(
    ("wanted", "named", "names", "chosen"),
    [
        (KLING, None, ["default", "lumen"], "default"),
        (KLING, None, ["main", "lumen"], "main"),
        (KLING, None, ["purse"], "purse"),
        (KLING, "second", ["default", "second"], "second"),
        (KLING, "default", ["default"], "default"),
        (LUMEN, None, ["default", "lumen"], "lumen"),
        (LUMEN, "lumen-eu", ["default", "lumen-eu"], "lumen-eu"),
        (LUMEN, "default", ["default"], "default"),
        (SHARED, None, ["default"], "default"),
        (SHARED, "shared", ["default", "shared"], "shared"),
        (FILED, None, ["default", "purse"], "purse"),
        (FILED, "filed", ["purse", "filed"], "filed"),
    ],
)
def test_chosen(wanted: Route, named: str | None, names: list[str], chosen: str) -> None:
    """A built-in route uses the default account; a declared one its own; a name in the request wins."""
    default = "default" if "default" in names else names[0] if len(names) == 1 else None
    assert rules(names).choose(wanted, named, default) == chosen


@pytest.mark.parametrize(
    ("wanted", "named", "names", "expected"),
    [
        (LUMEN, None, ["default"], "provider lumen has no account; add [accounts.lumen] with base_url and api_key_env"),
        (FILED, None, ["default", "filed"], "provider filed has no account; add [accounts.purse] with base_url"),
        (KLING, "lumen", ["default", "lumen"], "account 'lumen' belongs to provider lumen: its key and address"),
        (KLING, "purse", ["default", "purse"], "account 'purse' belongs to provider filed: its key and address"),
        (LUMEN, "purse", ["lumen", "purse"], 'write account = "purse" into the file of that provider'),
        (KLING, None, ["lumen"], "no account is for kling; add [accounts.default] with base_url and api_key_env"),
        (KLING, None, ["lumen", "purse"], "no account is for kling; add [accounts.default]"),
        (KLING, None, ["a", "b", "lumen"], "must be named; configured accounts: a, b"),
        (LUMEN, "lumne", ["default", "lumen"], "no such account: lumne; did you mean lumen?"),
        (LUMEN, "default", ["lumen"], "no such account: default; configured accounts: lumen"),
    ],
)
def test_refused(wanted: Route, named: str | None, names: list[str], expected: str) -> None:
    """No account, or one that belongs to another provider: refused with a message that names the fix."""
    default = "default" if "default" in names else names[0] if len(names) == 1 else None
    with pytest.raises(RequestInvalid) as caught:
        rules(names).choose(wanted, named, default)
    (problem,) = caught.value.problems
    assert problem.loc == ("account",)
    assert expected in problem.msg


@pytest.mark.parametrize(
    ("wanted", "account", "names", "is_named", "expected"),
    [
        (LUMEN, "default", ["default", "lumen"], False, "may have been chosen for it by mistake"),
        (LUMEN, "main", ["main"], False, "may have been chosen for it by mistake"),
        (LUMEN, "default", ["default", "lumen"], True, None),
        (LUMEN, "lumen-eu", ["default", "lumen-eu"], False, None),
        (LUMEN, "lumen", ["default", "lumen"], False, None),
        (SHARED, "default", ["default"], False, None),
        (KLING, "default", ["default", "lumen"], False, None),
        (KLING, "lumen", ["default", "lumen"], False, "belongs to provider lumen"),
        (KLING, "lumen", ["default", "lumen"], True, "belongs to provider lumen"),
    ],
)
def test_recorded_creates(wanted: Route, account: str, names: list[str], is_named: bool, expected: str | None) -> None:
    """A create that an earlier release recorded with the default account is not sent to another provider with it."""
    default = "default" if "default" in names else names[0] if len(names) == 1 else None
    objection = rules(names).objection(wanted, account, default, is_named=is_named)
    assert (objection is None) if expected is None else (expected in str(objection))


def test_lists_of_models_and_missing_accounts() -> None:
    """An account of a declared provider has no lists of models; a provider without one is named. A reload counts."""
    names = ["default", "lumen"]
    known = rules(names)
    assert [name for name in ("default", "lumen", "other") if known.serves_builtin(name)] == ["default", "other"]
    assert [line.partition(";")[0] for line in known.list_missing()] == ["provider filed has no account"]
    names.remove("lumen")
    assert [line.partition(";")[0] for line in known.list_missing()] == [
        "provider filed has no account",
        "provider lumen has no account",
    ]
