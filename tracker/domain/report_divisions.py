"""What a report may be divided by. Commands import it, so it imports no library."""

from __future__ import annotations

from tracker.domain.nearest import did_you_mean

DIVISIONS = ("route", "account", "model", "day", "reason")
LABEL = "label."
MAX_DIVISIONS = 5


def parse_by(text: str) -> tuple[str, ...]:
    """What a report is divided by: names separated by commas.

    Raises:
        ValueError: one of them is unknown; with the nearest name.
    """
    names = tuple(dict.fromkeys(part.strip() for part in text.split(",") if part.strip()))
    for name in names:
        if name not in DIVISIONS and (not name.startswith(LABEL) or name == LABEL):
            known = f"{', '.join(DIVISIONS)} and {LABEL}NAME"
            hint = did_you_mean(name, (*DIVISIONS, f"{LABEL}{name}"), 1)
            raise ValueError(f"has an unknown name, {name!r}; {hint or f'known are {known}'}")
    if len(names) > MAX_DIVISIONS:
        raise ValueError(f"has {len(names)} names; at most {MAX_DIVISIONS} are possible")
    return names
