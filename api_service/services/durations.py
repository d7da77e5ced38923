"""Life times as people read them."""

from __future__ import annotations

_UNITS = ((3600, "h"), (60, "min"))


def rough(seconds: float) -> str:
    """`93_605` → `"26h"`, `200` → `"3min"`, `12.4` → `"12s"`: cut, not rounded."""
    return next((f"{int(seconds // size)}{unit}" for size, unit in _UNITS if seconds >= size), f"{int(seconds)}s")


def short(seconds: float) -> str:
    """`900` → `"15min"`, `3600` → `"1h"`, `86400` → `"24h"`, `90` → `"90s"`."""
    whole = int(seconds)
    for size, unit in _UNITS:
        if whole >= size and whole % size == 0:
            return f"{whole // size}{unit}"
    return f"{whole}s"
