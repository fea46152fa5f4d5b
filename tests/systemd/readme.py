"""The commands of the console blocks of systemd/README.md, as scripts."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

README: Final = Path(__file__).parents[2] / "systemd" / "README.md"


def read_blocks() -> list[str]:
    """The commands of each console block, as one script; root's prompt is ``#``."""
    text = README.read_text(encoding="utf-8")
    blocks = re.findall(r"^```console\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    return ["\n".join(_commands(block)) for block in blocks]


def _commands(block: str) -> list[str]:
    lines = block.splitlines()
    strange = [line for line in lines if not line.startswith("# ")]
    assert not strange, f"neither a command nor its output: {strange}"
    return [line.removeprefix("# ") for line in lines]
