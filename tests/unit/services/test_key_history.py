from datetime import UTC, datetime, timedelta

from api_service.services.key_history import Baseline, Dated, Lookups, reads_since, to_merge

# 10:30 of a day in Lima
NOW = datetime(2026, 7, 10, 15, 30, tzinfo=UTC)
HOUR, DAY = timedelta(hours=1), timedelta(days=1)


def rows(*ages: timedelta, service: str = "migo") -> list[Dated]:
    """Oldest first, numbered from 1."""
    return [Dated(number, service, NOW - age) for number, age in enumerate(ages, 1)]


def test_every_run_of_two_days_is_kept() -> None:
    assert to_merge(rows(*(timedelta(minutes=10 * n) for n in range(287, 0, -1))), NOW) == []


def test_older_runs_become_one_an_hour_and_then_one_a_day() -> None:
    ten = timedelta(minutes=10)
    of_an_hour, of_the_next = (2 * DAY + 2 * HOUR, 2 * DAY + 2 * HOUR - ten), (2 * DAY + HOUR, 2 * DAY + HOUR - ten)
    of_a_day = (100 * DAY + 2 * HOUR, 100 * DAY)

    assert to_merge(rows(*of_an_hour, *of_the_next), NOW) == [[1, 2], [3, 4]]
    assert to_merge(rows(*of_a_day), NOW) == [[1, 2]]
    assert to_merge(rows(*(90 * DAY - hour * HOUR for hour in range(1, 6))), NOW) == []


def test_a_day_is_one_of_lima() -> None:
    midnight = datetime(2026, 3, 2, 5, tzinfo=UTC)
    around = [Dated(1, "migo", midnight - HOUR), Dated(2, "migo", midnight), Dated(3, "migo", midnight + 20 * HOUR)]

    assert to_merge(around, NOW) == [[2, 3]]


def test_services_are_thinned_apart() -> None:
    old = 3 * DAY
    mixed = [*rows(old, old), *(row._replace(pk=row.pk + 10) for row in rows(old, old, service="sunat"))]

    assert to_merge(mixed, NOW) == [[1, 2], [11, 12]]


def test_each_look_up_belongs_to_one_run_whatever_hour_it_is_written_into() -> None:
    ten, eleven = (datetime(2026, 7, 10, hour, tzinfo=UTC) for hour in (10, 11))
    counted: dict[tuple[datetime, str], int] = {(ten, "migo"): 5}
    before = Baseline(0, None, {})
    runs = []
    for hour, more, closed in (
        (ten, 0, ten + timedelta(minutes=50)),
        (ten, 2, ten + timedelta(minutes=59)),
        (ten, 3, eleven + timedelta(minutes=1)),  # late: in the hour before
        (eleven, 4, eleven + timedelta(minutes=2)),
        (eleven, 0, eleven + 30 * HOUR),
        (eleven + 30 * HOUR, 7, eleven + 31 * HOUR),
    ):
        counted[hour, "migo"] = counted.get((hour, "migo"), 0) + more
        runs.append(reads_since(before, counted)["migo"])
        before = moved(before, closed, counted)

    assert runs == [5, 2, 3, 4, 0, 7]


def moved(before: Baseline, closed: datetime, counted: Lookups) -> Baseline:
    kept = before.moved_to(closed, counted)
    return Baseline(1, datetime.fromisoformat(kept["since"]), kept["services"])


def test_a_clock_that_goes_back_counts_nothing_twice() -> None:
    counted = {(NOW.replace(minute=0), "migo"): 5}
    before = moved(Baseline(0, None, {}), NOW, counted)

    assert reads_since(moved(before, NOW - DAY, counted), counted) == {"migo": 0}
