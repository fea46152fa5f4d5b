"""Checks the package structure: which package of `tracker` may import which other, and which libraries.

The imports are read from the source, wherever they are: at the top, inside a function, or under
`TYPE_CHECKING`. Code is never run, so a broken module does not hide problems of others.
"""

import ast
import graphlib
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import NamedTuple

import pytest

ANY = "*"
REPOSITORY = Path(__file__).parents[2]


class Rule(NamedTuple):
    """What the modules of one package may import, besides each other and the standard library."""

    packages: str
    """Packages of `tracker`. `store.protocol` is that one module; `store` is the complete package."""
    libraries: str
    """Third-party packages by import name."""


# fmt: off
RULES: Mapping[str, Rule] = {
    "errors":      Rule("", ""),
    "clock":       Rule("", ""),
    "filesystem":  Rule("errors",                                   ""),
    "domain":      Rule("errors",                                   "msgspec orjson"),
    "client":      Rule("errors domain",                            "aiohttp msgspec standardwebhooks"),
    "mcp":         Rule("client domain",                            "mcp mcp_types msgspec pydantic"),
    "logs":        Rule("errors",                                   "structlog orjson"),
    "config":      Rule("errors filesystem domain",         "pydantic"),
    "providers":   Rule("errors domain",                            "pydantic jmespath msgspec orjson"),
    "store":       Rule("errors filesystem logs domain",    "aiosqlite msgspec orjson structlog"),
    "upstream":    Rule("errors clock logs domain",                 "aiohttp msgspec orjson structlog"),
    "systemd":     Rule("errors domain logs",                       "aiohttp orjson"),
    "tracking":    Rule("errors clock logs domain config providers store.protocol store.values upstream",
                        "msgspec orjson structlog"),
    "maintenance": Rule("errors clock logs domain config providers store.protocol store.values upstream", ""),
    "hooks":       Rule("errors clock logs config domain store.protocol store.values upstream",
                        "aiohttp apprise orjson pluggy pydantic standardwebhooks structlog"),
    "archive":     Rule("errors filesystem clock logs domain store.protocol store.values upstream",
                        "aiohttp obstore structlog"),
    "server":      Rule("errors clock logs domain providers store.protocol store.values upstream tracking "
                        "hooks archive maintenance", "aiohttp msgspec orjson pydantic structlog"),
    "pages":       Rule("errors clock logs domain providers store.protocol store.values tracking server",
                        "aiohttp jinja2 markupsafe multidict orjson"),
    "metrics":     Rule("errors clock logs domain providers store.protocol store.tallies upstream tracking hooks "
                        "archive", "prometheus_client"),
    "tracing":     Rule("clock domain store.protocol store.values tracking hooks archive",  "opentelemetry"),
    "sandbox":     Rule("",                                         "aiohttp jmespath orjson"),
    "daemon":      Rule("* -cli -demo -sandbox",                    "*"),
    "demo":        Rule("* -cli",                                       "*"),
    "cli":         Rule("*",                                        "*"),
    "__main__":    Rule("cli", ""),
    "__init__":    Rule("", ""),
}
# fmt: on

# Only here may a driver be named, whatever the table above says.
DRIVERS = {"sqlite3", "aiosqlite"}
DRIVER_HOME = "store.sqlite"

# The composition root, and the commands that work on the file without a daemon. All others use the protocol only.
ENGINE_USERS = {"daemon.app", "daemon.parts"} | {
    f"cli.{name}" for name in ("backup_commands", "db_commands", "doctor", "local_checks", "offline", "store_identity")
}

# Pure packages: their functions get times, random numbers and data as arguments.
PURE = {"domain", "providers"}
IMPURE_MODULES = {"asyncio", "os", "random", "secrets", "socket", "time"}
IMPURE_CALLS = {"now", "today", "utcnow", "uuid1", "uuid4"}

# Meaningless module names attract unrelated code.
MAX_LEVELS = 10
MAX_TOP_MODULES = 5
MAX_LINES = 400

NAMELESS = {"common", "helpers", "types", "utils"}


@dataclass(frozen=True, slots=True)
class Module:
    """One source file of the package.

    Attributes:
        name: Dotted, below `tracker`: `store.sqlite.writer`; `store` is `store/__init__.py`.
        path: The file, for messages.
        is_package: Whether relative imports start here rather than one level up.
        nodes: The parsed source, each node once.
    """

    name: str
    path: Path
    is_package: bool
    nodes: tuple[ast.AST, ...]

    @property
    def package(self) -> str:
        """The package or top-level module this module belongs to."""
        return self.name.partition(".")[0]


@cache
def read_modules(package: Path) -> tuple[Module, ...]:
    """Parse every module below the directory of `tracker`, in a stable order."""
    modules = []
    for path in sorted(package.rglob("*.py")):
        parts = path.relative_to(package).with_suffix("").parts
        is_package = parts[-1] == "__init__"
        name = ".".join(parts[:-1] if is_package and len(parts) > 1 else parts)
        tree = ast.parse(path.read_text(encoding="utf-8"), filename=str(path))
        modules.append(Module(name, path, is_package, tuple(ast.walk(tree))))
    return tuple(modules)


def find_violations(package: Path) -> list[str]:
    """Return one line for each thing under `package` that the tables above do not allow.

    Args:
        package: The directory of the `tracker` package.
    """
    modules = read_modules(package)
    known = {module.name for module in modules}
    violations = []
    for module in modules:
        where = module.path.relative_to(package.parent)
        problems = [*check_name(module), *check_imports(module, known), *check_purity(module)]
        violations += [f"{where}:{line}: {problem}" for line, problem in sorted(problems)]
    return violations


def check_name(module: Module) -> Iterator[tuple[int, str]]:
    """Every module belongs to a package of the table, and its name says what it is for."""
    if module.package not in RULES:
        yield 1, f"package {module.package!r} is not in the table of tests/unit/test_imports.py"
    for part in module.name.split("."):
        if part in NAMELESS:
            yield 1, f"a module named {part!r} says nothing: name its job"


def check_imports(module: Module, known: set[str]) -> Iterator[tuple[int, str]]:
    """Every import follows an arrow of the table."""
    rule = RULES.get(module.package, Rule("", ""))
    for line, target in list_imports(module, known):
        top, _, inner = target.partition(".")
        arrow = f"{module.name} -> {target}"
        if top == "tracker":
            if inner and not is_arrow(module.package, rule.packages.split(), inner):
                yield line, f"{arrow}: package {module.package!r} may import {rule.packages or 'no other package'}"
            elif is_inside(inner, DRIVER_HOME) and not is_engine_user(module.name):
                yield line, f"{arrow}: of these only {', '.join(sorted(ENGINE_USERS))} may import {DRIVER_HOME}"
        elif top in DRIVERS and not is_inside(module.name, DRIVER_HOME):
            yield line, f"{arrow}: only {DRIVER_HOME} may import {top}"
        elif top not in sys.stdlib_module_names and top not in rule.libraries.split() and rule.libraries != ANY:
            yield line, f"{arrow}: package {module.package!r} may use {rule.libraries or 'no library'}"


def is_engine_user(name: str) -> bool:
    """Whether a module may import the engine."""
    return is_inside(name, DRIVER_HOME) or name in ENGINE_USERS


def test_the_table_names_only_modules_that_use_the_engine() -> None:
    """A module that no longer imports the engine loses the right to."""
    modules = read_modules(REPOSITORY / "tracker")
    imports = map_imports(modules, lambda name: name)
    users = {name for name, below in imports.items() if any(is_inside(target, DRIVER_HOME) for target in below)}
    assert {name for name in users if not is_inside(name, DRIVER_HOME)} == ENGINE_USERS


def check_purity(module: Module) -> Iterator[tuple[int, str]]:
    """Pure packages do not wait, read clocks, draw random numbers or use the operating system."""
    if module.package not in PURE:
        return
    for node in module.nodes:
        match node:
            case ast.AsyncFunctionDef() | ast.Await():
                yield node.lineno, f"{module.package!r} never waits: no async def, no await"
            case ast.Call(func=ast.Attribute(attr=name) | ast.Name(id=name)) if name in IMPURE_CALLS:
                yield node.lineno, f"{module.package!r} computes only: take {name}() as an argument"
            case _:
                pass
    for line, target in list_imports(module, set()):
        if target.partition(".")[0] in IMPURE_MODULES:
            yield line, f"{module.package!r} computes only: no import of {target}"


def list_imports(module: Module, known: set[str]) -> Iterator[tuple[int, str]]:
    """Yield the line and the absolute dotted name of everything a module imports.

    `from tracker.store import protocol` names the module `tracker.store.protocol` if there is one, and
    else something that `tracker.store` holds; `known` decides.
    """
    for node in module.nodes:
        match node:
            case ast.Import(names=names):
                yield from ((node.lineno, alias.name) for alias in names)
            case ast.ImportFrom(module=source, names=names, level=level):
                base = absolute(module, source, level)
                for alias in names:
                    full = f"{base}.{alias.name}"
                    is_module = full.removeprefix("tracker.") in known
                    yield node.lineno, full if is_module else base
            case ast.Call(
                func=ast.Attribute(attr="import_module") | ast.Name(id="import_module" | "__import__"),
                args=[ast.Constant(value=str(name)), *_],
            ):
                yield node.lineno, name
            case _:
                pass


def absolute(module: Module, source: str | None, level: int) -> str:
    """Resolve what a `from … import` names, relative to its module."""
    if level == 0:
        return source or ""
    parts = ["tracker", *module.name.split(".")]
    if module.name == "__init__":
        parts = ["tracker", "__init__"]
    elif module.is_package:
        parts.append("__init__")
    return ".".join([*parts[:-level], *([source] if source else [])])


def is_arrow(package: str, allowed: list[str], target: str) -> bool:
    """Whether a module of `package` may import `target`, both named below `tracker`."""
    if is_inside(target, package):
        return True
    if any(is_inside(target, name[1:]) for name in allowed if name.startswith("-")):
        return False
    return any(name == ANY or is_inside(target, name) for name in allowed)


def is_inside(name: str, home: str) -> bool:
    """Whether a dotted name is `home` or lies below it."""
    return name == home or name.startswith(f"{home}.")


def test_every_import_follows_the_table() -> None:
    """No module of tracker imports, waits or is named in a way the tables do not allow."""
    violations = find_violations(REPOSITORY / "tracker")
    assert not violations, "\n" + "\n".join(violations)


def test_the_table_names_only_packages_it_has() -> None:
    """A misspelt package in the table would forbid what it is meant to allow."""
    named = {name.lstrip("-").partition(".")[0] for rule in RULES.values() for name in rule.packages.split()}
    assert named <= {*RULES, ANY}


def test_modules_have_no_import_cycle() -> None:
    """Imports between modules have no cycle, type-only imports included."""
    modules = read_modules(REPOSITORY / "tracker")
    imports = map_imports(modules, lambda name: name)
    graphlib.TopologicalSorter(imports).prepare()


def test_the_levels_of_packages_are_few() -> None:
    """Each package, and each module directly in `tracker`, is one level above all that it imports."""
    modules = read_modules(REPOSITORY / "tracker")
    imports = map_imports(modules, lambda name: name.partition(".")[0])
    levels: dict[str, int] = {}
    for package in graphlib.TopologicalSorter(imports).static_order():
        levels[package] = 1 + max((levels[below] for below in imports.get(package, ())), default=0)
    assert max(levels.values()) <= MAX_LEVELS, sorted(levels.items(), key=lambda item: item[1])


def test_few_modules_are_outside_of_packages() -> None:
    """Readers see packages first."""
    directly = sorted(path.name for path in (REPOSITORY / "tracker").glob("*.py"))
    assert len(directly) <= MAX_TOP_MODULES, directly


def test_no_file_is_long() -> None:
    """A file that needs more lines has two jobs."""
    lengths = {path: path.read_text(encoding="utf-8").count("\n") for path in (REPOSITORY / "tracker").rglob("*.py")}
    long = {str(path.relative_to(REPOSITORY)): length for path, length in lengths.items() if length > MAX_LINES}
    assert not long


def map_imports(modules: Sequence[Module], name_of: Callable[[str], str]) -> dict[str, set[str]]:
    """Importer -> what it imports of `tracker`, both named by `name_of` of the dotted module name."""
    known = {module.name for module in modules}
    imports: dict[str, set[str]] = {}
    for module in modules:
        below = imports.setdefault(name_of(module.name), set())
        for _line, target in list_imports(module, known):
            top, _, inner = target.partition(".")
            if top == "tracker" and (inner or "__init__") in known:
                below.add(name_of(inner or "__init__"))
        below.discard(name_of(module.name))
    return imports


@pytest.mark.parametrize(
    ("file", "source", "expected"),
    [
        ("domain/task.py", "from tracker.store import Store", "package 'domain' may import errors"),
        ("domain/task.py", "import tracker.store.protocol", "domain.task -> tracker.store.protocol"),
        ("domain/task.py", "def f():\n    import tracker.clock", "tracker/domain/task.py:2: "),
        ("domain/task.py", "if TYPE_CHECKING:\n    from ..clock import Clock", "-> tracker.clock"),
        ("domain/__init__.py", "from ..clock import Clock", "domain -> tracker.clock"),
        ("domain/task.py", "from .. import clock", "domain.task -> tracker.clock"),
        ("domain/task.py", "importlib.import_module('tracker.clock')", "domain.task -> tracker.clock"),
        ("domain/task.py", "import pydantic", "package 'domain' may use msgspec orjson"),
        ("clock.py", "import tracker.errors", "package 'clock' may import no other package"),
        ("clock.py", "import orjson", "package 'clock' may use no library"),
        ("tracking/reconciler.py", "from tracker.store import Store", "tracking.reconciler -> tracker.store:"),
        ("tracking/reconciler.py", "from tracker.store import sqlite", "-> tracker.store.sqlite"),
        ("daemon/app.py", "from tracker import cli", "daemon.app -> tracker.cli"),
        ("daemon/app.py", "from tracker.sandbox.server import x", "daemon.app -> tracker.sandbox.server"),
        ("daemon/app.py", "import sqlite3", "only store.sqlite may import sqlite3"),
        ("cli/main.py", "import aiosqlite", "only store.sqlite may import aiosqlite"),
        ("cli/main.py", "from tracker.store.sqlite import S", "cli.main -> tracker.store.sqlite: of these only cli."),
        (
            "daemon/health.py",
            "from tracker.store import sqlite",
            "-> tracker.store.sqlite: of these only",
        ),
        ("store/protocol.py", "import tracker.store.sqlite.rows", "store.protocol -> tracker.store.sqlite.rows: of"),
        ("store/protocol.py", "from sqlite3 import Row", "only store.sqlite may import sqlite3"),
        ("store/sqlite_tools.py", "import sqlite3", "only store.sqlite may import sqlite3"),
        ("domain/task.py", "async def f() -> None: ...", "never waits"),
        ("providers/kling.py", "import time", "no import of time"),
        ("providers/kling.py", "from os import environ", "no import of os"),
        ("providers/kling.py", "import asyncio.tasks", "no import of asyncio.tasks"),
        ("domain/task.py", "x = datetime.datetime.now(UTC)", "take now() as an argument"),
        ("domain/task.py", "x = datetime.utcnow()", "take utcnow()"),
        ("domain/task.py", "x = uuid4()", "take uuid4()"),
        ("store/utils.py", "", "'utils' says nothing"),
        ("helpers/__init__.py", "", "'helpers' says nothing"),
        ("attic.py", "", "package 'attic' is not in the table"),
    ],
)
def test_finds_what_the_table_forbids(tmp_path: Path, file: str, source: str, expected: str) -> None:
    """The checker names file, line and arrow of each forbidden thing in a small example tree."""
    package = make_package(tmp_path, {file: source})
    violations = find_violations(package)
    assert any(expected in violation for violation in violations), violations
    assert all(violation.startswith(f"tracker/{file}:") for violation in violations)


@pytest.mark.parametrize(
    ("file", "source"),
    [
        ("domain/task.py", "import orjson\nfrom datetime import datetime\nfrom tracker.errors import X"),
        ("domain/task.py", "from . import status\nfrom .status import Status\nfrom ..errors import X"),
        ("domain/__init__.py", "from .task import Task\nfrom tracker import __version__"),
        ("domain/task.py", "x = datetime.fromtimestamp(0, UTC)"),
        ("tracking/reconciler.py", "import time\nfrom tracker.store import protocol"),
        ("tracking/reconciler.py", "from tracker.store.protocol import Store"),
        ("store/sqlite/writer.py", "import sqlite3, aiosqlite"),
        ("store/sqlite.py", "import sqlite3"),
        ("daemon/app.py", "import uvloop\nfrom tracker import config, store\nfrom tracker.store.sqlite import S"),
        ("cli/main.py", "import rich\nimport tracker.daemon.app, tracker.sandbox"),
        ("__main__.py", "from tracker.cli.main import main"),
    ],
)
def test_accepts_what_the_table_allows(tmp_path: Path, file: str, source: str) -> None:
    """The checker accepts allowed imports, however they are written."""
    assert find_violations(make_package(tmp_path, {file: source})) == []


def make_package(parent: Path, files: Mapping[str, str]) -> Path:
    """Write a small `tracker` package that already has the packages the cases import from."""
    package = parent / "tracker"
    present = ["__init__.py", "clock.py", "cli/__init__.py", "store/__init__.py", "store/protocol.py"]
    present += ["store/sqlite/__init__.py"] if "store/sqlite.py" not in files else []
    for name, source in {**dict.fromkeys(present, ""), **files}.items():
        path = package / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(source, encoding="utf-8")
    return package
