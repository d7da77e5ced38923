"""The page of a run: what came of it in a sentence, and while it is under way its figures as they change."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from django.contrib.admin import ModelAdmin
from django.contrib.admin.utils import unquote
from django.http import HttpRequest, HttpResponse
from django.utils.translation import gettext as _

from api_service.admin import display
from api_service.models import CopyRun, RefillRun, Run, TrackRun, WarmRun

if TYPE_CHECKING:
    Base = ModelAdmin[Any]
else:
    Base = object

OPEN: Final = frozenset({Run.State.WAITING, Run.State.RUNNING})


class RunPage(Base):
    """Mix-in of the ModelAdmin of a run."""

    change_form_template = "api_service/admin/run.html"

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        row = self.get_object(request, unquote(object_id))
        context = (
            {"is_open": row.state in OPEN, "result": result(row), "error": display.error_if_any(row.error)}
            if row
            else {}
        )
        return super().change_view(request, object_id, form_url, {**context, **(extra_context or {})})


def result(run: Run) -> str:
    """What came of it so far."""
    match run:
        case WarmRun(dry_run=True):
            return _warm_dry_run(run)
        case WarmRun():
            return _warm_run(run)
        case TrackRun():
            return _inventory(run)
        case RefillRun():
            return _refill(run)
        case CopyRun():
            return _copy(run)
    return ""


def _warm_dry_run(run: WarmRun) -> str:
    text = _("Dry run: of %(all)s RUCs looked at %(due)s would be refreshed. Nothing was changed and nothing was paid.")
    return text % _shown(all=run.candidates, due=run.candidates - sum(run.skipped.values()))


def _warm_run(run: WarmRun) -> str:
    text = _(
        "Of %(all)s RUCs looked at %(free)s were loaded again for free, %(paid_for)s by APIMIGO with %(paid)s paid "
        "queries; %(failed)s failed, %(skipped)s were left alone."
    )
    return text % _shown(
        all=run.candidates,
        free=run.from_store,
        paid_for=run.refreshed,
        paid=run.paid,
        failed=run.failed,
        skipped=sum(run.skipped.values()),
    )


def _inventory(run: TrackRun) -> str:
    """Of one that is under way as far as its nodes are."""
    nodes = list(run.listings.filter(retired=False).values_list("state", "keys"))
    done = [keys for state, keys in nodes if state == Run.State.DONE]
    keys = run.keys_seen if run.state == Run.State.DONE else sum(done)
    if not nodes:
        return _("%(keys)s keys.") % _shown(keys=keys)
    return _("%(keys)s keys; %(done)s of %(all)s nodes are listed.") % _shown(keys=keys, done=len(done), all=len(nodes))


def _refill(run: RefillRun) -> str:
    text = _("%(written)s answers written of %(all)s; %(there)s were there already, %(refused)s were refused.")
    return text % _shown(written=run.written, all=run.candidates, there=run.already_there, refused=run.refused)


def _copy(run: CopyRun) -> str:
    text = _("%(copied)s of %(all)s keys copied; %(there)s were there already, %(left)s were left out. %(proof)s")
    proof = _("Afterwards %(missing)s were not found there, and %(differing)s of %(checked)s compared values differ.")
    proved = proof % _shown(missing=run.missing, differing=run.differing, checked=run.checked)
    counts = _shown(copied=run.copied, all=run.found, there=run.already_there, left=sum(run.skipped.values()))
    return text % {**counts, "proof": "" if run.state in OPEN else proved}


def _shown(**counts: int) -> dict[str, str]:
    return {name: display.number(count) for name, count in counts.items()}
