"""A client of the stream as a process: ``python -m tests.acceptance.stream_client URL FILE``.

It appends the seq of each event to the file, after which the event counts as handled, and begins after the last one.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from tracker.client import Client, GapView


def main() -> None:
    """Follow the stream until it is killed."""
    url, path = sys.argv[1], Path(sys.argv[2])
    known = path.read_text().split() if path.exists() else []
    handled = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    for event in Client(url).stream(int(known[-1]) if known else 0):
        line = f"gap {event}\n" if isinstance(event, GapView) else f"{event.seq}\n"
        os.write(handled, line.encode())  # one write: a kill leaves no part of a line


if __name__ == "__main__":
    main()
