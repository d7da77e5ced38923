"""Who is let in where: one line for each address of the site, tables of the admin by what may be done to their rows.

`test_access.py` goes through all addresses that there are: one without a line here fails, a line without an address
too.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum, IntEnum


class Who(IntEnum):
    """The least that one has to be. A role is staff with the group of that name and nothing else."""

    ANYBODY = 0
    LOGGED_IN = 1
    STAFF = 2
    VIEWER = 3
    OPERATOR = 4
    ADMINISTRATOR = 5
    NOBODY = 6


class Door(Enum):
    """What one is told who is not let in."""

    # To the login, or 403 for staff; a method that is not taken is told to those who would be let in
    ADMIN = "admin"
    # 401, or 403 with a login; a method that is not taken is told to everybody
    SESSION = "session"
    # 401: a login opens nothing
    TOKEN = "token"
    # 403 whoever it is
    FORBIDDEN = "forbidden"


# Whoever is let in ends here; what it says is for other tests
ENDS = frozenset({200, 202, 204, 302, 400, 404, 409})


@dataclass(frozen=True)
class Page:
    """`None` is a method that the address does not take. `ends`: what those get who are let in."""

    get: Who | None
    post: Who | None
    door: Door = Door.ADMIN
    ends: frozenset[int] = ENDS


@dataclass(frozen=True)
class Table:
    """A ModelAdmin, by what may be done on its own pages."""

    see: Who = Who.VIEWER
    add: Who = Who.NOBODY
    change: Who = Who.NOBODY
    delete: Who = Who.NOBODY


ROW = "<path:object_id>"
STARTED_BY_A_BUTTON = Page(None, Who.OPERATOR)
FORM = Page(Who.OPERATOR, Who.OPERATOR)
# A script asks for it: no login inside a tile
BY_TOKEN = Page(Who.NOBODY, Who.NOBODY, Door.TOKEN)
# 503 is an answer of theirs
TO_LOOK_AT = Page(Who.ANYBODY, None, Door.SESSION, ENDS | {503})
ADMINS = Table(Who.ADMINISTRATOR, Who.ADMINISTRATOR, Who.ADMINISTRATOR, Who.ADMINISTRATOR)
SCHEDULE = Table(Who.VIEWER, Who.ADMINISTRATOR, Who.ADMINISTRATOR, Who.ADMINISTRATOR)

TABLES: dict[str, Table] = {
    # -- machine-kept: seen by all roles, changed by none
    **dict.fromkeys(
        (
            *("accountreading", "billingrow", "billingrun", "channelstate", "circuitchange", "clearrun", "copyrun"),
            *("dailyreads", "delivery", "findingstate", "healthsample", "incident", "lookuphour", "lookuptime"),
            *("nodelisting", "nodesample", "notice", "operationreads", "ratewindow", "readhabit", "readhabitbin"),
            *("refillrun", "runlock", "schedulerun", "servicesnapshot", "spendhour", "staleserved", "storedanswer"),
            *("trackedkey", "trackrun", "transition", "upstreamcalls", "upstreamcircuit", "warmedanswer", "warmrun"),
        ),
        Table(),
    ),
    "apitoken": Table(see=Who.ADMINISTRATOR),
    "maintenancewindow": Table(add=Who.OPERATOR, change=Who.OPERATOR, delete=Who.OPERATOR),
    # -- other apps
    "admin.logentry": Table(see=Who.OPERATOR),
    "auth.user": ADMINS,
    "auth.group": ADMINS,
    "django_celery_beat.periodictask": SCHEDULE,
    "django_celery_beat.crontabschedule": SCHEDULE,
    "django_celery_beat.intervalschedule": SCHEDULE,
    "django_celery_beat.clockedschedule": SCHEDULE,
    "django_celery_beat.solarschedule": SCHEDULE,
}

OURS = "admin/api_service/"
# Tables with a button
STARTED = (*("healthsample", "trackrun", "warmrun", "refillrun", "copyrun", "channelstate", "clearrun", "billingrun"),)
PAGES: dict[str, Page] = {
    # -- what operators start and do
    f"{OURS}healthsample/run/": STARTED_BY_A_BUTTON,
    f"{OURS}trackrun/run/": STARTED_BY_A_BUTTON,
    f"{OURS}warmrun/run/": FORM,
    f"{OURS}refillrun/run/": FORM,
    f"{OURS}copyrun/run/": FORM,
    f"{OURS}channelstate/run/": FORM,
    f"{OURS}clearrun/run/": FORM,
    f"{OURS}clearrun/{ROW}/clear/": STARTED_BY_A_BUTTON,
    f"{OURS}clearrun/{ROW}/resume/": STARTED_BY_A_BUTTON,
    f"{OURS}billingrun/run/": FORM,
    f"{OURS}billingrun/{ROW}/begin/": STARTED_BY_A_BUTTON,
    f"{OURS}billingrun/{ROW}/cancel/": STARTED_BY_A_BUTTON,
    f"{OURS}billingrun/{ROW}/result<str:form>": Page(Who.VIEWER, Who.VIEWER),
    f"{OURS}incident/{ROW}/act/": STARTED_BY_A_BUTTON,
    # Until what was started is there
    **{f"{OURS}{table}/run/wait/": Page(Who.VIEWER, Who.VIEWER) for table in STARTED},
    # -- one RUC
    "admin/ruc/": Page(Who.VIEWER, Who.VIEWER),
    "admin/ruc/<str:number>/": Page(Who.VIEWER, Who.VIEWER),
    "admin/ruc/<str:number>/<slug:act>/": FORM,
    # -- what only administrators do
    f"{OURS}apitoken/run/wait/": Page(Who.ADMINISTRATOR, Who.ADMINISTRATOR),
    f"{OURS}apitoken/run/": Page(Who.ADMINISTRATOR, Who.ADMINISTRATOR),
    f"{OURS}apitoken/{ROW}/revoke/": Page(None, Who.ADMINISTRATOR),
    "admin/auth/user/<id>/password/": Page(Who.ADMINISTRATOR, Who.ADMINISTRATOR),
    # -- the admin itself
    "admin/": Page(Who.STAFF, Who.STAFF),
    "admin/<app_label>/": Page(Who.STAFF, Who.STAFF),
    # Parts of the front page, which loads itself again when they are forbidden; each shows what its reader may see
    "admin/dashboard/now/": Page(Who.STAFF, None, Door.FORBIDDEN),
    "admin/dashboard/runs/": Page(Who.STAFF, None, Door.FORBIDDEN),
    "admin/dashboard/charts/": Page(Who.STAFF, None, Door.FORBIDDEN),
    "admin/login/": Page(Who.ANYBODY, Who.ANYBODY),
    "admin/logout/": Page(None, Who.STAFF),
    "admin/password_change/": Page(Who.STAFF, Who.STAFF),
    "admin/password_change/done/": Page(Who.STAFF, None),
    "admin/jsi18n/": Page(Who.STAFF, None),
    # It finds nothing: see `OperationsSite`
    "admin/search/": Page(Who.STAFF, Who.STAFF),
    # No form has a field that completes itself
    "admin/autocomplete/": Page(Who.STAFF, None, ends=frozenset({403})),
    "admin/r/<path:content_type_id>/<path:object_id>/": Page(Who.STAFF, Who.STAFF),
    "admin/(?P<url>.*)$": Page(Who.STAFF, Who.STAFF),
    # -- the API: tokens only, which `tests/integration/api` is about
    **dict.fromkeys(
        (
            "^api/v1/ruc/(?P<ruc>[^/]*)/?$",
            "metrics",
            "api/v1/rucs/batch",
            "api/v1/rucs/<ruc>",
            "api/v1/rucs/<ruc>/billing",
            "api/v1/dnis/<dni>",
            "api/v1/exchange-rates",
            "api/v1/exchange-rates/latest",
            "api/v1/exchange-rates/<day>",
            "api/v1/cache/health",
            "api/v1/cache/stats",
            "api/v1/cache/keys",
            "api/v1/cache/history",
            "api/v1/cache/clearings",
            "api/v1/cache/clearings/<number>",
            "api/v1/cache/clearings/<number>/resume",
            "api/v1/warming/runs",
            "api/v1/warming/runs/<number>",
            "api/v1/warming/replays",
            "api/v1/incidents",
            "api/v1/incidents/<number>",
            "api/v1/incidents/<number>/acknowledge",
            "api/v1/incidents/<number>/mute",
            "api/v1/incidents/<number>/unmute",
            "api/v1/schedules",
        ),
        BY_TOKEN,
    ),
    # -- and what a login opens besides the admin
    "api/v1/cache/clear": Page(None, Who.OPERATOR, Door.SESSION),
    "api/v1/cache/clear/<int:number>": Page(Who.VIEWER, Who.OPERATOR, Door.SESSION),
    "health/cache": Page(Who.ANYBODY, Who.OPERATOR, Door.FORBIDDEN, ENDS | {503}),
    "health/cache/history": Page(Who.VIEWER, None, Door.SESSION),
    # -- for everybody
    "": Page(Who.ANYBODY, Who.ANYBODY),
    "i18n/setlang/": Page(Who.ANYBODY, Who.ANYBODY),
    "api/v1/docs": Page(Who.ANYBODY, None),
    "api/v1/openapi.json": Page(Who.ANYBODY, None),
    # They say that there is nothing
    "api/v1/": Page(Who.ANYBODY, Who.ANYBODY),
    "^api/v1/": Page(Who.ANYBODY, Who.ANYBODY),
    "health/live": TO_LOOK_AT,
    "health/ready": TO_LOOK_AT,
    "health/beat": TO_LOOK_AT,
}

# Of the lists, by table and name; `delete_selected` follows from `delete`
ACTIONS: dict[str, dict[str, Who]] = {
    "delivery": {"retry": Who.OPERATOR},
    "incident": dict.fromkeys(("acknowledge", "mute_1h", "mute_8h", "mute_24h", "unmute"), Who.OPERATOR),
    "channelstate": {"send_test": Who.OPERATOR, "turn_on": Who.ADMINISTRATOR},
    "runlock": {"release": Who.ADMINISTRATOR},
    "django_celery_beat.periodictask": dict.fromkeys(
        ("enable_tasks", "disable_tasks", "toggle_tasks", "run_tasks"), Who.ADMINISTRATOR
    ),
}


def label_of(name: str) -> str:
    """`app.model`; ours go without."""
    return name if "." in name else f"api_service.{name}"


def all_pages() -> dict[str, Page]:
    return {**PAGES, **{route: page for name, table in TABLES.items() for route, page in _of_table(name, table)}}


def _of_table(name: str, table: Table) -> Iterator[tuple[str, Page]]:
    root = f"admin/{label_of(name).replace('.', '/')}/"
    yield root, Page(table.see, table.see)
    yield f"{root}add/", Page(table.add, table.add)
    yield f"{root}{ROW}/change/", Page(table.see, table.change)
    yield f"{root}{ROW}/history/", Page(table.see, table.see)
    yield f"{root}{ROW}/delete/", Page(table.delete, table.delete)
    # To the page of the row, whatever that says then
    yield f"{root}{ROW}/", Page(Who.STAFF, Who.STAFF)
