"""Life times as people read them."""

from __future__ import annotations

_UNITS = ((3600, "h"), (60, "min"))


def short(seconds: float) -> str:
    """`900` → `"15min"`, `3600` → `"1h"`, `86400` → `"24h"`, `90` → `"90s"`."""
    whole = int(seconds)
    for size, unit in _UNITS:
        if whole >= size and whole % size == 0:
            return f"{whole // size}{unit}"
    return f"{whole}s"
