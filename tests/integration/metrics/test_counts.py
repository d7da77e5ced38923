"""What look-ups, calls and tasks leave in the metrics: real parts, every outcome."""

import re
import subprocess
import time
from collections.abc import Callable

import pytest
from pytest_django import Settings

from api_service.services import metrics, tracking
from api_service.services.cache_service import APICacheService
from api_service.services.lookup_counts import Entry, times_of
from api_service.services.migo_service import MigoAPIService
from api_service.services.outcomes import Outcome
from api_service.services.providers import TABLE
from tests.conftest import UseCacheUrl
from tests.integration.metrics.conftest import Samples
from tests.migo_fixtures import IMPOSSIBLE, RUC, SUNAT, known_rucs, unknown_rucs
from tests.processes import require
from tests.sandbox_fixture import RunningSandbox
from tests.servers import Memcached
from workers import schedules

Scrape = Callable[[], Samples]
MIGO = {"service": "migo", "kind": "ruc"}


def grown(before: Samples, after: Samples, name: str, **labels: str) -> float:
    return (after(name, **labels) or 0.0) - (before(name, **labels) or 0.0)


def test_every_series_of_a_known_name_is_there_before_anything_happened(scrape: Scrape) -> None:
    seen = scrape()
    for outcome in Outcome:
        assert seen("lookups_total", **MIGO, outcome=outcome.value) is not None
        assert seen("lookup_duration_seconds_count", **MIGO, outcome=outcome.value) is not None
    for outcome_of_call in ("ok", "not_found", "timeout", "server_error", "rate_limited", "auth_refused", "refused"):
        assert seen("upstream_calls_total", **MIGO, outcome=outcome_of_call) is not None
    for task in {row.task for row in schedules.TABLE.values()}:
        assert seen("tasks_total", task=task, outcome="failure") is not None
        assert seen("task_duration_seconds_count", task=task) is not None
    assert {seen("queue_wait_seconds_count", queue=queue) is None for queue in schedules.QUEUES} == {False}
    assert {seen("paid_queries_total", service=name, purpose="warm") is None for name in TABLE} == {False}
    assert seen("incidents_open", code="node_down", severity="unhealthy") == 0
    assert seen("deliveries", channel="slack", state="failed") == 0
    assert seen("stale_answers_total", **MIGO, reason="upstream_timeout") is not None


def test_look_ups_are_counted_by_what_the_cache_said_and_timed_once_each(
    scrape: Scrape, migo: MigoAPIService, sandbox: RunningSandbox
) -> None:
    (unknown,) = unknown_rucs(1)
    before, began = scrape(), time.monotonic()
    for _ in range(4):
        migo.consultar_ruc(RUC)
    took = time.monotonic() - began
    migo.consultar_ruc(unknown)
    migo.consultar_ruc(unknown)
    migo.consultar_ruc(IMPOSSIBLE)
    after = scrape()

    counted = {o: grown(before, after, "lookups_total", **MIGO, outcome=o.value) for o in Outcome}
    timed = {o: grown(before, after, "lookup_duration_seconds_count", **MIGO, outcome=o.value) for o in Outcome}
    assert (
        counted == timed == {Outcome.HIT: 3, Outcome.STALE: 0, Outcome.NEGATIVE: 1, Outcome.MISS: 2, Outcome.OUTAGE: 0}
    )
    assert 0 < grown(before, after, "lookup_duration_seconds_sum", **MIGO, outcome="hit") < took
    calls = {o: grown(before, after, "upstream_calls_total", **MIGO, outcome=o) for o in ("ok", "not_found")}
    assert calls == {"ok": 1, "not_found": 1}
    assert grown(before, after, "paid_queries_total", service="migo", purpose="user") == 2
    assert sandbox.billed == 2


@pytest.mark.parametrize(
    ("fault", "outcome"),
    [
        ("500", "server_error"),
        ("429", "rate_limited"),
        ("401", "auth_refused"),
        ("broken_json", "bad_answer"),
        ("timeout:30", "timeout"),
    ],
)
def test_a_call_that_fails_is_counted_by_how_it_ended_single_or_of_a_hundred(
    scrape: Scrape, migo: MigoAPIService, sandbox: RunningSandbox, settings: Settings, fault: str, outcome: str
) -> None:
    if outcome == "timeout":
        settings.MIGO_READ_TIMEOUT = settings.MIGO_DEADLINE = 0.4
    settings.MIGO_CIRCUIT_FAILURES = 0
    before = scrape()
    sandbox.switch(script=[fault, fault])
    single = migo.consultar_ruc(SUNAT)
    many = migo.consultar_ruc_masivo(known_rucs(3))
    after = scrape()

    assert (single["success"], many["success"]) == (False, False)
    for kind, failures in (("ruc", 1), ("ruc_collection", 1)):
        names = {"service": "migo", "kind": kind}
        seen = {o: grown(before, after, "upstream_calls_total", **names, outcome=o) for o in metrics.CALL_OUTCOMES}
        assert {o: n for o, n in seen.items() if n} == {outcome: failures}, kind
        assert grown(before, after, "upstream_call_duration_seconds_count", **names) == failures
    assert grown(before, after, "lookup_failures_total", **MIGO, code=f"upstream_{outcome}") == 1 + 3
    assert grown(before, after, "lookup_duration_seconds_count", **MIGO, outcome="failed") == 1


def test_an_old_answer_that_is_shown_is_counted_with_its_reason(
    scrape: Scrape, migo: MigoAPIService, sandbox: RunningSandbox
) -> None:
    migo.consultar_ruc(RUC)
    before = scrape()
    sandbox.switch(script=["500"])
    assert migo.consultar_ruc(RUC, force_refresh=True, max_stale=3600)["cache"]["stale"] is True
    after = scrape()
    assert grown(before, after, "stale_answers_total", **MIGO, reason="upstream_server_error") == 1
    assert grown(before, after, "lookup_failures_total", **MIGO, code="upstream_server_error") == 0


def test_the_account_is_a_call_that_costs_nothing(scrape: Scrape, migo: MigoAPIService) -> None:
    before = scrape()
    migo.consultar_cuenta()
    after = scrape()
    assert grown(before, after, "upstream_calls_total", service="migo", kind="account", outcome="ok") == 1
    assert grown(before, after, "paid_queries_total", service="migo", purpose="user") == 0


def test_no_label_holds_what_was_looked_up_or_what_a_caller_made_up(
    scrape: Scrape, migo: MigoAPIService, sandbox: RunningSandbox
) -> None:
    migo.consultar_ruc_masivo([*known_rucs(20), *unknown_rucs(2), IMPOSSIBLE])
    entries: list[Entry] = [
        ("migo", RUC, SUNAT, Outcome.HIT, 0.0, 0.1),
        (RUC, "ruc", SUNAT, Outcome.HIT, 0.0, None),
    ]
    metrics.looked_up(entries)
    metrics.took(times_of(entries))
    seen = scrape()

    assert [label for label in seen.labels() if re.search(r"\d{8}", label)] == []
    assert (seen("lookups_total", service="(others)", kind="(others)", outcome="hit") or 0) >= 2


def test_promtool_has_nothing_to_say_against_the_page(scrape: Scrape, migo: MigoAPIService) -> None:
    migo.consultar_ruc(RUC)
    page = scrape().page
    checked = subprocess.run(
        [require("promtool"), "check", "metrics"], input=page, capture_output=True, text=True, check=False
    )
    assert (checked.returncode, checked.stderr) == (0, "")
    assert page.count("# HELP cache_worker_") > 35


def test_hits_reach_the_metrics_hundreds_at_once(migo: MigoAPIService, monkeypatch: pytest.MonkeyPatch) -> None:
    """A lock and a table of labels for each would cost the hit path more than its own work."""
    batches: list[int] = []
    monkeypatch.setattr(metrics, "looked_up", lambda entries: batches.append(len(entries)))
    migo.consultar_ruc(RUC)
    for _ in range(tracking.FOLD_AT):
        migo.consultar_ruc(RUC)
    assert batches == [tracking.FOLD_AT]


def test_a_node_that_fails_the_application_and_a_value_that_is_not_ours_are_counted(
    scrape: Scrape, own_memcached: Memcached, use_cache_url: UseCacheUrl
) -> None:
    use_cache_url(own_memcached.url)
    cache = APICacheService()
    before = scrape()
    assert own_memcached.ask(f"set {cache.wire_prefix}migo:x_1 0 0 4\r\ntext") == "STORED\r\n"
    assert cache.get("migo:x_1") is None
    own_memcached.kill()
    cache.get("migo:x_1")
    after = scrape()

    assert grown(before, after, "unreadable_values_total", reason="unknown flag") == 1
    assert grown(before, after, "cache_errors_total", node=own_memcached.address) == 1
