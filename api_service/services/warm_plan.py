"""Which RUCs to refresh now: pure. Most read first, only what ends before the next run could see to it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Candidate:
    """A RUC and how often it was asked for in the window."""

    ruc: str
    reads: int


@dataclass(frozen=True, slots=True)
class Plan:
    """`due` in order of worth; `skipped` counts the others by reason."""

    due: Sequence[str]
    skipped: Mapping[str, int] = field(default_factory=dict)


def plan(
    candidates: Sequence[Candidate],
    expires_at: Mapping[str, float],
    negative: frozenset[str],
    *,
    now: float,
    lead: float,
    limit: int,
) -> Plan:
    """`expires_at` holds the cached ones (Unix seconds), `negative` those known not to exist.

    A RUC is due when it is absent or ends within `lead` seconds; at most `limit` are.
    """
    due: list[str] = []
    skipped: Counter[str] = Counter()
    for candidate in sorted(candidates, key=lambda c: (-c.reads, c.ruc)):
        reason = _reason_to_skip(candidate.ruc, expires_at, negative, now + lead)
        if reason is None and len(due) >= limit:
            reason = "over_limit"
        if reason is None:
            due.append(candidate.ruc)
        else:
            skipped[reason] += 1
    return Plan(due, dict(skipped))


def _reason_to_skip(ruc: str, expires_at: Mapping[str, float], negative: frozenset[str], horizon: float) -> str | None:
    if ruc in negative:
        return "known_invalid"
    return "fresh" if expires_at.get(ruc, 0.0) > horizon else None


def jittered(life: float, draw: float, share: float = 0.1) -> float:
    """`life` less up to `share`, by `draw` in [0, 1): what was loaded together must not expire together."""
    return life * (1 - share * draw)
