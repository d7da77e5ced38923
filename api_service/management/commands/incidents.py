"""Lists the open incidents; acknowledges, mutes and unmutes them."""

from __future__ import annotations

import getpass
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, TypedDict

from django.core.management.base import CommandParser
from django.utils.timezone import localtime

from api_service.management.base import ServiceCommand, not_done, table
from api_service.models import Incident, Transition
from api_service.services import incident_acts, incident_mutes
from api_service.services.health_rules import RANK, Severity
from api_service.services.incident_steps import is_muted

LONGEST_MUTE_HOURS = 24 * 30


class IncidentJSON(TypedDict):
    """Times are ISO 8601 with offset; `state` is open, acknowledged, muted, flapping, or over, then with a mute that
    waits for the next one of its kind.
    """

    id: int
    code: str
    node: str
    severity: str
    state: str
    since: str
    value: float | str
    acknowledged_by: str
    muted_until: str | None


class Command(ServiceCommand):
    help = (
        "List the open incidents, the worst first, and those that are over with a mute that still waits; or do "
        "something about one: acknowledge it (no more reminders, no escalation), mute it (nothing is told until then), "
        "unmute it."
    )
    needs_shared_cache = False

    def add_arguments(self, parser: CommandParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("do", nargs="?", default="list", choices=["list", "acknowledge", "mute", "unmute"])
        parser.add_argument("id", nargs="?", type=int, metavar="ID", help="of the incident, as the list shows it")
        parser.add_argument("--hours", type=float, metavar="N", help="of a mute")
        parser.add_argument("--note", default="", help="why; kept with the incident and told with it")
        parser.add_argument("--by", default="", help="who; the user of this shell by default")

    def act(self, options: Mapping[str, Any]) -> None:
        now = datetime.now(UTC)
        if options["do"] == "list":
            return self._list(options, now)
        step = self._do(options, now)
        if step is None:
            raise not_done(f"incident {options['id']} is not open, or that was done before")
        result = _as_json(Incident.objects.get(pk=options["id"]), now)
        return self.show(result, as_json=options["json"], text=lambda: f"{step.incident}: {result['state']}")

    def _list(self, options: Mapping[str, Any], now: datetime) -> None:
        rows = [*Incident.objects.filter(resolved_at=None).order_by("opened_at"), *incident_mutes.still_on(now)]
        found = sorted((_as_json(row, now) for row in rows), key=lambda one: -RANK[Severity(one["severity"])])
        self.show({"incidents": found}, as_json=options["json"], text=lambda: _text(found))

    def _do(self, options: Mapping[str, Any], now: datetime) -> Transition | None:
        if options["id"] is None:
            raise not_done(f"{options['do']} needs the ID of an incident: `incidents` lists them")
        by, note = options["by"] or getpass.getuser(), options["note"]
        match options["do"]:
            case "acknowledge":
                return incident_acts.acknowledge(options["id"], by, note, now)
            case "unmute":
                return incident_acts.unmute(options["id"], by, note, now)
        return incident_acts.mute(options["id"], by, now + _length(options["hours"]), note, now)


def _length(hours: float | None) -> timedelta:
    if hours is None or not 0 < hours <= LONGEST_MUTE_HOURS:
        raise not_done(f"mute needs --hours between 0 and {LONGEST_MUTE_HOURS}")
    return timedelta(hours=hours)


def _as_json(row: Incident, now: datetime) -> IncidentJSON:
    return {
        "id": row.pk,
        "code": row.code,
        "node": row.node,
        "severity": str(row.current if row.flapping_since is None else row.severity),
        "state": _state(row, now),
        "since": row.since.isoformat(),
        "value": row.value,
        "acknowledged_by": row.acknowledged_by,
        "muted_until": row.muted_until.isoformat() if row.muted_until and is_muted(row, now) else None,
    }


def _state(row: Incident, now: datetime) -> str:
    if row.resolved_at is not None:
        return "over"
    if is_muted(row, now):
        return "muted"
    if row.flapping_since is not None:
        return "flapping"
    return "open" if row.acknowledged_at is None else "acknowledged"


def _time(text: str) -> str:
    return f"{localtime(datetime.fromisoformat(text)):%Y-%m-%d %H:%M}"


def _text(found: Sequence[IncidentJSON]) -> str:
    if not found:
        return "nothing is open"
    head = ("ID", "SEVERITY", "WHAT", "NODE", "STATE", "SINCE", "VALUE", "ACKNOWLEDGED BY", "MUTED UNTIL")
    rows = [
        (
            *(str(one["id"]), one["severity"], one["code"], one["node"] or "-", one["state"]),
            *(_time(one["since"]), str(one["value"]) or "-", one["acknowledged_by"] or "-"),
            _time(one["muted_until"]) if one["muted_until"] else "-",
        )
        for one in found
    ]
    return table(head, rows)
