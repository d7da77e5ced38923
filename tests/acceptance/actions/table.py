"""Every action that a person can start in the admin, a line each: how it is done, and what the browser sends for it.

`test_actions.py` does each of them, and fails for what the pages offer and no line here does.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from api_service.admin.incident_acts import ACTS
from tests.acceptance.actions import (
    accounts,
    billing,
    channels,
    clearing,
    incidents,
    rows,
    rucs,
    runs,
    schedules,
    tokens,
)
from tests.acceptance.actions.deeds import ACTS_OF, INCIDENT, RESULT, RUC, acts_of, on_a_row, root_of
from tests.acceptance.actions.person import Person
from tests.integration.admin.access import OURS, ROW


@dataclass(frozen=True)
class Line:
    """`does` raises AssertionError where the effect is another one; `deeds`: see `deeds.py`."""

    name: str
    does: Callable[[Person], None]
    deeds: frozenset[str]


def line(name: str, does: Callable[[Person], None], *deeds: str) -> Line:
    return Line(name, does, frozenset(deeds))


def run(table: str) -> str:
    return f"{OURS}{table}/run/"


def row(table: str, act: str) -> str:
    return f"{OURS}{table}/{ROW}/{act}/"


TASKS = root_of("django_celery_beat.periodictask")
TABLE: tuple[Line, ...] = (
    # -- runs
    line("check the cache now", runs.check_now, run("healthsample")),
    line("list the keys now", runs.track_now, run("trackrun")),
    line("load three RUCs now", runs.warm_a_list, run("warmrun")),
    line("see what a warm-up would do", runs.warm_dry, run("warmrun")),
    line("refill a node", runs.refill, run("refillrun")),
    line("copy to another cache", runs.copy, run("copyrun")),
    line("count, then clear a service", clearing.count_and_clear, run("clearrun"), row("clearrun", "clear")),
    line(
        "resume a clearing that a dead node stopped",
        clearing.resume,
        *(run("clearrun"), row("clearrun", "clear"), row("clearrun", "resume")),
    ),
    # -- one RUC
    line("refresh a RUC", rucs.refresh, f"{RUC} refresh"),
    line("forget a RUC", rucs.forget, f"{RUC} forget"),
    line("mark a RUC as invalid and take it off that list", rucs.mark_and_unmark, f"{RUC} mark", f"{RUC} unmark"),
    # -- money
    line(
        "check a list for invoicing, resume it, take the result away",
        billing.check_resume_and_download,
        *(run("billingrun"), row("billingrun", "begin"), *(f"{RESULT} {form}" for form in ACTS_OF[RESULT])),
    ),
    line("cancel the check of a list", billing.cancel, run("billingrun"), row("billingrun", "cancel")),
    # -- alerts
    line(
        "acknowledge, mute and unmute an incident on its page",
        incidents.acts_on_its_page,
        *(f"{INCIDENT} {act}" for act in ACTS),
    ),
    line("acknowledge, mute and unmute incidents of the list", incidents.acts_in_the_list, *acts_of("incident")),
    line("send a test alert", channels.try_one, run("channelstate")),
    line("send a test alert to chosen channels", channels.try_chosen, f"{root_of('channelstate')} send_test"),
    line(
        "turn a channel on again and send what it refused",
        channels.turn_on_and_try_again,
        *(f"{root_of('channelstate')} turn_on", *acts_of("delivery")),
    ),
    # -- schedules
    line(
        "switch a periodic task off and on",
        schedules.switch,
        *(f"{TASKS} {act}" for act in ("disable_tasks", "enable_tasks", "toggle_tasks")),
    ),
    line("run a periodic task now", schedules.run_now, f"{TASKS} run_tasks"),
    line(
        "add a schedule in a window beside the form of a task",
        rows.add_beside_a_form,
        f"{root_of('django_celery_beat.crontabschedule')}add/",
    ),
    line("release the lock of a run that died", schedules.release_a_lock, *acts_of("runlock")),
    # -- access
    line("make a token and revoke it", tokens.make_and_revoke, run("apitoken"), row("apitoken", "revoke")),
    line(
        "let a person in, whose password they and an administrator change",
        accounts.passwords,
        *("admin/auth/user/add/", f"admin/auth/user/{ROW}/change/", "admin/auth/user/<id>/password/"),
        *("admin/login/", "admin/password_change/", "admin/logout/"),
    ),
    line("choose the language", accounts.language, "i18n/setlang/"),
    line("choose the theme", accounts.theme),
    # -- what people write themselves
    *(
        line(f"add, change and delete: {name}", partial(rows.write_and_delete, kind=kind), *on_a_row(name))
        for name, kind in rows.KINDS.items()
    ),
)
