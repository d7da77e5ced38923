"""The list of periodic tasks: what was sent, what became of it, and what is late."""

from __future__ import annotations

import json
import re
from datetime import timedelta

import pytest
from django.contrib.admin.models import LogEntry
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from django.utils.translation import override
from django_celery_beat.models import CrontabSchedule, IntervalSchedule, PeriodicTask

from api_service.admin import crontab_words
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


def test_who_switched_a_row_is_on_record(rows: Rows, admin_client: Client) -> None:
    row = add("nightly", 2)
    for name in ("disable_tasks", "enable_tasks", "toggle_tasks"):
        admin_client.post(URL, {"action": name, "_selected_action": [row.pk]})
    entries = LogEntry.objects.filter(object_repr="nightly", object_id=str(row.pk)).order_by("pk")
    assert [entry.change_message for entry in entries] == ["enabled=False", "enabled=True", "enabled=False"]
    assert {entry.user.get_username() for entry in entries} == {"admin"}


@pytest.mark.parametrize("count", [1, 2])
def test_a_switch_is_told_in_spanish(admin_client: Client, count: int) -> None:
    rows = [add(f"nightly {number}", 2) for number in range(count)]
    chosen = {"action": "disable_tasks", "_selected_action": [row.pk for row in rows]}
    page = admin_client.post(URL, chosen, follow=True, headers={"accept-language": "es"}).text
    assert {1: "Se desactivó 1 tarea.", 2: "Se desactivaron 2 tareas."}[count] in page


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


@pytest.mark.parametrize(
    ("language", "said"),
    [("es", "A las 15:05, sólo el lunes y viernes America/Lima"), ("en", "At 15:05, only on Monday and Friday")],
)
def test_a_crontab_is_said_in_the_language_of_the_reader(admin_client: Client, language: str, said: str) -> None:
    row = CrontabSchedule.objects.create(minute="5", hour="15", day_of_week="fri,mon", timezone="America/Lima")
    task = PeriodicTask.objects.create(name="nightly", task="workers.tasks.clean_up", crontab=row)
    headers = {"accept-language": language}
    crontabs = "/admin/django_celery_beat/crontabschedule/"
    for url in (crontabs, f"{crontabs}{row.pk}/change/", f"{URL}{task.pk}/change/"):
        page = admin_client.get(url, headers=headers).text
        # As a text, or for the script of the page
        assert said in page or json.dumps(said).strip('"') in page


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"minute": "2-59/5"}, "Cada 5 minutos, del minuto 2 al 59 pasada la hora"),
        ({"minute": "0", "hour": "0"}, "A las 00:00"),
        (
            {"minute": "0", "hour": "0", "day_of_month": "1", "month_of_year": "1"},
            "A las 00:00, el día 1 del mes, sólo en enero",
        ),
        ({"minute": "7", "day_of_week": "0-6"}, "A los 7 minutos de la hora"),
        ({"minute": "7", "day_of_week": "someday"}, "7 * * * someday"),
    ],
)
def test_a_crontab_in_words_leaves_no_hour_in_doubt_and_what_has_no_words_as_it_is(
    fields: dict[str, str], said: str
) -> None:
    with override("es"):
        assert crontab_words.in_words(CrontabSchedule(**fields)) == f"{said} America/Lima"


def test_a_task_is_called_so_in_spanish_too(admin_client: Client) -> None:
    row = add("nightly", 1)
    assert row.crontab is not None
    # Of two tasks the list can be narrowed to one
    PeriodicTask.objects.create(name="other", task="workers.tasks.other", crontab=row.crontab)
    crontab = f"/admin/django_celery_beat/crontabschedule/{row.crontab.pk}/change/"
    pages = [admin_client.get(url, headers={"accept-language": "es"}).text for url in (URL, crontab)]
    assert all("workers.tasks.any" in page for page in pages)
    assert [page for page in pages if "Task Name" in page] == []


def test_the_form_says_a_crontab_in_words_once_and_has_no_script_in_it(admin_client: Client) -> None:
    row = add("check", 1)
    page = admin_client.get(f"{URL}{row.pk}/change/").text
    assert row.crontab is not None
    assert page.count(crontab_words.in_words(row.crontab)) == 1
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


def test_a_schedule_that_is_being_added_lists_no_tasks(admin_client: Client) -> None:
    page = admin_client.get("/admin/django_celery_beat/crontabschedule/add/", headers=EN).text
    assert "Periodic Tasks Using This Schedule" not in page
