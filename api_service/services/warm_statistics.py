"""The statistics of `warm_policy` as the database keeps them, for each identifier that is looked up.

Sums are in units that grow with time, so that a visit is one addition, nothing is ever decayed, and a plan over a
million identifiers is one sum for each. Units of the fast rate outgrow a float within months: each era has its own.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final, TypeAlias

import orjson
from django.db import connection, transaction
from django.db.models import Min, QuerySet, Sum
from django.utils import timezone

from api_service.models import LookupHour, ReadHabit, ReadHabitBin
from api_service.services.subjects import Subject
from api_service.services.warm_policy import (
    DAY,
    EPOCH_DAY,
    FAST_HALF_LIFE,
    LONGEST_MEMORY,
    SLOT,
    SLOTS_A_DAY,
    SLOW_HALF_LIFE,
    WEEK,
    Season,
    SlotWeights,
    bin_of,
    halved,
    level,
    profile,
    slot_of,
    times_seen,
    unit,
    urgency_at_most,
    week_slot,
)

Identity: TypeAlias = tuple[str, str, str]  # service, kind, identifier

# Units of the fast rate double every three hours: 320 times in an era
ERA: Final = 40 * DAY
EPOCH: Final = EPOCH_DAY * DAY
# Units of the slow rate double every week, and a float holds a thousand doublings: until 2043
LATEST: Final = EPOCH + 1000 * SLOW_HALF_LIFE
# The week's traffic is that of the last weeks
TRAFFIC_DAYS: Final = 56
# Visits in a bin that are no habit any more, and days after which nothing of a visit counts
FORGOTTEN: Final = 0.02
KEPT_DAYS: Final = 120


def wall(at: float) -> float:
    """Unix seconds as the clock on the wall shows them: habits are of people's days."""
    offset = timezone.localtime(datetime.fromtimestamp(at, UTC)).utcoffset()
    return at + (offset.total_seconds() if offset else 0.0)


def fast_unit(at: float) -> tuple[int, float]:
    """The era of a wall-clock time, and what a visit then adds."""
    era = int((at - EPOCH) // ERA)
    return era, 1 / halved(at - EPOCH - era * ERA, FAST_HALF_LIFE)


def slow_unit(at: float) -> float:
    return 1 / halved(at - EPOCH, SLOW_HALF_LIFE)


_COLUMNS = ("service", "kind", "identifier", "at", "life", "fast", "era", "slow", "bin", "visit")
# A read closer to the last visit than an answer's life was served by the same answer: no visit. So it may be repeated.
_VISIT = """
INSERT INTO api_service_readhabit (service, kind, identifier, fast, fast_era, slow, visited_at)
SELECT service, kind, identifier, fast, era, slow, at FROM ({given}) AS given WHERE true ORDER BY place
ON CONFLICT (service, kind, identifier) DO UPDATE SET
    fast = excluded.fast + CASE excluded.fast_era - api_service_readhabit.fast_era
        WHEN 0 THEN api_service_readhabit.fast WHEN 1 THEN api_service_readhabit.fast * {era_factor!r} ELSE 0 END,
    fast_era = excluded.fast_era,
    slow = api_service_readhabit.slow + excluded.slow,
    visited_at = excluded.visited_at
WHERE excluded.visited_at - api_service_readhabit.visited_at >= {life}
"""
# Those that were visits: their last visit is this read
_VISIT_BIN = """
INSERT INTO api_service_readhabitbin (habit_id, bin, visits)
SELECT habit.id, given.bin, given.visit FROM ({given}) AS given JOIN api_service_readhabit AS habit
    ON habit.service = given.service AND habit.kind = given.kind AND habit.identifier = given.identifier
    AND habit.visited_at = given.at
WHERE true ORDER BY place
ON CONFLICT (bin, habit_id) DO UPDATE SET visits = api_service_readhabitbin.visits + excluded.visits
"""


def observe(reads: Mapping[Identity, float]) -> None:
    """Count the last read (Unix seconds) of each identifier, if it was a visit. In the caller's transaction.

    One statement for each life time there is. Rows are locked in the order of their identifiers.
    """
    by_life: dict[float, list[Sequence[Any]]] = {}
    for identity, at in sorted(reads.items()):
        life = Subject(*identity).longest_life
        by_life.setdefault(life, []).append(_row(identity, at, life))
    for life, rows in sorted(by_life.items()):
        _execute(life, rows)


def _row(identity: Identity, at: float, life: float) -> Sequence[Any]:
    on_the_wall = min(LATEST, max(float(EPOCH), wall(at)))
    era, fast = fast_unit(on_the_wall)
    slot = slot_of(on_the_wall)
    slow, visit = slow_unit(on_the_wall), unit(slot // SLOTS_A_DAY)
    return (*identity, at, life, fast, era, slow, bin_of(slot), visit)


def _execute(life: float, rows: Sequence[Sequence[Any]]) -> None:
    given, parameter = _given(), orjson.dumps(rows).decode()
    factor = halved(ERA, FAST_HALF_LIFE)
    with connection.cursor() as cursor:
        cursor.execute(_VISIT.format(given=given, era_factor=factor, life=float(life)), [parameter])
        cursor.execute(_VISIT_BIN.format(given=given), [parameter])


def _given() -> str:
    """A SELECT of the one JSON parameter: an array a column costs the client ten times as much."""
    if connection.vendor == "postgresql":
        kinds = {"at": "double precision", "fast": "double precision", "slow": "double precision"}
        kinds |= {"visit": "double precision", "era": "integer", "bin": "integer", "life": "double precision"}
        values = ", ".join(f"(item->>{n})::{kinds.get(name, 'text')} AS {name}" for n, name in enumerate(_COLUMNS))
        return f"SELECT {values}, place FROM json_array_elements(%s::json) WITH ORDINALITY AS items(item, place)"  # noqa: S608
    values = ", ".join(f"json_extract(value, '$[{n}]') AS {name}" for n, name in enumerate(_COLUMNS))
    return f"SELECT {values}, key AS place FROM json_each(%s)"  # noqa: S608


# -- what a plan begins with


@dataclass(frozen=True, slots=True)
class Known:
    """One identifier, and its rates in reads a slot, of the slots from a shortlist's `first` on."""

    identifier: str
    rates: Sequence[float]


@dataclass(frozen=True, slots=True)
class Shortlist:
    first: int
    keys: Sequence[Known]


# The greatest worth that each can have, as one sum of its own rows
_MOST_EXPECTED = """
SELECT habit.id, habit.identifier, {level} AS level
FROM api_service_readhabit AS habit
LEFT JOIN (
    SELECT habit_id, SUM(visits * CASE bin {weights} END) AS own
    FROM api_service_readhabitbin WHERE bin IN ({bins}) GROUP BY habit_id
) AS seen ON seen.habit_id = habit.id
WHERE habit.service = %s AND habit.kind = %s
ORDER BY {prior!r} * ({level}) + COALESCE(seen.own, 0) DESC, habit.id LIMIT %s
"""
# Sorting and hashing a million rows on disk takes twice as long
_MEMORY = "SET LOCAL work_mem = '128MB'"


def shortlist(service: str, kind: str, now: float, period: float, life: float, size: int) -> Shortlist:
    """The `size` identifiers that a refresh now could be worth most for; `now` in Unix seconds."""
    on_the_wall, began = wall(now), _began(service, kind)
    ahead = _ahead(service, kind, on_the_wall, began, life)
    urgency = urgency_at_most(ahead.first, len(ahead.weights), period, life)
    prior = sum(most * weight.prior for weight, most in zip(ahead.weights, urgency, strict=True))
    own: dict[int, float] = {}
    for weight, most in zip(ahead.weights, urgency, strict=True):
        own[weight.bin] = own.get(weight.bin, 0.0) + most * weight.own
    rate = _rate(on_the_wall, _watched(began, now))
    rows = _most_expected(service, kind, rate.sql, prior, own, size)
    visits = _visits([row for row, _identifier, _level in rows], ahead.bins)
    return Shortlist(ahead.first, [Known(name, ahead.rates(row, level, visits)) for row, name, level in rows])


def of_one(service: str, kind: str, identifier: str, now: float, life: float) -> Shortlist:
    """The same of one identifier, without a look at any other; no keys where nobody has asked for it yet."""
    on_the_wall, began = wall(now), _began(service, kind)
    ahead = _ahead(service, kind, on_the_wall, began, life)
    habit = ReadHabit.objects.filter(service=service, kind=kind, identifier=identifier).first()
    if habit is None:
        return Shortlist(ahead.first, [])
    rate = _rate(on_the_wall, _watched(began, now))
    rates = ahead.rates(habit.pk, rate.of(habit), _visits([habit.pk], ahead.bins))
    return Shortlist(ahead.first, [Known(identifier, rates)])


@dataclass(frozen=True, slots=True)
class _Ahead:
    """The slots that a refresh would cover, from `first` on, each with what makes its expectation."""

    first: int
    weights: Sequence[SlotWeights]

    @property
    def bins(self) -> set[int]:
        return {weight.bin for weight in self.weights}

    def rates(self, habit: int, level: float, visits: Mapping[tuple[int, int], float]) -> list[float]:
        """In reads a slot; `level` is the habit's rate over all of them."""
        return [w.own * visits.get((habit, w.bin), 0.0) + w.prior * level for w in self.weights]


def _ahead(service: str, kind: str, on_the_wall: float, began: datetime | None, life: float) -> _Ahead:
    first, today = slot_of(on_the_wall) - 1, slot_of(on_the_wall) // SLOTS_A_DAY
    known = season_of(service, kind, on_the_wall, began)
    slots = range(first, slot_of(on_the_wall + SLOT + life) + 2)
    return _Ahead(first, [known.weights(slot, today) for slot in slots])


def _began(service: str, kind: str) -> datetime | None:
    """When look-ups were first counted."""
    first: datetime | None = LookupHour.objects.filter(service=service, kind=kind).aggregate(first=Min("hour"))["first"]
    return first


def season_of(service: str, kind: str, on_the_wall: float, began: datetime | None) -> Season:
    """How often each half hour was watched, and the week's traffic."""
    current = slot_of(on_the_wall)
    hours = LookupHour.objects.filter(service=service, kind=kind)
    if began is None:
        return Season(times_seen(current, current), profile([0.0] * WEEK, current, current))
    recent = timezone.now() - timedelta(days=TRAFFIC_DAYS)
    traffic = [0.0] * WEEK
    for row in hours.filter(hour__gte=recent).values("hour").annotate(reads=Sum("count")):
        slot = slot_of(wall(row["hour"].timestamp()))
        # Look-ups are counted by the hour: both its halves are taken to be alike
        for half in (slot, slot + 1):
            traffic[week_slot(half)] += row["reads"] / 2
    since = slot_of(wall(max(began, recent).timestamp()))
    return Season(times_seen(_first_slot(began), current), profile(traffic, since, max(since, current)))


def _watched(began: datetime | None, now: float) -> float:
    """Seconds that look-ups have been counted for."""
    return 0.0 if began is None else max(0.0, now - began.timestamp())


def _first_slot(began: datetime) -> int:
    return slot_of(wall(max(began, timezone.now() - timedelta(days=LONGEST_MEMORY)).timestamp()))


@dataclass(frozen=True, slots=True)
class _Rate:
    """What makes a habit's two sums its rate, in reads a slot: weights of this era's, of the last one's, of weeks."""

    era: int
    this_era: float
    last_era: float
    slow: float

    @property
    def sql(self) -> str:
        return (
            f"habit.fast * CASE habit.fast_era WHEN {self.era} THEN {self.this_era!r} "
            f"WHEN {self.era - 1} THEN {self.last_era!r} ELSE 0 END + habit.slow * {self.slow!r}"
        )

    def of(self, habit: ReadHabit) -> float:
        fast = {self.era: self.this_era, self.era - 1: self.last_era}.get(habit.fast_era, 0.0)
        return float(habit.fast * fast + habit.slow * self.slow)


def _rate(on_the_wall: float, watched: float) -> _Rate:
    weights, (era, fast) = level(watched), fast_unit(on_the_wall)
    this_era = weights.fast / fast
    return _Rate(era, this_era, this_era * halved(ERA, FAST_HALF_LIFE), weights.slow / slow_unit(on_the_wall))


def _most_expected(
    service: str, kind: str, level_sql: str, prior: float, own: Mapping[int, float], size: int
) -> list[tuple[int, str, float]]:
    sql = _MOST_EXPECTED.format(
        level=level_sql,
        weights=" ".join(f"WHEN {number} THEN {weight!r}" for number, weight in own.items()),
        bins=", ".join(map(str, own)),
        prior=prior,
    )
    with transaction.atomic(), connection.cursor() as cursor:
        if connection.vendor == "postgresql":
            cursor.execute(_MEMORY)
        cursor.execute(sql, [service, kind, size])
        rows: list[tuple[int, str, float]] = cursor.fetchall()
        return rows


def _visits(habits: Sequence[int], bins: set[int]) -> dict[tuple[int, int], float]:
    found: dict[tuple[int, int], float] = {}
    for start in range(0, len(habits), 1000):
        rows = ReadHabitBin.objects.filter(habit_id__in=habits[start : start + 1000], bin__in=bins)
        found |= {(habit, number): visits for habit, number, visits in rows.values_list("habit_id", "bin", "visits")}
    return found


def forgotten(now: datetime) -> tuple[QuerySet[ReadHabitBin], QuerySet[ReadHabit]]:
    """Rows that are no habit any more."""
    at = now.timestamp()
    least = FORGOTTEN * unit(slot_of(wall(at)) // SLOTS_A_DAY)
    return ReadHabitBin.objects.filter(visits__lt=least), ReadHabit.objects.filter(visited_at__lt=at - KEPT_DAYS * DAY)
