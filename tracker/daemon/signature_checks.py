"""The configured signature schemes of callbacks: problems with their secrets, and the check of a callback.

Must not know the schemes themselves, see `tracker.providers.signatures`. They must not know the configuration.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

from tracker.providers.signatures import find_secret_problem, verify

if TYPE_CHECKING:
    from tracker.clock import Clock
    from tracker.config import Config

SignatureCheck = Callable[[str, Mapping[str, str], bytes, Sequence[str]], bool]
"""See `tracker.server.services.Services.check_signature`."""


def list_signature_problems(config: Config) -> list[str]:
    """One line for each secret that is missing or unusable: all callbacks would be rejected, or all accepted."""
    problems = []
    for name, scheme in _schemes(config).items():
        rules = config.callback_rules(name)
        secrets = (config.provider_secret(name) or "").split()
        where = f"{config.file or 'configuration'}: callbacks.{name}"
        if not secrets:
            problems.append(f"{where}: scheme {scheme!r} needs its secret; set {rules.secret_env or rules.secret_file}")
        problems += [f"{where}: {wrong}" for secret in secrets if (wrong := find_secret_problem(scheme, secret))]
    return list(dict.fromkeys(problems))


def make_signature_check(config: Config, clock: Clock) -> SignatureCheck | None:
    """The check of signed callbacks; None if no provider has a scheme."""
    schemes = _schemes(config)
    if not schemes:
        return None

    def check(provider: str, headers: Mapping[str, str], body: bytes, task_ids: Sequence[str]) -> bool:
        scheme = schemes.get(provider)
        if scheme is None:
            return False
        secrets = (config.provider_secret(provider) or "").split()  # read each time: a rotated secret applies at once
        return verify(scheme, secrets, headers, body, task_ids, clock.now()).confirm

    return check


def _schemes(config: Config) -> dict[str, str]:
    return {name: rules.scheme for name, rules in config.callbacks.providers.items() if rules.scheme != "none"}
