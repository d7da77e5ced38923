"""The first page: the state of everything, and a warning when it is too old to be true."""

from __future__ import annotations

import html
import json
import re
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from django_celery_beat.models import CrontabSchedule, PeriodicTask

from api_service import models
from api_service.services import around, track_runs, warming
from tests.integration.admin.conftest import Rows, Staff, leased

pytestmark = pytest.mark.usefixtures("the_hour_stays")

EN = {"accept-language": "en"}
OLD = "No recent run: do worker and beat run?"
PARTS = ("now", "runs", "charts")


def index(client: Client, period: str = "24h") -> str:
    return client.get("/admin/", {"period": period}, headers=EN).text


def part(client: Client, name: str, period: str = "24h") -> str:
    response = client.get(f"/admin/dashboard/{name}/", {"period": period}, headers=EN)
    assert response.status_code == 200
    return response.text.replace("\xa0", " ")


def card(page: str, title: str) -> str:
    """The HTML from a card's title to the next one's."""
    found = re.search(rf"<h2[^>]*>(?:<a [^>]*>)?{re.escape(title)}\b.*?(?=<h2|\Z)", page, re.DOTALL)
    assert found, f"no card {title}"
    return found.group().replace("\xa0", " ")


def drawn(page: str, title: str) -> dict[str, list[float | None]]:
    """The values of a chart by the names of its series."""
    found = re.search(r'data-chart="([^"]*)"', card(page, title))
    assert found
    data = json.loads(html.unescape(found.group(1)))
    return {one["name"]: one["values"] for one in data["series"]}


# -- now


def test_the_first_page_says_how_everything_is(rows: Rows, admin_client: Client) -> None:
    page = index(admin_client)
    verdict = card(page, "The cache has failures")
    assert "node does not answer 10.0.4.12:11211" in verdict
    assert "connection refused" in verdict
    assert ">1</span>" in card(page, "Open incidents")
    assert "1 alert has not arrived" in card(page, "Open incidents")
    runs = part(admin_client, "runs")
    assert "1,234,567 keys" in card(runs, "Key inventory")
    assert "running" in card(runs, "Warming")
    assert OLD not in page + runs


def test_a_verdict_says_since_when_it_holds(rows: Rows, admin_client: Client) -> None:
    now = timezone.now()
    for minutes, status in ((90, "unhealthy"), (60, "healthy"), (30, "unhealthy"), (8, "unhealthy")):
        models.HealthSample.objects.create(
            taken_at=now - timedelta(minutes=minutes), status=status, backend="memcached", duration_ms=1
        )
    assert "for 30 minutes" in card(index(admin_client), "The cache has failures")
    models.HealthSample.objects.filter(status="healthy").delete()
    assert "for 1 hour, 30 minutes" in card(index(admin_client), "The cache has failures")


def test_a_verdict_that_is_too_old_is_none(rows: Rows, admin_client: Client) -> None:
    def at(minutes: int) -> str:
        models.HealthSample.objects.update(taken_at=timezone.now() - timedelta(minutes=minutes), status="healthy")
        return index(admin_client)

    assert OLD not in at(11)
    assert "The cache is healthy" in at(11)
    assert OLD in card(at(13), "Not known: the last check is too old")
    assert "The cache is healthy" not in at(13)


@pytest.mark.parametrize(
    ("title", "model", "minutes"), [("Key inventory", models.TrackRun, 25), ("Warming", models.WarmRun, 13)]
)
def test_a_run_that_is_too_old_warns(title: str, model: Any, minutes: int, rows: Rows, admin_client: Client) -> None:
    def at(moment: datetime) -> str:
        model.objects.update(started_at=moment)
        return card(part(admin_client, "runs"), title)

    assert OLD in at(timezone.now() - timedelta(minutes=minutes))
    assert OLD not in at(timezone.now() - timedelta(minutes=minutes - 2))


def test_a_warm_run_that_another_was_in_the_way_of_is_not_shown_in_its_place(rows: Rows, admin_client: Client) -> None:
    models.WarmRun.objects.update(started_at=timezone.now() - timedelta(minutes=13))
    warming.record_refused(warming.request(requested_by="billing"))
    shown = card(part(admin_client, "runs"), "Warming")
    assert "running" in shown
    assert OLD in shown
    assert "another warm run" not in shown


def test_each_open_incident_says_what_to_do_as_the_alert_does(rows: Rows, settings: Any, admin_client: Client) -> None:
    settings.RUNBOOK_URL = "https://wiki.example/runbook"
    shown = card(index(admin_client), "Open incidents")
    assert "What to do: See whether its process runs and its port is reachable" in shown
    assert 'href="https://wiki.example/runbook#node_down"' in shown
    settings.RUNBOOK_URL = ""
    assert "runbook" not in card(index(admin_client), "Open incidents")


def test_incidents_are_shown_worst_first_and_the_rest_is_counted(rows: Rows, admin_client: Client) -> None:
    now = timezone.now()
    for number in range(8):
        models.Incident.objects.create(
            code="node_slow", node=f"n{number}:1", severity="warning", current="warning", since=now, opened_at=now
        )
    shown = card(index(admin_client), "Open incidents")
    assert re.findall(r'class="cw-badge cw-\w+">([^<]+)<', shown) == ["9", "unhealthy", *["warning"] * 5]
    assert "and 3 more" in shown


def test_who_has_taken_an_incident_on_is_named(rows: Rows, admin_client: Client) -> None:
    now = timezone.now()
    models.Incident.objects.update(acknowledged_at=now, acknowledged_by="mirona")
    assert "acknowledged by mirona" in card(index(admin_client), "Open incidents")
    models.Incident.objects.update(muted_until=now + timedelta(hours=1), muted_by="teo")
    assert "muted by teo" in card(index(admin_client), "Open incidents")


def test_schedules_are_on_time_or_named_with_what_is_late(rows: Rows, admin_client: Client) -> None:
    assert "none is on" in card(index(admin_client), "Schedules")
    crontab = CrontabSchedule.objects.create(minute="*/5")
    for name in ("monitor-cache-health", "warm-frequent-rucs"):
        PeriodicTask.objects.create(name=name, task="workers.tasks.any", crontab=crontab, last_run_at=timezone.now())
    assert "2 on time" in card(index(admin_client), "Schedules")
    PeriodicTask.objects.filter(name="warm-frequent-rucs").update(last_run_at=timezone.now() - timedelta(hours=3))
    models.ScheduleRun.objects.update(waiting_since=timezone.now() - timedelta(minutes=20))
    shown = card(index(admin_client), "Schedules")
    assert "2 late" in shown
    found = re.findall(r"<code>([^<]+)</code>.*?cw-bad\">([^<]+)<", shown, re.DOTALL)
    assert [name for name, _words in found] == ["warm-frequent-rucs", "monitor-cache-health"]
    assert found[0][1].startswith("not sent: 2 hours")
    assert found[1][1] == "no success: 20 minutes"


# -- money


def test_answers_of_the_cache_count_known_absences_but_no_old_answers(rows: Rows, admin_client: Client) -> None:
    hour = timezone.now().replace(minute=0, second=0, microsecond=0)
    counts = {"negative": 5, "stale": 2, "miss": 2, "outage": 1}
    for outcome, count in counts.items():
        models.LookupHour.objects.create(hour=hour, service="migo", kind="ruc", outcome=outcome, count=count)
    old = hour - timedelta(hours=24)
    models.LookupHour.objects.create(hour=old, service="migo", kind="ruc", outcome="miss", count=280)
    shown = card(index(admin_client), "Answered by the cache")
    assert "95.0 %" in shown
    assert "of 100 look-ups" in shown
    longer = card(index(admin_client, "7d"), "Answered by the cache")
    assert "25.0 %" in longer
    assert "of 380 look-ups" in longer


def test_money_is_said_where_a_query_has_a_price(rows: Rows, settings: Any, admin_client: Client) -> None:
    page = index(admin_client)
    assert ">41</p>" in card(page, "Paid queries")
    assert ">90</p>" in card(page, "Not spent")
    assert "S/" not in page
    settings.MIGO_QUERY_PRICE = Decimal("0.10")
    page = index(admin_client)
    assert "S/ 4.10" in card(page, "Paid queries")
    assert "S/ 9.00" in card(page, "Not spent")


def test_only_what_the_cache_answered_is_not_spent_less_what_warming_paid(rows: Rows, admin_client: Client) -> None:
    hour = timezone.now().replace(minute=0, second=0, microsecond=0)
    # With the provider down a look-up is a miss that nobody paid for, or has an old answer: nothing is saved by either
    for outcome, count in (("negative", 10), ("stale", 20), ("miss", 60), ("outage", 20)):
        models.LookupHour.objects.create(hour=hour, service="migo", kind="ruc", outcome=outcome, count=count)
    models.SpendHour.objects.create(hour=hour, service="migo", purpose="retry", queries=7)
    warmed = models.SpendHour.objects.create(hour=hour, service="migo", purpose="warm", queries=30)
    shown = card(index(admin_client), "Not spent")
    assert ">70</p>" in shown
    assert "35.0 % of the look-ups" in shown
    warmed.queries = 500
    warmed.save()
    assert ">0</p>" in card(index(admin_client), "Not spent")


def test_caps_say_how_much_is_spent_and_what_warming_may_use(rows: Rows, settings: Any, admin_client: Client) -> None:
    assert "No limit is set." in card(index(admin_client), "Paid queries")
    settings.MIGO_MAX_PER_DAY, settings.WARM_SHARE = 50, 0.5
    midnight = timezone.localtime().replace(hour=0, minute=0, second=0, microsecond=0)
    models.SpendHour.objects.create(hour=midnight, service="migo", purpose="warm", queries=9)
    models.SpendHour.objects.create(hour=midnight - timedelta(hours=1), service="migo", purpose="warm", queries=500)
    shown = card(index(admin_client), "Paid queries")
    assert "50 of 50" in shown
    assert "warming: 9 of 25" in shown
    assert "cw-reached" in shown


def test_the_account_is_what_the_last_health_run_read(rows: Rows, admin_client: Client) -> None:
    account = {"queries_left": 12345, "spent_a_day": 200.0, "days": 61.7}
    models.HealthSample.objects.update(around={"providers": {"migo": {"account": account}}})
    shown = card(index(admin_client), "Paid queries")
    assert "Account of migo: 12,345 queries left, for 61.7 days at this pace" in shown


def test_a_health_run_that_read_nothing_around_the_cache_breaks_no_page(rows: Rows, admin_client: Client) -> None:
    models.HealthSample.objects.update(
        around={name: around.reading(name).blind(name, "hangs").facts for name in around.TABLE}
    )
    assert "Account of" not in card(index(admin_client), "Paid queries")
    sample = admin_client.get(f"/admin/api_service/healthsample/{rows[models.HealthSample].pk}/change/", headers=EN)
    assert sample.text.count("error: hangs") == len(around.TABLE)


# -- time to an answer


def test_the_first_page_says_how_long_an_answer_takes_from_the_cache_and_when_it_is_paid(
    rows: Rows, admin_client: Client
) -> None:
    shown = card(index(admin_client), "Time to an answer")
    assert "0.2 ms" in shown
    assert "from the cache" in shown
    assert "paid" not in shown
    hour = timezone.now().replace(minute=0, second=0, microsecond=0)
    for bound, count in ((500_000, 90), (1_000_000, 10)):
        models.LookupTime.objects.create(hour=hour, service="migo", way="upstream", bound=bound, count=count)
    shown = card(index(admin_client), "Time to an answer")
    # Within a step evenly: 50 of the 90 that took 250 to 500 ms, half of the 10 that took 500 to 1,000
    assert re.findall(r"389 ms|95 of 100 within 750 ms", shown) == ["389 ms", "95 of 100 within 750 ms"]


def test_the_wait_for_an_error_and_the_answers_of_the_store_are_told_beside_the_quick_ones(
    rows: Rows, admin_client: Client
) -> None:
    hour = timezone.now().replace(minute=0, second=0, microsecond=0)
    for way, bound, count in (("store", 5_000, 4), ("failed", 10_000_000, 1_800)):
        models.LookupTime.objects.create(hour=hour, service="migo", way=way, bound=bound, count=count)
    tile = card(index(admin_client), "Time to an answer")
    shown = " ".join(re.sub(r"<[^>]+>", " ", tile).split())
    assert "3.8 ms 4 × from the answer store; 95 of 100 within 4.9 ms" in shown
    assert "7,500 ms 1,800 × an error or an old answer; 95 of 100 within 9,750 ms" in shown


def test_where_no_look_up_was_timed_there_is_no_time(rows: Rows, admin_client: Client) -> None:
    models.LookupTime.objects.update(hour=timezone.now() - timedelta(days=2))
    shown = card(index(admin_client), "Time to an answer")
    assert "No look-up was timed in this time." in shown
    assert " ms" not in shown
    assert " ms" in card(index(admin_client, "7d"), "Time to an answer")
    assert "No look-up was timed" in card(part(admin_client, "charts"), "Time to an answer from the cache")


def test_times_are_drawn_step_by_step_with_gaps_where_nothing_was_timed(rows: Rows, admin_client: Client) -> None:
    hour = timezone.now().replace(minute=0, second=0, microsecond=0)
    for back, bound, count in ((0, 500_000, 4), (2, 100_000, 1), (2, 250_000, 1)):
        models.LookupTime.objects.create(
            hour=hour - timedelta(hours=back), service="migo", way="upstream", bound=bound, count=count
        )
    page = part(admin_client, "charts")
    found = drawn(page, "Time to an answer from a provider")
    assert found["median"][-3:] == [100.0, None, 375.0]
    assert found["95 of 100 within"][-3:] == [235.0, None, 487.5]
    assert "between 100 ms and 375 ms, last 375 ms" in card(page, "Time to an answer from a provider")
    assert drawn(page, "Time to an answer from the cache")["median"][-3:] == [None, None, 0.175]


# -- runs


def test_an_inventory_under_way_says_how_far_it_is(rows: Rows, admin_client: Client) -> None:
    run = models.TrackRun.objects.create(started_at=timezone.now(), state="running")
    leased(track_runs.LOCK)
    for node, state, keys in (("a:1", "done", 1000), ("b:1", "running", 234), ("c:1", "waiting", 0)):
        models.NodeListing.objects.create(run=run, node=node, state=state, keys=keys)
    models.NodeListing.objects.create(run=run, node="gone:1", state="done", retired=True)
    shown = card(part(admin_client, "runs"), "Key inventory")
    assert "running" in shown
    assert "1,234 keys" in shown
    assert "1 of 3 nodes listed" in shown


def test_what_was_written_and_removed_of_late_is_named(rows: Rows, admin_client: Client) -> None:
    page = part(admin_client, "runs")
    assert "Refill of 10.0.4.11:11211: 1,188 answers written" in page
    assert "Clearing of migo: 40 keys removed" in page
    assert "Copy to redis 10.0.4.20:6379: 4,990 keys copied" in page
    models.ClearRun.objects.update(kind="ruc", pattern="2010*", dry_run=True)
    assert "Dry run of a clearing of migo:ruc_2010*: 40 keys found" in part(admin_client, "runs")
    for model in (models.RefillRun, models.ClearRun, models.CopyRun):
        model._default_manager.update(started_at=timezone.now() - timedelta(days=2))
    assert "cw-recent" not in part(admin_client, "runs")


# -- charts


def test_a_step_in_which_nothing_was_counted_is_a_gap(rows: Rows, admin_client: Client) -> None:
    before = timezone.now().replace(minute=0, second=0, microsecond=0) - timedelta(hours=2)
    for outcome, count in (("hit", 3), ("miss", 1)):
        models.LookupHour.objects.create(hour=before, service="migo", kind="ruc", outcome=outcome, count=count)
    page = part(admin_client, "charts")
    assert drawn(page, "Answered by the cache")["hit ratio"][-3:] == [75.0, None, 100.0]
    assert drawn(page, "Look-ups by what the cache said")["miss"][-3:] == [1, None, 0]
    # Look-ups and nothing paid is a 0; no look-ups is not known
    assert drawn(page, "Paid queries")["look-up of a user"][-3:] == [0, None, 41]


def test_rows_on_either_side_of_midnight_in_lima_are_of_two_days(rows: Rows, admin_client: Client) -> None:
    models.SpendHour.objects.all().delete()
    midnight = timezone.localtime().replace(hour=0, minute=0, second=0, microsecond=0)
    for hour, queries in ((midnight, 7), (midnight - timedelta(hours=1), 5), (midnight - timedelta(days=90), 99)):
        models.SpendHour.objects.create(hour=hour, service="migo", purpose="user", queries=queries)
    values = drawn(part(admin_client, "charts", "90d"), "Paid queries")["look-up of a user"]
    assert len(values) == 90
    assert values[-2:] == [5, 7]
    assert values[0] is None


def test_latency_is_the_mean_of_the_medians_and_the_worst_of_all(rows: Rows, admin_client: Client) -> None:
    sample = rows[models.HealthSample]
    models.NodeSample.objects.create(sample=sample, node="c:1", reachable=True, latency_ms=0.8, latency_worst_ms=9.5)
    found = drawn(part(admin_client, "charts", "90d"), "Latency of the cache")
    assert found["usual"][-1] == pytest.approx(0.6)
    assert found["worst"][-1] == 9.5


def test_a_service_that_lost_all_its_keys_falls_to_zero(rows: Rows, admin_client: Client) -> None:
    run = models.TrackRun.objects.create(started_at=timezone.now() - timedelta(days=1), state="done")
    for service in ("migo", "sunat"):
        models.ServiceSnapshot.objects.create(run=run, service=service, keys=8, bytes=2**20)
    page = part(admin_client, "charts", "90d")
    assert drawn(page, "Keys by service")["sunat"][-3:] == [None, 8, 0]
    assert drawn(page, "Bytes by service")["migo"][-2:] == [2**20, 2**20]


def test_life_times_are_those_of_the_last_complete_inventory(rows: Rows, admin_client: Client) -> None:
    models.TrackRun.objects.create(started_at=timezone.now(), state="running")
    found = drawn(part(admin_client, "charts"), "Time that keys have left")
    assert found["migo"] == [0, 0, 0, 9, 0, 0, 0, 0, 1]


def test_invalid_rucs_are_shown_by_reason_as_last_counted(rows: Rows, admin_client: Client) -> None:
    assert "No RUC is listed as invalid" in card(part(admin_client, "charts"), "Invalid RUCs by reason")
    counted = {"complete": False, "reasons": {"NO_EXISTE_SUNAT": 12, "odd": 2}}
    models.TrackRun.objects.update(invalid_reasons=counted)
    models.TrackRun.objects.create(started_at=timezone.now(), state="running")
    shown = card(part(admin_client, "charts"), "Invalid RUCs by reason")
    assert '<th scope="row">SUNAT does not know it</th><td>12</td>' in shown
    assert '<th scope="row">odd</th><td>2</td>' in shown
    assert "Of the first 20,000; there are more." in shown


def test_warm_runs_that_are_not_summed_up_yet_are_no_waste(rows: Rows, admin_client: Client) -> None:
    models.WarmRun.objects.create(started_at=timezone.now(), state="done", limit=1, budget=1)
    page = part(admin_client, "charts")
    found = drawn(page, "Warming: loaded in time, or in vain")
    assert (found["read in time"][-1], found["not read in time"][-1]) == (30, 10)


def test_every_chart_has_a_table_that_says_the_same(rows: Rows, admin_client: Client) -> None:
    page = part(admin_client, "charts")
    assert page.count("<canvas") == page.count("<details") > 6
    assert re.search(r"<td>100 %</td>", card(page, "Answered by the cache"))
    assert re.search(r'<canvas role="img" aria-label="Paid queries: 41 in all"', page)


def test_incidents_lie_on_a_time_line(rows: Rows, admin_client: Client) -> None:
    now = timezone.now()
    models.Incident.objects.update(since=now - timedelta(hours=6), opened_at=now - timedelta(hours=6))
    models.Incident.objects.create(
        code="node_slow",
        severity="warning",
        current="healthy",
        since=now - timedelta(days=3),
        opened_at=now - timedelta(days=3),
        resolved_at=now - timedelta(days=2),
    )
    shown = card(part(admin_client, "charts"), "Incidents")
    assert "node does not answer" in shown
    assert "1 incident, 1 open" in shown
    assert "node is slow" not in shown
    assert shown.count("<rect") == 1
    assert "node is slow" in card(part(admin_client, "charts", "7d"), "Incidents")


def test_an_empty_database_warns_instead_of_looking_well(admin_client: Client) -> None:
    page = index(admin_client)
    assert "The cache was never checked" in page
    assert "no look-ups" in page
    assert (page + part(admin_client, "runs")).count(OLD) == 3
    charts = part(admin_client, "charts")
    assert "<canvas" not in charts
    for text in ("No look-ups in this time.", "No inventory in this time.", "No incident in this time."):
        assert text in charts


# -- who sees what


@pytest.mark.parametrize(
    ("permission", "titles"),
    [
        ("view_healthsample", ["The cache has failures", "Latency of the cache"]),
        ("view_incident", ["Open incidents", "Incidents"]),
        ("view_lookuphour", ["Answered by the cache", "Look-ups by what the cache said"]),
        ("view_spendhour", ["Paid queries"]),
        ("view_schedulerun", ["Schedules"]),
        ("view_warmrun", ["Warming", "Warming: loaded in time, or in vain"]),
        ("view_trackrun", ["Key inventory", "Invalid RUCs by reason"]),
        ("view_servicesnapshot", ["Keys by service", "Bytes by service", "Time that keys have left"]),
        ("view_trackedkey", []),
    ],
)
def test_a_person_sees_the_cards_of_the_tables_that_are_theirs(
    permission: str, titles: list[str], rows: Rows, staff: Staff
) -> None:
    client = staff(permission)
    shown = "".join(part(client, name) for name in PARTS)
    found = re.findall(r"<h2[^>]*>(?:<a [^>]*>)?([^<]+)", shown)
    assert sorted({title.strip() for title in found}) == sorted(titles)


@pytest.mark.parametrize("name", PARTS)
def test_a_part_is_for_staff_and_sends_others_to_the_log_in(name: str, rows: Rows, client: Client) -> None:
    response = client.get(f"/admin/dashboard/{name}/")
    assert response.status_code == 403
    assert response.headers["HX-Refresh"] == "true"
    assert "cw-" not in response.text


@pytest.mark.parametrize("name", PARTS)
def test_a_part_is_read_only_and_kept_by_no_cache(name: str, rows: Rows, admin_client: Client) -> None:
    assert admin_client.post(f"/admin/dashboard/{name}/").status_code == 405
    assert "no-store" in admin_client.get(f"/admin/dashboard/{name}/").headers["Cache-Control"]


# -- the page as such


@pytest.mark.parametrize("period", ["24h", "7d", "90d"])
def test_the_period_of_the_url_is_kept_by_what_refreshes(period: str, rows: Rows, admin_client: Client) -> None:
    page = index(admin_client, period)
    assert f'hx-get="/admin/dashboard/now/?period={period}"' in page
    assert f'hx-get="/admin/dashboard/charts/?period={period}"' in page
    assert re.search(rf'href="\?period={period}" aria-current="true"', page)


def test_the_page_loads_nothing_from_outside_and_has_no_script_of_its_own(rows: Rows, admin_client: Client) -> None:
    page = index(admin_client) + "".join(part(admin_client, name) for name in PARTS)
    assert 'src="http' not in page
    assert 'href="http' not in page
    assert " style=" not in "".join(part(admin_client, name) for name in PARTS)
    assert "api_service/dashboard.css" in page
    assert "api_service/refresh.js" in page


MOST_QUERIES = 15


@pytest.mark.parametrize("url", ["/admin/", *(f"/admin/dashboard/{name}/" for name in PARTS)])
def test_a_person_with_every_permission_takes_fifteen_queries_at_most(url: str, rows: Rows, staff: Staff) -> None:
    names = [model._meta.model_name for model in rows]
    client = staff(*(f"view_{name}" for name in names))
    with CaptureQueriesContext(connection) as queries:
        assert client.get(url, {"period": "90d"}).status_code == 200
    assert 0 < len(queries) <= MOST_QUERIES, [query["sql"] for query in queries]
