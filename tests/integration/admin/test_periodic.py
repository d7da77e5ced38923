"""The list of periodic tasks: what was sent, what became of it, and what is late."""

from __future__ import annotations

import re
from datetime import timedelta

from django.contrib.admin.models import LogEntry
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from django_celery_beat.models import CrontabSchedule, IntervalSchedule, PeriodicTask

from api_service.models import ScheduleRun
from tests.integration.admin.conftest import Rows

URL = "/admin/django_celery_beat/periodictask/"
EN = {"accept-language": "en"}


def add(name: str, minutes: int, *, enabled: bool = True) -> PeriodicTask:
    crontab, _ = CrontabSchedule.objects.get_or_create(minute="*/5", hour="*")
    sent = timezone.now() - timedelta(minutes=minutes)
    return PeriodicTask.objects.create(
        name=name, task="workers.tasks.any", crontab=crontab, last_run_at=sent, enabled=enabled
    )


def shown(client: Client) -> dict[str, list[str]]:
    """The cells of each row, as text, by the schedule's name."""
    text = client.get(URL, headers=EN).text
    rows = re.findall(r"<tr class=\"data-row .*?</tr>", text, re.DOTALL)
    found = [re.findall(r"<t[dh][^>]*>(.*?)</t[dh]>", row, re.DOTALL) for row in rows]
    cells = [[re.sub(r"<[^>]+>", "", cell).strip() for cell in row] for row in found]
    return {row[1]: row[2:] for row in cells}


def test_each_row_says_when_it_was_sent_when_it_succeeded_and_how_late_it_is(rows: Rows, admin_client: Client) -> None:
    add("monitor-cache-health", 2)
    add("unsent", 120)
    add("off", 120, enabled=False)
    found = shown(admin_client)
    _, state, sent, succeeded, took, when = found["monitor-cache-health"]
    assert (state, took, when) == ("on time", "1.2 s", "*/5 * * * *")
    assert sent.replace("\xa0", " ") == "2 minutes ago"
    assert succeeded.replace("\xa0", " ") == "12 minutes ago"
    assert found["unsent"][1].startswith("not sent: 1")
    assert found["unsent"][3] == "–"
    assert found["off"][1] == "–"


def test_an_interval_is_written_out(rows: Rows, admin_client: Client) -> None:
    every = IntervalSchedule.objects.create(every=3, period=IntervalSchedule.HOURS)
    PeriodicTask.objects.create(name="interval", task="workers.tasks.any", interval=every)
    assert "3" in shown(admin_client)["interval"][-1]


def test_many_rows_take_no_more_queries_than_few(rows: Rows, admin_client: Client) -> None:
    add("first", 1)
    with CaptureQueriesContext(connection) as few:
        admin_client.get(URL)
    for number in range(20):
        add(f"schedule {number}", number)
    with CaptureQueriesContext(connection) as many:
        admin_client.get(URL)
    assert len(many) == len(few)


def test_a_row_can_be_switched_off_from_the_list(rows: Rows, admin_client: Client) -> None:
    row = add("monitor-cache-health", 2)
    admin_client.post(URL, {"action": "disable_tasks", "_selected_action": [row.pk]})
    row.refresh_from_db()
    assert row.enabled is False
    assert admin_client.get(f"{URL}{row.pk}/change/").status_code == 200


def test_what_is_switched_for_several_at_once_counts_from_then(db: None, admin_client: Client) -> None:
    """One UPDATE does it, which calls no `save`."""
    crontab = CrontabSchedule.objects.create()
    row = PeriodicTask.objects.create(name="nightly", task="workers.tasks.clean_up", crontab=crontab)

    def act(name: str) -> ScheduleRun:
        admin_client.post(URL, {"action": name, "_selected_action": [row.pk]})
        return ScheduleRun.objects.get(name="nightly")

    assert act("disable_tasks").on_since is None
    assert act("enable_tasks").on_since is not None
    assert act("toggle_tasks").on_since is None


def test_a_row_that_leaves_the_filtered_list_by_its_switch_counts_from_then_too(admin_client: Client) -> None:
    crontab = CrontabSchedule.objects.create()
    named = {"task": "workers.tasks.clean_up", "crontab": crontab}
    row = PeriodicTask.objects.create(name="nightly", enabled=False, **named)

    def act(name: str, listed: str) -> ScheduleRun:
        admin_client.post(f"{URL}?enabled__exact={listed}", {"action": name, "_selected_action": [row.pk]})
        return ScheduleRun.objects.get(name="nightly")

    assert act("enable_tasks", "0").on_since is not None
    assert act("disable_tasks", "1").on_since is None
    assert act("toggle_tasks", "0").on_since is not None
    row.refresh_from_db()
    assert row.enabled is True


def test_each_row_that_is_switched_from_the_list_is_written_down_with_who_did_it(admin_client: Client) -> None:
    off, on = add("nightly", 1, enabled=False), add("hourly", 1)

    def act(name: str) -> list[tuple[str, str, str]]:
        LogEntry.objects.all().delete()
        admin_client.post(URL, {"action": name, "_selected_action": [off.pk, on.pk]})
        rows = LogEntry.objects.filter(user__username="admin").order_by("object_repr")
        return [(str(row.object_id), row.object_repr, row.change_message) for row in rows]

    # What was so before is nothing that was done
    assert act("enable_tasks") == [(str(off.pk), "nightly", "enabled=True")]
    assert act("toggle_tasks") == [
        (str(on.pk), "hourly", "enabled=False"),
        (str(off.pk), "nightly", "enabled=False"),
    ]
    assert act("disable_tasks") == []


def test_the_form_says_a_crontab_in_words_once_and_has_no_script_in_it(admin_client: Client) -> None:
    row = add("check", 1)
    page = admin_client.get(f"{URL}{row.pk}/change/", headers=EN).text
    assert page.count("Every 5 minutes (America/Lima)") == 1
    assert "api_service/periodic_task.js" in page
    assert "<script>" not in page


def test_nothing_of_django_celery_beat_is_in_english_to_who_reads_spanish(admin_client: Client) -> None:
    row = add("check", 1)
    assert row.crontab is not None
    beat = "/admin/django_celery_beat/"
    pages = (URL, f"{URL}{row.pk}/change/", f"{beat}crontabschedule/{row.crontab.pk}/change/")
    text = "".join(admin_client.get(url, headers={"accept-language": "es"}).text for url in pages)
    assert [
        english for english in ("Task Name", "0 and 255", "enabled is", "Human readable", "Every ") if english in text
    ] == []


def test_a_crontab_is_said_in_the_language_of_the_page(admin_client: Client) -> None:
    CrontabSchedule.objects.create(minute="0", hour="4", day_of_week="1", month_of_year="1-3")
    CrontabSchedule.objects.create(minute="*/5", timezone="UTC")
    said = {
        language: admin_client.get("/admin/django_celery_beat/crontabschedule/", headers={"accept-language": language})
        for language in ("es", "en")
    }
    assert "A las 04:00, sólo el lunes, de enero a marzo (America/Lima)" in said["es"].text
    assert "At 04:00, only on Monday, January through March (America/Lima)" in said["en"].text
    assert "Cada 5 minutos (UTC)" in said["es"].text


def test_a_schedule_that_is_being_added_lists_no_tasks(admin_client: Client) -> None:
    page = admin_client.get("/admin/django_celery_beat/crontabschedule/add/", headers=EN).text
    assert "Periodic Tasks Using This Schedule" not in page
