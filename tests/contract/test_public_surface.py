"""The public surface is unchanged: HTTP, commands, views, configuration and the environment of hook scripts.

`public_surface.json` holds the surface as it was recorded; a change of what is there is either a fault or listed below
with its reason. Prose (summaries, descriptions, help texts) is not part of it. To record an addition, or what is listed
once it was published: ``python -m tests.contract.test_public_surface``.
"""

import contextlib
import inspect
import json
import re
import sqlite3
import tomllib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import click

import tracker.client
from tests.kits.clock import START
from tests.kits.hooks import make_hook
from tracker.cli.main import cli
from tracker.client import AsyncClient, Client
from tracker.config import Config
from tracker.domain.hook_events import EVENTS
from tracker.hooks.kinds.script import ScriptAction
from tracker.hooks.running.environment import script_environment
from tracker.hooks.trial import sample_job
from tracker.server.openapi import describe
from tracker.server.operations import OPERATIONS
from tracker.store.sqlite.schema import migrations

RECORDED = Path(__file__).with_name("public_surface.json")
REPOSITORY = Path(__file__).parents[2]
PROSE = {"title", "description", "summary", "tags", "examples", "example"}
ONE_KEY = re.compile(r"^(# )?(\[?[a-z][\w.\"-]*\]?(?: = .+)?)$")

INTENDED: Mapping[str, str] = {}
"""Prefix of a path of the flattened surface -> why everything below it differs from the recorded surface."""


def test_the_surface_is_the_recorded_one() -> None:
    """Whatever differs is listed as intended, and whatever is listed differs."""
    before, now = flatten(json.loads(RECORDED.read_text(encoding="utf-8"))), flatten(surface())
    changed = sorted(path for path in before.keys() | now.keys() if before.get(path) != now.get(path))
    unlisted = [path for path in changed if not path.startswith(tuple(INTENDED))]
    assert not unlisted, "\n".join(f"{path}: {before.get(path)} -> {now.get(path)}" for path in unlisted)
    stale = [listed for listed in INTENDED if not any(path.startswith(listed) for path in changed)]
    assert not stale, f"listed, but the same as before: {stale}"


def surface() -> dict[str, dict[str, Any]]:
    """Everything that users and other programs rely on, without prose."""
    return {
        **http_surface(),
        "commands": dict(command_surface(cli, click.Context(cli, info_name="tracker"))),
        "views": view_surface(),
        "configuration": configuration_surface(),
        "python": dict(python_surface()),
        "hook environment": dict.fromkeys(hook_environment(), "text"),
    }


def python_surface() -> Iterator[tuple[str, Any]]:
    """The names of `tracker.client`, with the parameters of functions and methods."""
    for name in tracker.client.__all__:
        value = getattr(tracker.client, name)
        if name in {"Client", "AsyncClient"}:
            yield name, {"()": parameters_of(value)} | dict(methods_of(value))
        else:
            yield name, parameters_of(value) if inspect.isfunction(value) else "record or error"


def methods_of(client: type) -> Iterator[tuple[str, str]]:
    """The public methods of a client."""
    for name, method in inspect.getmembers(client, inspect.isfunction):
        if not name.startswith("_"):
            yield name, parameters_of(method)


def parameters_of(function: Callable[..., Any]) -> str:
    """The parameters without their types."""
    parameters = inspect.signature(function).parameters.values()
    bare = [one.replace(annotation=inspect.Parameter.empty) for one in parameters if one.name != "self"]
    return str(inspect.Signature(bare))


def test_both_clients_have_the_same_methods() -> None:
    """With the same parameters; the one for asyncio is closed, too."""
    blocking, asynchronous = (dict(methods_of(client)) for client in (Client, AsyncClient))
    assert blocking | {"close": "()"} == asynchronous
    assert parameters_of(Client) == parameters_of(AsyncClient)


def http_surface() -> dict[str, Any]:
    """The OpenAPI document with its references resolved, so that names of schemas are free."""
    document = describe(OPERATIONS)
    schemas = document["components"]["schemas"]
    return {part: resolve(document[part], schemas, ()) for part in ("paths", "webhooks")}


def resolve(value: Any, schemas: Mapping[str, Any], above: tuple[str, ...]) -> Any:  # noqa: ANN401 - JSON of any shape
    """JSON Schema without prose and references; one that leads back into itself is cut."""
    if isinstance(value, dict):
        reference = value.get("$ref")
        if isinstance(reference, str):
            name = reference.rpartition("/")[2]
            return "recursive" if name in above else resolve(schemas[name], schemas, (*above, name))
        # a property may be called like a keyword, for example `title`
        names = {
            key: resolve_properties(item, schemas, above)
            if key == "properties"
            else sorted(item)
            if key == "required" and isinstance(item, list)
            else resolve(item, schemas, above)
            for key, item in value.items()
            if key not in PROSE
        }
        alternatives = names.get("anyOf") or names.get("oneOf")
        return [alternatives] if alternatives and len(names) == 1 else names
    if isinstance(value, list):
        return [resolve(item, schemas, above) for item in value]
    return value


def resolve_properties(properties: Mapping[str, Any], schemas: Mapping[str, Any], above: tuple[str, ...]) -> Any:  # noqa: ANN401
    """The schemas of an object's properties."""
    return {name: resolve(schema, schemas, above) for name, schema in properties.items()}


def command_surface(group: click.Group, context: click.Context) -> Iterator[tuple[str, Any]]:
    """The parameters of each command."""
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        assert command is not None, name
        below = click.Context(command, info_name=name, parent=context)
        yield (
            below.command_path,
            {
                " ".join([*parameter.opts, *parameter.secondary_opts]): {
                    "required": parameter.required,
                    "multiple": parameter.multiple,
                    "nargs": parameter.nargs,
                    "type": parameter.type.name,
                    "choices": sorted(getattr(parameter.type, "choices", [])),
                    "is_flag": getattr(parameter, "is_flag", False),
                }
                for parameter in command.params  # without --help
            },
        )
        if isinstance(command, click.Group):
            yield from command_surface(command, below)


def view_surface() -> dict[str, dict[str, str]]:
    """Columns and types of each view of a new database."""
    with contextlib.closing(sqlite3.connect(":memory:")) as connection:
        for _number, script in migrations():
            connection.executescript(script)
        views = [name for (name,) in connection.execute("SELECT name FROM sqlite_schema WHERE type = 'view'")]
        columns = "SELECT name, type FROM pragma_table_info(?)"
        return {view: dict(connection.execute(columns, [view]).fetchall()) for view in views}


def configuration_surface() -> dict[str, Any]:
    """The defaults, and every key of the file that ``tracker config init`` writes with its value there."""
    text = (REPOSITORY / "tracker/config/tracker.toml").read_text(encoding="utf-8")
    section, keys = "", {}
    for line in text.splitlines():
        if not (found := ONE_KEY.match(line)):
            continue
        commented, content = found.groups()
        if content.startswith("["):
            section = content
        elif " = " in content:
            key, _, value = content.partition(" = ")
            keys[f"{section} {key}{' (commented out)' if commented else ''}"] = value.partition(" #")[0]
    return {
        "defaults": Config().model_dump(mode="json", exclude={"state_dir"}),
        "file": tomllib.loads(text),
        "keys": keys,
    }


def hook_environment() -> list[str]:
    """The variables of a hook script."""
    job = sample_job(make_hook("h", ("task.*",), ScriptAction.of(["-"])), EVENTS[0], START)
    return sorted(script_environment(job, {}))


def flatten(value: Any, path: str = "") -> dict[str, Any]:  # noqa: ANN401 - JSON of any shape
    """Path -> leaf of nested JSON; an empty object or list is a leaf."""
    if isinstance(value, dict | list) and value:
        # the order of an enumeration has no meaning
        items = (
            value.items() if isinstance(value, dict) else enumerate(sorted(value) if path.endswith("/enum") else value)
        )
        return {inner: leaf for key, item in items for inner, leaf in flatten(item, f"{path}/{key}").items()}
    return {path: value}


def record(found: Mapping[str, Mapping[str, Any]]) -> None:
    """Write the surface, one line for each path, command or view."""
    parts = []
    for part, entries in found.items():
        lines = [f"  {json.dumps(name)}: {json.dumps(entry, sort_keys=True)}" for name, entry in entries.items()]
        parts.append(f" {json.dumps(part)}: {{\n" + ",\n".join(lines) + "\n }")
    RECORDED.write_text("{\n" + ",\n".join(parts) + "\n}\n", encoding="utf-8")


if __name__ == "__main__":
    record(surface())
