"""Every random decision of the sandbox, as a hash of what it is about.

Owns the seed. Concurrent requests share no random stream, so their order changes nothing: the same seed and key always
give the same number. Must not decide anything; ``chaos`` has the rates, ``fate`` the decisions.
"""

from __future__ import annotations

import hashlib
import uuid
from dataclasses import dataclass

Key = str | int


@dataclass(frozen=True, slots=True)
class Dice:
    """Draws numbers from (seed, key).

    Attributes:
        seed: Any integer; one run of the sandbox is one seed.
    """

    seed: int

    def draw_bytes(self, count: int, *key: Key) -> bytes:
        """Draw ``count`` bytes, at most 64, for this key."""
        text = "\x1f".join(str(part) for part in (self.seed, *key))
        return hashlib.blake2b(text.encode(), digest_size=count).digest()

    def draw(self, *key: Key) -> float:
        """Draw a number in [0, 1) for this key."""
        return int.from_bytes(self.draw_bytes(6, *key), "big") / 2**48

    def hits(self, rate: float, *key: Key) -> bool:
        """Return whether an event with this rate (0..1) happens for this key."""
        return rate > 0 and self.draw(*key) < rate

    def draw_uuid(self, *key: Key) -> str:
        """Draw a UUID of version 4 for this key, in its usual spelling."""
        return str(uuid.UUID(bytes=self.draw_bytes(16, *key), version=4))
