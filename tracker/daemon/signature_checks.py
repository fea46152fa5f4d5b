"""Which callbacks have to be signed, and the check of each: the configuration joined with the arithmetic.

Owns what is wrong with a configured scheme before the first callback comes. Must not look at a callback itself: the
schemes of `tracker.providers.signatures` do.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

from tracker.providers.signatures import find_secret_problem, verify

if TYPE_CHECKING:
    from tracker.clock import Clock
    from tracker.config import Config

SignatureCheck = Callable[[str, Mapping[str, str], bytes, Sequence[str]], bool]
"""As `tracker.server.services` has it."""


def list_signature_problems(config: Config) -> list[str]:
    """One line for each scheme whose secret is missing or cannot serve: it would let nothing in, or everything."""
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
    """How callbacks are checked; None when no provider's are signed."""
    schemes = _schemes(config)
    if not schemes:
        return None

    def check(provider: str, headers: Mapping[str, str], body: bytes, task_ids: Sequence[str]) -> bool:
        scheme = schemes.get(provider)
        if scheme is None:
            return False
        secrets = (config.provider_secret(provider) or "").split()  # read anew: a rotated one counts at once
        return verify(scheme, secrets, headers, body, task_ids, clock.now()).confirm

    return check


def _schemes(config: Config) -> dict[str, str]:
    return {name: rules.scheme for name, rules in config.callbacks.providers.items() if rules.scheme != "none"}
