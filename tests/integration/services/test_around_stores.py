"""What a health run reads from the database: calls of APIMIGO, stores, inventories, shares of old answers."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest
from django.db import connections
from django.utils import timezone
from pytest_django.fixtures import Settings

from api_service.models import HealthSample, LookupHour, NodeListing, StaleServed, StoredAnswer, TrackRun, UpstreamCalls
from api_service.services import bounded, retention, store_watch, tracking, upstream_calls
from api_service.services.around import database as database_reading
from api_service.services.around import providers as providers_reading
from api_service.services.around import stale as stale_reading
from api_service.services.around import tracking as tracking_reading
from api_service.services.around.reading import Moment, Seen
from api_service.services.cache_service import APICacheService
from api_service.services.errors import UpstreamError, UpstreamServerError, UpstreamTimeout
from api_service.services.freshness import REFRESHING
from api_service.services.migo_service import MigoAPIService
from api_service.services.providers import provider
from tests.conftest import UseCacheUrl
from tests.rucs import REAL, valid_rucs
from tests.sandbox_fixture import RunningSandbox

pytestmark = pytest.mark.django_db
NOW = datetime(2026, 1, 28, 12, 34, 56, tzinfo=UTC)
HOUR = NOW.replace(minute=0, second=0)
AT = Moment(NOW)


def told(seen: Seen) -> list[tuple[str, str, object]]:
    return [(finding.code, finding.node, finding.value) for finding in seen.findings]


# -- calls of APIMIGO


@pytest.fixture
def counting(settings: Settings, vendor: RunningSandbox, transactional_db: None) -> Iterator[RunningSandbox]:
    settings.READ_FLUSH_SECONDS = 3600
    settings.MIGO_ATTEMPTS = 1
    vendor.switch(error_rate=0.0)
    yield vendor
    upstream_calls.flush(10)
    bounded.stop_threads(10)
    connections.close_all()


def ask(ruc: str) -> str:
    try:
        return type(provider("migo").fetch("ruc", ruc)).__name__
    except UpstreamError as error:
        return error.code


@pytest.mark.django_db(transaction=True)
def test_calls_are_counted_by_how_they_end_and_a_high_share_of_errors_is_told(
    counting: RunningSandbox, settings: Settings
) -> None:
    settings.HEALTH_UPSTREAM_CALLS, settings.HEALTH_UPSTREAM_ERRORS = 4, 0.3
    counting.switch(script=["ok", "500", "ok", "500", "ok"])
    said = [ask(ruc) for ruc in REAL[:5]]
    provider("migo").fetch_many("ruc", valid_rucs(8))
    assert upstream_calls.flush(10)
    seen = providers_reading.read(Moment(timezone.now()))

    assert said.count("upstream_server_error") == 2
    # Eight RUCs in one collection call are one call
    assert seen.facts["migo"]["calls"] == {"answered": 4, "upstream_server_error": 2}
    assert told(seen) == [("upstream_errors", "migo", 0.333)]
    assert (seen.facts["migo"]["answering"], seen.facts["migo"]["circuit"]) == (True, "closed")


@pytest.mark.django_db(transaction=True)
def test_counts_wait_for_more_before_they_are_written_and_are_written_at_the_end(counting: RunningSandbox) -> None:
    ask(REAL[0])
    before = UpstreamCalls.objects.count()
    assert upstream_calls.flush(10)

    assert (before, UpstreamCalls.objects.get().calls) == (0, 1)


def test_one_answer_of_a_call_makes_it_answered() -> None:
    timeout, broken = UpstreamTimeout("late"), UpstreamServerError("500")

    assert upstream_calls.outcome([None]) == "answered"
    assert upstream_calls.outcome([timeout, None, broken]) == "answered"
    assert upstream_calls.outcome([timeout, broken]) == "upstream_timeout"


def test_calls_of_longer_ago_say_nothing_of_now_and_are_dropped_in_time() -> None:
    for minutes, calls in ((5, 3), (30, 100), (91 * 24 * 60, 7)):
        since = NOW - timedelta(minutes=minutes)
        UpstreamCalls.objects.create(since=since, service="migo", outcome="upstream_timeout", calls=calls)
    seen = providers_reading.read(AT).facts["migo"]

    assert (seen["calls"], seen["error_share"], seen["answering"]) == ({"upstream_timeout": 3}, 1.0, False)
    assert retention.prune(NOW)["counts"] == 1
    assert UpstreamCalls.objects.count() == 2


def test_of_a_service_that_nobody_asked_nothing_is_said() -> None:
    seen = providers_reading.read(AT)

    assert told(seen) == []
    assert seen.facts["migo"] == {
        "answering": None,
        "circuit": "closed",
        "calls": {},
        "error_share": None,
        "spent": {},
        "account": None,
    }


# -- the database


def test_a_database_beyond_its_limit_is_slow(settings: Settings) -> None:
    StoredAnswer.objects.create(
        service="migo", kind="ruc", identifier=REAL[0], data="{}", born_at=NOW - timedelta(minutes=3)
    )
    settings.HEALTH_DATABASE_MS = 60_000.0
    quick = database_reading.read(AT)
    settings.HEALTH_DATABASE_MS = 0.0
    slow = database_reading.read(AT)

    assert (told(quick), quick.facts["store_newest_seconds"]) == ([], 180.0)
    assert 0 < quick.facts["ms"] < 60_000
    [finding] = slow.findings
    assert (finding.code, finding.limit) == ("database_slow", 0.0)


def test_a_store_that_is_slower_than_anybody_waits_is_told_to_be_off(settings: Settings) -> None:
    settings.ANSWER_STORE_SECONDS = 0.000_001

    assert [code for code, _node, _value in told(database_reading.read(AT))] == ["answer_store_off"]


def test_a_store_that_this_process_has_given_up_is_told_to_be_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bounded.answer_reads, "is_open", True)
    seen = database_reading.read(AT)

    assert told(seen) == [("answer_store_off", "", "stored answers")]
    assert seen.facts["not_waited_for"] == ["stored answers"]


@pytest.mark.django_db(transaction=True)
def test_a_look_up_that_waits_for_the_store_no_more_is_told_by_another_process(
    vendor: RunningSandbox, cache: APICacheService, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store_watch, "_told", store_watch._Told())
    settings.ANSWER_STORE_SECONDS = 5.0
    with monkeypatch.context() as of_another:
        of_another.setattr(bounded.answer_reads, "is_open", True)
        of_another.setattr(bounded, "PROBE_SECONDS", float("inf"))
        assert MigoAPIService().consultar_ruc(REAL[0])["success"]
    told_of, seen = told(database_reading.read(AT)), database_reading.read(AT)
    cache.delete("migo:store_off")
    bounded.stop_threads(10)

    assert told_of == [("answer_store_off", "", "migo")]
    assert seen.facts["lookups_without_store"] == ["migo"]
    assert told(database_reading.read(AT)) == []


@pytest.mark.django_db(transaction=True)
def test_a_look_up_with_a_store_that_answers_says_nothing(vendor: RunningSandbox, cache: APICacheService) -> None:
    assert MigoAPIService().consultar_ruc(REAL[0])["success"]
    assert cache.get("migo:store_off") is None


def test_read_counts_that_the_database_does_not_take_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tracking._counter, "_failing", True)

    assert told(database_reading.read(AT)) == [("read_counts_waiting", "", "")]


# -- inventories


def listed(node: str, minutes: int, state: str = "done", *, retired: bool = False) -> None:
    at = NOW - timedelta(minutes=minutes)
    run = TrackRun.objects.create(started_at=at, state=state)
    NodeListing.objects.create(
        run=run, node=node, state=state, retired=retired, listed_at=at if state == "done" else None
    )


@pytest.fixture
def nodes(use_cache_url: UseCacheUrl) -> list[str]:
    """Nobody connects to them: what is asked is the database."""
    use_cache_url("memcached://127.0.0.1:1,127.0.0.1:2,127.0.0.1:3")
    return list(APICacheService().adapter.nodes())


def test_a_node_whose_last_complete_inventory_is_too_old_is_told(nodes: list[str], settings: Settings) -> None:
    settings.TRACK_PERIOD, settings.HEALTH_TRACKING_PERIODS = 600, 3.0
    fresh, old, never = nodes
    listed(fresh, 40)
    listed(fresh, 29)
    listed(old, 31)
    listed(old, 1, "failed")
    listed(old, 1, retired=True)
    listed(never, 45, "failed")
    listed(never, 5, "failed")
    seen = tracking_reading.read(AT)

    assert told(seen) == [("tracking_old", old, 31 * 60), ("tracking_old", never, 45 * 60)]
    assert seen.facts["nodes"][never] == {"complete": False, "seconds": 45 * 60.0}
    assert seen.facts["nodes"][fresh] == {"complete": True, "seconds": 29 * 60.0}


def test_before_the_first_inventory_nothing_is_old(nodes: list[str]) -> None:
    assert told(tracking_reading.read(AT)) == []


# -- old answers


def looked_up(hour: datetime, count: int, service: str = "migo") -> None:
    row, _made = LookupHour.objects.get_or_create(
        hour=hour, service=service, kind="ruc", outcome="miss", defaults={"count": 0}
    )
    LookupHour.objects.filter(pk=row.pk).update(count=count)


def shown(answers: int, reason: str, minutes: int = 5) -> None:
    since = NOW - timedelta(minutes=minutes)
    StaleServed.objects.create(
        since=since, service="migo", kind="ruc", reason=reason, answers=answers, oldest_seconds=7300
    )


def run_at(minutes: int) -> None:
    """A run of so many minutes ago, with the facts that it read."""
    at = NOW - timedelta(minutes=minutes)
    facts = stale_reading.read(Moment(at)).facts
    HealthSample.objects.create(
        taken_at=at, status="healthy", backend="memcached", duration_ms=1, around={"stale": facts}
    )


def test_the_share_of_old_answers_is_of_the_lookups_since_the_run_ten_minutes_ago() -> None:
    looked_up(HOUR, 1000)
    run_at(15)
    run_at(10)
    looked_up(HOUR, 1200)
    run_at(5)
    looked_up(HOUR, 1250)
    shown(5, "upstream_timeout")
    shown(90, REFRESHING)
    seen = stale_reading.read(AT)

    assert seen.facts["services"]["migo"] == {
        "answers": 5,
        "lookups": 250,
        "share": 0.02,
        "oldest_seconds": 7300.0,
        "reasons": ["upstream_timeout"],
    }
    assert told(seen) == [("stale_served", "migo", "5 × ≤ 2h (2.0%): upstream_timeout")]


def test_lookups_are_counted_over_the_turn_of_an_hour() -> None:
    before = HOUR - timedelta(hours=1)
    looked_up(before, 70)
    at = HOUR - timedelta(minutes=1)
    facts = stale_reading.read(Moment(at)).facts
    HealthSample.objects.create(
        taken_at=at, status="healthy", backend="memcached", duration_ms=1, around={"stale": facts}
    )
    looked_up(before, 75)
    looked_up(HOUR, 20)
    seen = stale_reading.read(Moment(HOUR + timedelta(minutes=9)))

    assert (seen.facts["services"]["migo"]["lookups"], seen.facts["services"]["migo"]["share"]) == (25, 0.0)
    assert told(seen) == []


def test_without_a_run_to_compare_with_the_share_is_unknown_and_the_finding_is_there() -> None:
    looked_up(HOUR, 1000)
    run_at(50)
    shown(5, "upstream_timeout")
    shown(2, "budget_exhausted", minutes=8)
    shown(9, "upstream_timeout", minutes=20)

    assert told(stale_reading.read(AT)) == [("stale_served", "migo", "7 × ≤ 2h: budget_exhausted, upstream_timeout")]
