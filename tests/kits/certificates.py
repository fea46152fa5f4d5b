"""A certificate that a test server makes for itself."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest


def make_certificate(directory: Path, names: str) -> None:
    """Write ``cert.pem`` and ``key.pem``, or skip the test without the program openssl.

    Args:
        directory: for both files.
        names: the subject alternative names, as openssl spells them: ``DNS:example.com,IP:127.0.0.1``.
    """
    if shutil.which("openssl") is None:
        pytest.skip("NOT TESTED: openssl is not installed, so no certificate can be made")
    made = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=test"]
    files = ["-keyout", str(directory / "key.pem"), "-out", str(directory / "cert.pem")]
    subprocess.run([*made, "-addext", f"subjectAltName={names}", *files], check=True, capture_output=True)
