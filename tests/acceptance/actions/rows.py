"""Rows that people write themselves: added, changed, deleted one by one and from the list."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.contrib.admin.models import ADDITION, CHANGE, DELETION
from django.contrib.auth.models import Group, User
from django.db.models import Model
from django_celery_beat.models import ClockedSchedule, CrontabSchedule, IntervalSchedule, PeriodicTask, SolarSchedule
from playwright.sync_api import expect

from api_service.models import MaintenanceWindow
from tests.acceptance.actions.person import Person
from tests.site import PASSWORD

# The button that leads to the page of the new row
ON = "Save and continue editing"


@dataclass(frozen=True)
class Kind:
    """`write` fills in the form of the first or the second new row; `column` has `value` after `change`."""

    model: type[Model]
    write: Callable[[Person, int], None]
    change: Callable[[Person], None]
    column: str
    value: object


def write_and_delete(person: Person, kind: Kind) -> None:
    pk = added(person, kind.model, lambda: kind.write(person, 1))
    kind.change(person)
    person.presses(ON)
    assert person.world.records.get(kind.model, id=pk)[kind.column] == kind.value
    person.is_on_record(object_id=str(pk), action_flag=CHANGE)
    person.presses_as_it_is(f"{person.text('Delete')} {person.name(kind.model)}")
    person.presses("Yes, I’m sure")
    gone(person, kind, pk)
    delete_in_the_list(person, kind)


def added(person: Person, model: type[Model], write: Callable[[], None], save: str = ON) -> int:
    """The primary key of a new row; `save` is the button that ends the form."""
    newest = person.world.records.newest(model)
    person.opens(model)
    person.presses("Add %(name)s", name=person.name(model))
    write()
    person.presses(save)
    pk = person.world.records.newest(model)
    assert pk > newest
    assert save != ON or person.arrives_at(model) == pk
    person.is_on_record(object_id=str(pk), action_flag=ADDITION)
    return pk


def delete_in_the_list(person: Person, kind: Kind) -> None:
    pk = added(person, kind.model, lambda: kind.write(person, 2), "Save")
    person.opens(kind.model)
    person.chooses(
        "Delete selected %(verbose_name_plural)s", [pk], verbose_name_plural=person.name(kind.model, plural=True)
    )
    person.presses("Yes, I’m sure")
    gone(person, kind, pk)


def gone(person: Person, kind: Kind, pk: int) -> None:
    assert person.world.records.find(kind.model, id=pk) is None
    person.is_on_record(object_id=str(pk), action_flag=DELETION)


def add_beside_a_form(person: Person) -> None:
    """In a window of its own, which closes; what was added there is chosen in the form that it belongs to."""
    model = person.name(CrontabSchedule)
    person.opens(PeriodicTask)
    person.presses("Add %(name)s", name=person.name(PeriodicTask))
    person.main.get_by_role("button", name=f"{person.text('Actions')}: {model}", exact=True).click()
    with person.page.expect_popup() as opened:
        person.page.get_by_role("link", name=person.text("Add another %(model)s", model=model)).click()
    beside = Person(opened.value, person.world, person.language, person.username, person.sent, person.newest_entry)
    beside.fills("Minute(s)", "41")
    with (
        opened.value.expect_event("close"),
        opened.value.expect_request(lambda request: request.method == "POST") as posted,
    ):
        beside.main.get_by_role("button", name=beside.text("Save"), exact=True).click()
    person.note(posted.value)
    row = person.world.records.get(CrontabSchedule, minute="41")
    expect(person.field("Crontab Schedule")).to_have_value(str(row["id"]))
    person.is_on_record(object_id=str(row["id"]), action_flag=ADDITION)


# -- maintenance: once and every week


def _window(person: Person, number: int) -> None:
    starts = datetime.now() + timedelta(days=2)  # noqa: DTZ005  Lima's or not: it has not begun
    person.fills("name", "Cambio de discos")
    person.field("repeats").select_option({1: "once", 2: "weekly"}[number])
    person.page.locator("#id_starts_at_0").fill(f"{starts:%Y-%m-%d}")
    person.page.locator("#id_starts_at_1").fill("03:00:00")
    person.fills("Minutes", 90)


def _cancel(person: Person) -> None:
    person.field("enabled").uncheck()


# -- schedules


def _task(person: Person, number: int) -> None:
    person.fills("Name", f"prueba {number}")
    person.fills("Task (custom)", "workers.tasks.clean_up")
    person.field("Crontab Schedule").select_option(index=1)
    person.field("Enabled").uncheck()


def _describe(person: Person) -> None:
    person.fills("Description", "hecha a mano")


def _crontab(person: Person, number: int) -> None:
    person.fills("Minute(s)", 10 + number)


def _crontab_hour(person: Person) -> None:
    person.fills("Hour(s)", "5")


def _interval(person: Person, number: int) -> None:
    person.fills("Number of Periods", 10 + number)
    person.field("Interval Period").select_option("hours")


def _interval_days(person: Person) -> None:
    person.field("Interval Period").select_option("days")


def _clocked(person: Person, number: int) -> None:
    person.page.locator("#id_clocked_time_0").fill(f"2031-02-0{number}")
    person.page.locator("#id_clocked_time_1").fill("04:05:06")


def _clocked_later(person: Person) -> None:
    person.page.locator("#id_clocked_time_0").fill("2032-02-01")


def _solar(person: Person, number: int) -> None:
    person.field("Solar Event").select_option(("sunset", "dusk_civil")[number - 1])
    person.fills("Latitude", "-12.05")
    person.fills("Longitude", "-77.04")


def _solar_event(person: Person) -> None:
    person.field("Solar Event").select_option("dawn_civil")


# -- accounts


def _account(person: Person, number: int) -> None:
    write_account(person, f"nueva{number}")


def write_account(person: Person, username: str) -> None:
    person.fills("username", username)
    person.fills("Password", PASSWORD)
    person.fills("Password confirmation", PASSWORD)


def _first_name(person: Person) -> None:
    person.fills("first name", "Rosa")


def _group(person: Person, number: int) -> None:
    person.fills("Name", f"Turno {number}")


def _group_name(person: Person) -> None:
    person.fills("Name", "Turno de noche")


KINDS = {
    "maintenancewindow": Kind(MaintenanceWindow, _window, _cancel, "enabled", 0),
    "django_celery_beat.periodictask": Kind(PeriodicTask, _task, _describe, "description", "hecha a mano"),
    "django_celery_beat.crontabschedule": Kind(CrontabSchedule, _crontab, _crontab_hour, "hour", "5"),
    "django_celery_beat.intervalschedule": Kind(IntervalSchedule, _interval, _interval_days, "period", "days"),
    "django_celery_beat.clockedschedule": Kind(
        ClockedSchedule, _clocked, _clocked_later, "clocked_time", "2032-02-01 09:05:06"
    ),
    "django_celery_beat.solarschedule": Kind(SolarSchedule, _solar, _solar_event, "event", "dawn_civil"),
    "auth.user": Kind(User, _account, _first_name, "first_name", "Rosa"),
    "auth.group": Kind(Group, _group, _group_name, "name", "Turno de noche"),
}
