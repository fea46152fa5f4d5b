"""User-defined providers: reads the files of ``providers.d/`` and adds what they define to the built-in ones.

Owns the reading, also of the files that come with the program; these define nothing until they are copied. Must not
know the format: `tracker.providers.declared` does.
"""

from __future__ import annotations

from importlib import resources
from importlib.resources.abc import Traversable
from pathlib import Path

from tracker.domain.text import NotText, read_text
from tracker.errors import ConfigError
from tracker.filesystem import is_directory
from tracker.providers.declared import load_declared
from tracker.providers.declared.load import SUFFIX
from tracker.providers.registry import PROVIDERS, Registry


def list_shipped() -> dict[str, Traversable]:
    """The provider files that are shipped with the program, by the name of their provider."""
    directory = resources.files("tracker.providers.declared").joinpath("shipped")
    files = sorted(directory.iterdir(), key=lambda file: file.name)
    return {file.name.removesuffix(SUFFIX): file for file in files if file.name.endswith(SUFFIX)}


def read_registry(directory: Path | None) -> Registry:
    """All providers: the built-in ones and those that the TOML files of a directory define.

    Args:
        directory: the directory of the files; None or a missing directory for none.

    Raises:
        ConfigError: directory or file cannot be read, or is wrong; one line per mistake, with file and line.
    """
    return Registry(load_declared(read_files(directory), (provider.name for provider in PROVIDERS)))


def read_files(directory: Path | None) -> dict[str, str]:
    """The texts of the provider files of a directory, by path.

    Raises:
        ConfigError: directory or file cannot be read; one line per mistake.
    """
    if directory is None or not is_directory(directory, "set providers_dir"):
        return {}
    files: dict[str, str] = {}
    problems: list[str] = []
    for path in sorted(directory.glob(f"*{SUFFIX}")):
        if path.name.startswith("."):  # leftovers of editors and file systems
            continue
        try:
            files[str(path)] = read_text(path)
        except OSError as error:
            problems.append(f"{path}: cannot be read ({error.strerror}); make it readable, or move it elsewhere")
        except NotText as error:
            problems.append(f"{path}: {error}")
    if problems:
        raise ConfigError(problems)
    return files
