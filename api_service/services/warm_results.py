"""What became of the answers that warm runs loaded: read in time, or loaded for nobody. The next runs learn from it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final, TypeAlias

from django.db.models import Count, Max, Q, Sum

from api_service.models import WarmedAnswer, WarmRun

Identity: TypeAlias = tuple[str, str, str]  # service, kind, identifier

AT_ONCE: Final = 1000
# Reads are counted in batches: the last of them arrive a little later than they happened
LATE: Final = timedelta(minutes=2)
KEPT: Final = timedelta(days=14)
# The policy is believed like this many warms that went exactly as it said
BELIEVED: Final = 200
LEAST_FACTOR, MOST_FACTOR = 0.25, 4.0


@dataclass(frozen=True, slots=True)
class Warmed:
    """`chance` of a read that the policy saw, None for what was asked for by name; times are Unix seconds."""

    identifier: str
    chance: float | None
    ends_at: float


@dataclass(frozen=True, slots=True)
class Experience:
    """Of the warms that have ended: how many, how many of them the policy saw being read, how many were."""

    warms: int = 0
    foreseen: float = 0.0
    useful: int = 0


def calibration(seen: Experience) -> float:
    """What the policy's expectations are to be multiplied by, as the last weeks had it. Pure.

    Few warms say little: the policy's own word counts like BELIEVED of them. Never beyond a factor of four.
    """
    if seen.warms == 0 or seen.foreseen <= 0:
        return 1.0
    share = seen.foreseen / seen.warms
    factor = (seen.useful + BELIEVED * share) / (seen.foreseen + BELIEVED * share)
    return min(MOST_FACTOR, max(LEAST_FACTOR, factor))


def record(run: WarmRun, service: str, kind: str, warmed: Sequence[Warmed], at: float) -> None:
    warmed_at = _moment(at)
    names = [one.identifier for one in warmed]
    before = WarmedAnswer.objects.filter(service=service, kind=kind, read_at__isnull=True, ends_at__gt=warmed_at)
    # One that is loaded again before anybody read it was for nobody
    before.filter(identifier__in=names).update(ends_at=warmed_at)
    WarmedAnswer.objects.bulk_create(
        WarmedAnswer(
            run=run,
            service=service,
            kind=kind,
            identifier=one.identifier,
            chance=one.chance,
            warmed_at=warmed_at,
            ends_at=_moment(one.ends_at),
        )
        for one in warmed
    )


def note_reads(reads: Mapping[Identity, float]) -> None:
    """Mark the loaded answers that these reads (identity -> Unix seconds of the last one) were served by."""
    names = sorted(reads)
    for start in range(0, len(names), AT_ONCE):
        part = names[start : start + AT_ONCE]
        unread = WarmedAnswer.objects.filter(identifier__in=[name for _, _, name in part], read_at__isnull=True)
        for row in unread:
            at = reads.get((row.service, row.kind, row.identifier))
            if at is not None and row.warmed_at <= (moment := _moment(at)) < row.ends_at:
                WarmedAnswer.objects.filter(pk=row.pk).update(read_at=moment)


def settle(now: datetime) -> int:
    """Sum up the runs all of whose answers have ended; the number of runs."""
    done = 0
    for run in WarmRun.objects.filter(useful__isnull=True).exclude(state=WarmRun.State.RUNNING):
        rows = WarmedAnswer.objects.filter(run=run)
        last = rows.aggregate(ends=Max("ends_at"))["ends"]
        if last is None or last + LATE < now:
            useful = rows.filter(read_at__isnull=False).count()
            run.useful, run.wasted = useful, rows.count() - useful
            run.save(update_fields=["useful", "wasted"])
            done += 1
    return done


def experience(now: datetime) -> Experience:
    """Of the last two weeks, of what the policy chose."""
    rows = WarmedAnswer.objects.filter(ends_at__lt=now - LATE, chance__isnull=False)
    sums = rows.aggregate(
        warms=Count("pk"), foreseen=Sum("chance"), useful=Count("pk", filter=Q(read_at__isnull=False))
    )
    return Experience(sums["warms"], sums["foreseen"] or 0.0, sums["useful"])


def prune(now: datetime) -> int:
    return WarmedAnswer.objects.filter(ends_at__lt=now - KEPT).delete()[0]


def _moment(at: float) -> datetime:
    return datetime.fromtimestamp(at, UTC)
