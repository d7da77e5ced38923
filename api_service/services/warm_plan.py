"""Which RUCs to refresh now: pure. Only what ends before the next runs could see to it, the worthiest first."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from math import ceil, exp, inf

from api_service.services.warm_policy import Weights, weights

# Ends are known to the second and expectations are not: as many weights as there are minutes, and not as RUCs
GRAIN = 60.0


@dataclass(frozen=True, slots=True)
class Candidate:
    """A RUC with its rates in reads a slot (`warm_statistics.Shortlist`); None for one that was asked for by name."""

    ruc: str
    rates: Sequence[float] | None = None


@dataclass(frozen=True, slots=True)
class Moment:
    """When the run is, in Unix seconds, and what the policy reckons with, all in seconds.

    `wall` is what the clock on the wall is ahead of Unix time by, `first` the slot that the rates begin with.
    """

    now: float
    wall: float
    first: int
    period: float
    lead: float
    life: float


@dataclass(frozen=True, slots=True)
class Cached:
    """What the cache has of the candidates, until when (Unix seconds): answers, and negative answers."""

    answers: Mapping[str, float]
    negatives: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class Rules:
    """`break_even`: reads expected below which a refresh is not worth its query.

    At most `limit` RUCs are due, and of these at most `recheck_share` that were known not to exist.
    """

    limit: int
    break_even: float = 0.0
    recheck_share: float = 1.0


@dataclass(frozen=True, slots=True)
class Due:
    """`worth` in misses avoided per paid call; `chance` of a read before the new answer ends, None for a named RUC."""

    ruc: str
    worth: float
    chance: float | None
    recheck: bool = False


@dataclass(frozen=True, slots=True)
class Plan:
    """`due` in order of worth; `skipped` counts the others by reason."""

    due: Sequence[Due]
    skipped: Mapping[str, int] = field(default_factory=dict)


def plan(candidates: Iterable[Candidate], cached: Cached, moment: Moment, rules: Rules) -> Plan:
    """A RUC is due when it is absent or ends within the lead, and when enough reads are expected of it."""
    looked_at = [_look_at(candidate, cached, moment, rules) for candidate in candidates]
    skipped = Counter(found for found in looked_at if isinstance(found, str))
    due = sorted((found for found in looked_at if isinstance(found, Due)), key=lambda one: (-one.worth, one.ruc))
    kept = _within(due, ceil(rules.limit * rules.recheck_share), rules.limit, skipped)
    return Plan(kept, dict(skipped))


def _within(due: Iterable[Due], rechecks: int, limit: int, skipped: Counter[str]) -> list[Due]:
    kept: list[Due] = []
    for one in due:
        if len(kept) >= limit:
            skipped["over_limit"] += 1
        elif one.recheck and rechecks <= 0:
            skipped["over_recheck"] += 1
        else:
            rechecks -= one.recheck
            kept.append(one)
    return kept


def _look_at(candidate: Candidate, cached: Cached, moment: Moment, rules: Rules) -> Due | str:
    negative = cached.negatives.get(candidate.ruc)
    ends = cached.answers.get(candidate.ruc, 0.0) if negative is None else negative
    if ends > moment.now + moment.lead:
        return "fresh" if negative is None else "known_invalid"
    if candidate.rates is None:
        return Due(candidate.ruc, inf, None, recheck=negative is not None)
    found = _weights_of(ends, moment)
    expected = found.expected(candidate.rates)
    if expected < rules.break_even:
        return "below_break_even"
    return Due(candidate.ruc, found.worth(candidate.rates), 1 - exp(-expected), recheck=negative is not None)


def reads_expected(rates: Sequence[float], ends: float, moment: Moment) -> float:
    """Visits that a refresh at that moment of what ends then would cover."""
    return _weights_of(ends, moment).expected(rates)


def _weights_of(ends: float, moment: Moment) -> Weights:
    return _weights(_grained(max(moment.now, ends), moment.now), moment)


def _grained(start: float, now: float) -> float:
    return now + (start - now) // GRAIN * GRAIN


@lru_cache(maxsize=256)
def _weights(start: float, moment: Moment) -> Weights:
    return weights(moment.first, start + moment.wall, moment.now + moment.wall, moment.period, moment.life)


def jittered(life: float, draw: float, share: float = 0.1) -> float:
    """`life` less up to `share`, by `draw` in [0, 1): what was loaded together must not expire together."""
    return life * (1 - share * draw)


def pauses(number: int, spread: float) -> float:
    """Seconds between the beginnings of so many steps that are spread over `spread` seconds."""
    return spread / number if number > 1 else 0.0
