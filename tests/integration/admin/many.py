"""Many rows by one statement a table, and every kind of page that a list of them has."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta

from django.db import connection
from django.utils import timezone

from api_service.admin.base import BoundedPaginator
from api_service.models import (
    DailyReads,
    LookupHour,
    LookupTime,
    NodeListing,
    ServiceSnapshot,
    StoredAnswer,
    TrackedKey,
    TrackRun,
)

NODES = ("10.0.4.11:11211", "10.0.4.12:11211", "10.0.4.13:11211")
RARE_NODE = "10.0.4.99:11211"
# Prime: multiplied by something else it brings each number once, in no order
_PRIME = 1_000_003

ANSWER = '{"nombre_o_razon_social": "' + "x" * 600 + '"}'

_BASE = "/admin/api_service/"
KEY_PAGES = {
    "list": "",
    "service": "service=migo",
    "service with few keys": "service=nubefact",
    "service without keys": "service=sunat",
    "kind": "service=migo&kind=ruc",
    "kind with few keys": "service=migo&kind=dni",
    "common state": "state__exact={common}",
    "rare state": "state__exact={rare}",
    "state without keys": "state__exact=removed",
    "node": f"node={NODES[0]}",
    "node with few keys": f"node={RARE_NODE}",
    "node and rare state": f"node={NODES[0]}&state__exact={{rare}}",
    "node and common state": f"node={NODES[0]}&state__exact={{common}}",
    "service and common state": "service=migo&state__exact={common}",
    "service and rare state": "service=migo&state__exact={rare}",
    "small service, common state": "service=nubefact&state__exact={common}",
    "service and node": f"service=migo&node={NODES[0]}",
    "small service and node": f"service=nubefact&node={NODES[0]}",
    "service and rare node": f"service=migo&node={RARE_NODE}",
    "everything": f"service=migo&kind=ruc&node={NODES[0]}&state__exact={{common}}",
    "search by one digit": "q=2",
    "search by six digits": "q=200001",
    "search by a whole RUC": "q=20000100003",
    "search by a prefix": "q=migo:ruc_2000",
    "search that finds nothing": "q=migo:ruc_3",
    "search and rare state": "q=migo:ruc_2&state__exact={rare}",
}
# Those with more rows than the pages show
LONG = ("list", "service", "kind", "common state", "service and common state", "search by one digit")
OTHER_PAGES = {
    "reads by day": "dailyreads/",
    "reads by day, service": "dailyreads/?service=migo",
    "reads by day, small service": "dailyreads/?service=nubefact",
    "reads by day, search": "dailyreads/?q=20000100003",
    "stored answers": "storedanswer/",
    "stored answers, service": "storedanswer/?service=migo",
    "stored answers, small service": "storedanswer/?service=nubefact",
    "stored answers, search": "storedanswer/?q=20000100003",
    "look-ups by hour": "lookuphour/",
    "look-ups by hour, rare outcome": "lookuphour/?outcome=outage",
    "times of look-ups": "lookuptime/",
    "times of look-ups, rare way": "lookuptime/?way=failed",
    "listings": "nodelisting/",
    "listings of a node": f"nodelisting/?node={NODES[0]}",
    "listings of a node without any": f"nodelisting/?node={RARE_NODE}",
    "history": "servicesnapshot/",
    "history of a service": "servicesnapshot/?service=migo",
    "history of a small service": "servicesnapshot/?service=nubefact",
}
LONG_OTHERS = ("reads by day", "reads by day, service", "stored answers", "stored answers, service")


def key_pages(common: str, rare: str, last: int) -> dict[str, str]:
    """Name → URL; `last` is the number of the last page that a long list has."""
    urls = {name: f"{_BASE}trackedkey/?{query.format(common=common, rare=rare)}" for name, query in KEY_PAGES.items()}
    return urls | {f"{name}, last page": f"{urls[name]}&p={last}" for name in LONG}


def other_pages(last: int) -> dict[str, str]:
    urls = {name: _BASE + path for name, path in OTHER_PAGES.items()}
    lasts = {f"{name}, last page": urls[name] + ("&" if "?" in urls[name] else "?") for name in LONG_OTHERS}
    return urls | {name: f"{url}p={last}" for name, url in lasts.items()}


def _series(rows: int) -> str:
    if connection.vendor == "postgresql":
        return f"(SELECT generate_series(1::bigint, {rows}) AS x) AS series"
    return f"(WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c WHERE x < {rows}) SELECT x FROM c)"


def _insert(table: str, columns: dict[str, str], rows: int) -> None:
    names, values = ", ".join(columns), ", ".join(columns.values())
    with connection.cursor() as cursor:
        cursor.execute(f"INSERT INTO api_service_{table} ({names}) SELECT {values} FROM {_series(rows)}")


def _moment(seconds_back: str = "0") -> str:
    """SQL of the time that many seconds ago."""
    now = timezone.now()
    if connection.vendor == "postgresql":
        return f"timestamptz '{now.isoformat()}' - interval '1 second' * ({seconds_back})"
    return f"strftime('%Y-%m-%d %H:%M:%f', {now.timestamp():.0f} - ({seconds_back}), 'unixepoch')"


def _scattered(rows: int) -> str:
    """SQL of a number below `_PRIME`, another one for each x, in no order."""
    assert rows < _PRIME
    return f"((x * 7919) % {_PRIME})"


def fill_keys(rows: int, common: str = "active", rare: str = "unknown") -> None:
    """`rows` keys of "migo" in one state but for three, on three nodes; a small service and a node that few are on.

    The rare ones are the last in the order of the keys: a walk that hopes to meet them early is a long one.
    """
    _insert(
        "trackedkey",
        {
            "key": f"'migo:ruc_' || (20000000000 + {_scattered(rows)} * 7)",
            "service": "'migo'",
            "kind": "'ruc'",
            "identifier": f"'' || (20000000000 + {_scattered(rows)} * 7)",
            "node": f"CASE x % 3 WHEN 0 THEN '{NODES[0]}' WHEN 1 THEN '{NODES[1]}' ELSE '{NODES[2]}' END",
            "size": "700",
            "state": f"'{common}'",
            "expires_at": _moment("-3600"),
            "created_at": _moment("86400"),
            "seen_at": _moment("600"),
            "reads": "x % 100",
        },
        rows,
    )
    _insert_few("migo:tipo_cambio_2026-01-0", "migo", "tipo_cambio", NODES[1], rare)
    _insert_few("migo:dni_1000000", "migo", "dni", RARE_NODE, common)
    _insert_few("nubefact:ruc_2010000000", "nubefact", "ruc", NODES[2], "removed")


def _insert_few(prefix: str, service: str, kind: str, node: str, state: str) -> None:
    now = timezone.now()
    TrackedKey.objects.bulk_create(
        TrackedKey(
            key=f"{prefix}{number}",
            service=service,
            kind=kind,
            identifier=f"{number}",
            node=node,
            state=state,
            created_at=now,
            seen_at=now,
        )
        for number in range(3)
    )


def fill_others(rows: int) -> None:
    """`rows` stored answers and as many reads by day: half of them on one day, most of them once."""
    ruc = f"'' || (20000000000 + {_scattered(rows)} * 7)"
    of_migo = {"service": "'migo'", "kind": "'ruc'", "identifier": ruc}
    _insert("storedanswer", {**of_migo, "data": f"'{ANSWER}'", "born_at": _moment("x")}, rows)
    day = (
        "date '2026-01-01' + (x % 2)::int"
        if connection.vendor == "postgresql"
        else "date('2026-01-01', (x % 2) || ' days')"
    )
    reads = "CASE WHEN x % 50 = 0 THEN x % 1000 ELSE 1 END"
    _insert("dailyreads", {**of_migo, "day": day, "reads": reads, "last_read_at": _moment("x")}, rows)


def fill_history(rows: int) -> None:
    """`rows` inventories, with a listing, a service, an hour of look-ups and a step of their times each."""
    now = timezone.now()
    times = [now - timedelta(minutes=10 * number) for number in range(rows)]
    runs = TrackRun.objects.bulk_create(TrackRun(started_at=time, state="done") for time in times)
    NodeListing.objects.bulk_create(
        NodeListing(run=run, node=NODES[0], state="done", listed_at=run.started_at) for run in runs
    )
    ServiceSnapshot.objects.bulk_create(ServiceSnapshot(run=run, service="migo", keys=1, bytes=1) for run in runs)
    LookupHour.objects.bulk_create(
        LookupHour(hour=now - timedelta(hours=number), service="migo", kind="ruc", outcome="hit", count=1)
        for number in range(rows)
    )
    LookupTime.objects.bulk_create(
        LookupTime(hour=now - timedelta(hours=number), service="migo", way="cache", bound=250, count=1)
        for number in range(rows)
    )


def lose_a_node() -> None:
    """Of `fill_keys("active", …)` or "expired": all keys of one node are unknown, no others are."""
    TrackedKey.objects.filter(node=NODES[1]).update(state="unknown")
    TrackedKey.objects.exclude(node=NODES[1]).filter(state="unknown").update(state="removed")


def lost_node_pages() -> dict[str, str]:
    """What nobody's keys are: each condition fits a third of the table, both fit nothing."""
    filters = {
        "unknown": "state__exact=unknown",
        "another node and unknown": f"node={NODES[0]}&state__exact=unknown",
        "that node and unknown": f"node={NODES[1]}&state__exact=unknown",
        "that node and removed": f"node={NODES[1]}&state__exact=removed",
        "that node and active": f"node={NODES[1]}&state__exact=active",
        "that node and expired": f"node={NODES[1]}&state__exact=expired",
    }
    return {name: f"{_BASE}trackedkey/?{query}" for name, query in filters.items()}


def last_page(rows: int) -> int:
    return min(rows, BoundedPaginator.LIMIT) // 50


def empty() -> None:
    for model in (StoredAnswer, DailyReads, LookupHour, LookupTime, TrackRun):
        model._default_manager.all().delete()


def empty_keys() -> None:
    TrackedKey.objects.all().delete()


@contextmanager
def filling() -> Iterator[None]:
    """For a million rows: without the time limit of a statement, and with SQLite's index pages in memory."""
    postgres = connection.vendor == "postgresql"
    with connection.cursor() as cursor:
        cursor.execute("SET statement_timeout = 0" if postgres else "PRAGMA cache_size = -600000")
        yield
        cursor.execute("RESET statement_timeout" if postgres else "PRAGMA cache_size = -2000")


def analyze() -> None:
    """What autovacuum, or `PRAGMA optimize`, tells the planner of tables that size."""
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE")


def instructions(sql: str) -> int:
    """Of SQLite's virtual machine, to the nearest thousand: the plan does not tell how far a search walks."""
    done = 0

    def count() -> None:
        nonlocal done
        done += 1000

    database = connection.connection
    database.set_progress_handler(count, 1000)
    try:
        database.execute(sql).fetchall()
    finally:
        database.set_progress_handler(None, 0)
    return done
