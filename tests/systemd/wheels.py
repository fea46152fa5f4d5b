"""Wheels of the packages that the tests run with, for an installation without a network.

Owns packing what is installed again. The hashes of the lock file were checked when it was installed.
"""

from __future__ import annotations

import re
import zipfile
from importlib.metadata import Distribution, distribution
from pathlib import Path

from packaging.markers import Marker

_PIN = re.compile(r"^(?P<name>[A-Za-z0-9._-]+)==\S+(?: ; (?P<marker>[^\\]+?))? \\$")


def pack_wheels(locks: list[Path], directory: Path) -> None:
    """Write a wheel of each package that the lock files list, as far as their markers hold here."""
    for lock in locks:
        for line in lock.read_text(encoding="utf-8").splitlines():
            pin = _PIN.match(line)
            if pin and (pin["marker"] is None or Marker(pin["marker"]).evaluate()):
                _pack(distribution(pin["name"]), directory)


def _pack(package: Distribution, directory: Path) -> None:
    info = package.read_text("WHEEL") or ""
    # a wheel's file name lists its tags compressed; one of them is enough here
    tag = re.findall(r"^Tag: (\S+)", info, re.MULTILINE)[-1]
    name = re.sub(r"[-_.]+", "_", package.metadata["Name"])
    files = {
        str(file): Path(str(file.locate()))
        for file in package.files or ()
        if not str(file).startswith("..") and file.suffix != ".pyc"
    }
    unwanted = {"RECORD", "INSTALLER", "REQUESTED", "direct_url.json"}
    files = {path: source for path, source in files.items() if Path(path).name not in unwanted}
    (record,) = [str(file) for file in package.files or () if file.name == "RECORD"]
    with zipfile.ZipFile(directory / f"{name}-{package.version}-{tag}.whl", "w") as wheel:
        for path, source in files.items():
            wheel.write(source, path)
        wheel.writestr(record, "".join(f"{path},,\n" for path in [*files, record]))
