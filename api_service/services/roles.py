"""Who may do what: the three roles, and the least of them that has each permission. Pure: names only.

A role has all that the ones before it have. `role_groups.py` keeps a group of Django's for each; superusers may all.
Permissions are Django's own where its words fit: `view` shows a table, `add` starts the run that writes a row into it,
`change` acts upon its rows.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import Final


class Role(StrEnum):
    """The value is the name of the group."""

    VIEWER = "viewer"
    OPERATOR = "operator"
    ADMINISTRATOR = "administrator"


# From the one that may least
RANKS: Final = (Role.VIEWER, Role.OPERATOR, Role.ADMINISTRATOR)


@dataclass(frozen=True, slots=True)
class Right:
    """`permission` as `User.has_perm` takes it; `role` is the least that has it."""

    permission: str
    role: Role
    reason: str


# What an operator needs to see to know what goes on; nothing of it opens anything
_SEEN: Final = (
    *("healthsample", "nodesample", "operationreads", "findingstate", "incident", "transition", "notice", "delivery"),
    *("channelstate", "maintenancewindow", "trackedkey", "trackrun", "nodelisting", "servicesnapshot", "dailyreads"),
    *(
        "lookuphour",
        "lookuptime",
        "storedanswer",
        "staleserved",
        "readhabit",
        "readhabitbin",
        "warmedanswer",
        "warmrun",
    ),
    *("refillrun", "copyrun", "clearrun", "billingrun", "billingrow", "runlock", "schedulerun", "spendhour"),
    *("upstreamcircuit", "circuitchange", "upstreamcalls", "ratewindow", "accountreading"),
)
_TIMINGS: Final = ("crontabschedule", "intervalschedule", "clockedschedule", "solarschedule")
_EVERYTHING: Final = ("view", "add", "change", "delete")


def _rights(app: str, actions: tuple[str, ...], tables: tuple[str, ...], role: Role, reason: str) -> Iterator[Right]:
    for table in tables:
        for action in actions:
            yield Right(f"{app}.{action}_{table}", role, reason)


def _of_viewers() -> Iterator[Right]:
    yield from _rights("api_service", ("view",), _SEEN, Role.VIEWER, "to see what goes on; no row holds a secret")
    beat = ("periodictask", *_TIMINGS)
    yield from _rights("django_celery_beat", ("view",), beat, Role.VIEWER, "to see what runs when, and what is off")


def _of_operators() -> Iterator[Right]:
    starts = {
        "healthsample": "Check now: reads only",
        "trackrun": "Track now: reads only",
        "warmrun": "Warm now: pays, within the caps",
        "clearrun": "Clear a service: counted first, on record; what is gone is loaded again",
        "refillrun": "Refill a node: free",
        "copyrun": "Copy to another cache",
        "billingrun": "Check a list for invoicing: pays, within the caps",
    }
    for table, reason in starts.items():
        yield Right(f"api_service.add_{table}", Role.OPERATOR, reason)
    yield Right("api_service.change_incident", Role.OPERATOR, "acknowledge, mute, unmute")
    yield Right("api_service.change_delivery", Role.OPERATOR, "try an alert again")
    yield Right("api_service.test_channelstate", Role.OPERATOR, "send a test alert")
    one_ruc = "one RUC: refresh it, which may pay, mark or unmark it as invalid"
    yield Right("api_service.change_storedanswer", Role.OPERATOR, one_ruc)
    yield Right("api_service.delete_storedanswer", Role.OPERATOR, "one RUC: forget it; the next look-up is paid")
    yield Right("admin.view_logentry", Role.OPERATOR, "who did what: the shift before this one")
    planning = ("add", "change", "delete")
    yield from _rights("api_service", planning, ("maintenancewindow",), Role.OPERATOR, "plan maintenance")


def _of_administrators() -> Iterator[Right]:
    admin = Role.ADMINISTRATOR
    tokens = ("view", "add", "change")
    yield from _rights("api_service", tokens, ("apitoken",), admin, "whoever makes a token lets others in")
    yield Right(
        "api_service.change_channelstate", admin, "an alert channel on or off: a silent one is noticed by nobody"
    )
    yield Right("api_service.change_runlock", admin, "release a lock: a run that is alive would get a second beside it")
    changing = ("add", "change", "delete")
    tasks = ("periodictask", *_TIMINGS)
    yield from _rights("django_celery_beat", changing, tasks, admin, "what is off here watches and warms nothing")
    yield from _rights("auth", _EVERYTHING, ("user", "group"), admin, "accounts, and their roles")


RIGHTS: Final = (*_of_viewers(), *_of_operators(), *_of_administrators())


def permissions_of(role: Role) -> frozenset[str]:
    """All that the role has, with what it has from the ones before it."""
    rank = RANKS.index(role)
    return frozenset(right.permission for right in RIGHTS if RANKS.index(right.role) <= rank)
