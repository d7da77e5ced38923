"""Text from elsewhere, made harmless: one line, nothing invisible, nothing that turns the reading direction."""

from __future__ import annotations

import unicodedata

ELLIPSIS = "…"
# Line ends, tabs and other control characters part words; the rest joins or turns them and just goes
_PARTING = frozenset({"Cc", "Zl", "Zp"})
_INVISIBLE = frozenset({"Cf", "Cs", "Co", "Cn"})


def plain(text: str, limit: int) -> str:
    """One line of at most `limit` characters. Marks of direction (RTL) and zero-width characters are left out.

    Markup of a channel is the channel's to escape.
    """
    start = text[: 4 * limit]
    kept = start if start.isprintable() else "".join(map(_kept, start))
    return cut(" ".join(kept.split()), limit)


def cut(text: str, limit: int) -> str:
    return text if len(text) <= limit else text[: limit - len(ELLIPSIS)] + ELLIPSIS


def _kept(sign: str) -> str:
    category = unicodedata.category(sign)
    if category in _PARTING:
        return " "
    return "" if category in _INVISIBLE else sign
