"""The last inventory and the last warm-up: whether they run, how far they are, what they did."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.utils.safestring import SafeString
from django.utils.translation import gettext as _

from api_service.admin import display
from api_service.admin.dashboard import links
from api_service.admin.dashboard.health import is_late, no_run
from api_service.admin.display import Tone
from api_service.models import Run, TrackRun, WarmRun
from api_service.services import warming as warm_runs


@dataclass(frozen=True)
class LastRun:
    title: str
    url: str
    badge: SafeString
    notes: tuple[SafeString | str, ...]
    warning: SafeString | str


def inventory(now: datetime, period: timedelta) -> LastRun:
    """`period` is the time between two of them. Two queries at most."""
    run = TrackRun.objects.order_by("-started_at").first()
    return _last(_("Key inventory"), run or TrackRun, _listed(run) if run else (), period, now)


def _listed(run: TrackRun) -> tuple[str, ...]:
    """Keys and nodes; those of a run that is under way come from its nodes, as far as they are."""
    state, nodes = Run.State, list(run.listings.filter(retired=False).values_list("state", "keys"))
    keys = run.keys_seen if run.state == state.DONE else sum(keys for _state, keys in nodes)
    text = _("%(keys)s keys") % {"keys": display.number(keys)}
    if not nodes:
        return (text,)
    facts = {"done": sum(one == state.DONE for one, _keys in nodes), "all": len(nodes)}
    return text, _("%(done)s of %(all)s nodes listed") % facts


def warming(now: datetime, period: timedelta) -> LastRun:
    """One query."""
    run = warm_runs.last()
    return _last(_("Warming"), run or WarmRun, (_loaded(run),) if run else (), period, now)


def _loaded(run: WarmRun) -> str:
    facts = {"loaded": display.number(run.from_store + run.refreshed), "paid": display.number(run.paid)}
    return _("%(loaded)s loaded again, %(paid)s paid") % facts


def _last(title: str, run: Run | type[Run], notes: Sequence[str], period: timedelta, now: datetime) -> LastRun:
    """The class stands for a run that never was."""
    if not isinstance(run, Run):
        return LastRun(title, links.list_of(run), display.toned(Tone.WARNING, _("never ran")), (), no_run())
    badge = display.badge(run.state, Run.State(run.state).label)
    warning = no_run() if is_late(run.started_at, period, now) else display.error_if_any(run.error)
    return LastRun(title, links.list_of(type(run)), badge, (display.age(run.started_at, now), *notes), warning)
