"""The runs of the periodic tasks, and the locks that keep two of a kind apart."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from django.contrib import admin, messages
from django.contrib.admin.helpers import ACTION_CHECKBOX_NAME
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.utils import timezone
from django.utils.safestring import SafeString
from django.utils.translation import gettext, ngettext
from django.utils.translation import gettext_lazy as _

from api_service.admin import display, words
from api_service.admin.abandoned import ClosesAbandoned
from api_service.admin.base import TableAdmin
from api_service.admin.display import Tone
from api_service.admin.forms import WarmForm, arguments, explained
from api_service.admin.run_by_hand import Run, RunByHand
from api_service.admin.run_page import RunPage
from api_service.models import Run as AnyRun
from api_service.models import RunLock, WarmRun
from api_service.services import warming


class RunColumns:
    """Mix-in: when a run was, how long it took, how it ended."""

    @admin.display(description=_("started"))
    def started(self, row: AnyRun) -> str:
        return display.age(row.started_at, timezone.now())

    @admin.display(description=_("state"))
    def state_badge(self, row: AnyRun) -> SafeString:
        return display.badge(row.state, row.get_state_display())

    @admin.display(description=_("duration"))
    def took(self, row: AnyRun) -> str:
        return display.period(row.started_at, row.finished_at)

    @admin.display(description=_("error"))
    def error_text(self, row: AnyRun) -> SafeString | str:
        return display.error(row.error)


@admin.register(WarmRun)
class WarmRunAdmin(ClosesAbandoned, RunColumns, RunPage, RunByHand, TableAdmin[WarmRun]):
    run = Run(
        task=warming.TASK,
        button=_("Warm now"),
        form=WarmForm,
        kwargs=arguments,
        by_whom=True,
        explain=explained,
    )
    list_display = ("started", "state_badge", "done", "paid_text", "read_text", "failed_text", "skipped_total", "took")
    list_filter = ("state", "dry_run")
    ordering = ("-started_at",)
    fields = (
        *("started", "requested_by", "state_badge", "dry_run", "took", "limit", "budget", "candidates", "from_store"),
        *("paid_text", "refreshed", "read_text", "break_even", "failed_text", "skipped_text", "error_text"),
    )

    def close_abandoned(self, now: datetime) -> None:
        warming.close_abandoned(now)

    @admin.display(description=_("loaded again"))
    def done(self, row: WarmRun) -> str:
        loaded = display.number(row.from_store + row.refreshed)
        return f"{loaded} ({gettext('dry run')})" if row.dry_run else loaded

    @admin.display(description=_("paid queries"))
    def paid_text(self, row: WarmRun) -> str:
        return f"{display.number(row.paid)} / {display.number(row.budget)}"

    @admin.display(description=_("read in time"))
    def read_text(self, row: WarmRun) -> str:
        """Known once all that the run loaded has ended."""
        loaded = (row.useful or 0) + (row.wasted or 0)
        if row.useful is None or not loaded:
            return display.NOTHING
        return f"{display.number(row.useful)} ({display.share(row.useful, loaded)})"

    @admin.display(description=_("failed"))
    def failed_text(self, row: WarmRun) -> SafeString | str:
        return display.toned(Tone.BAD, display.number(row.failed)) if row.failed else "0"

    @admin.display(description=_("skipped"))
    def skipped_total(self, row: WarmRun) -> str:
        return display.number(sum(row.skipped.values()))

    @admin.display(description=_("skipped"))
    def skipped_text(self, row: WarmRun) -> SafeString | str:
        return display.counts((words.word(words.SKIPPED, reason), number) for reason, number in row.skipped.items())


@admin.register(RunLock)
class RunLockAdmin(TableAdmin[RunLock]):
    list_display = ("name", "state_badge", "until")
    ordering = ("name",)
    fields = ("name", "state_badge", "until")
    actions = ("release",)

    def has_release_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm("api_service.change_runlock")

    @admin.action(description=_("Release the lock of a run that died"), permissions=["release"])
    def release(self, request: HttpRequest, queryset: QuerySet[RunLock]) -> HttpResponse | None:
        """Asks first: a run that is alive would get a second one beside it."""
        if "confirmed" in request.POST:
            self._release(request, queryset)
            return None
        return TemplateResponse(request, "api_service/admin/release_locks.html", self._question(request, queryset))

    def _release(self, request: HttpRequest, queryset: QuerySet[RunLock]) -> None:
        """Only what was shown in the question: a lock taken anew since belongs to a run that is alive."""
        released = []
        for lock in queryset.filter(token__in=request.POST.getlist("token")).exclude(token=""):
            if RunLock.objects.filter(pk=lock.pk, token=lock.token).update(token="", expires_at=None):
                self.log_change(request, lock, gettext("Released by hand"))
                released.append(lock)
        text = ngettext("%(count)s lock was released.", "%(count)s locks were released.", len(released))
        level = messages.SUCCESS if released else messages.WARNING
        self.message_user(request, text % {"count": len(released)}, level)

    def _question(self, request: HttpRequest, queryset: QuerySet[RunLock]) -> dict[str, Any]:
        return {
            **self.admin_site.each_context(request),
            "title": gettext("Release locks"),
            "opts": self.opts,
            "media": self.media,
            "locks": [lock for lock in queryset if is_held(lock)],
            "selected": ACTION_CHECKBOX_NAME,
        }

    @admin.display(description=_("state"))
    def state_badge(self, row: RunLock) -> SafeString:
        if is_held(row):
            return display.toned(Tone.BUSY, gettext("held"))
        return display.toned(Tone.QUIET, gettext("free"))

    @admin.display(description=_("ends by itself"))
    def until(self, row: RunLock) -> str:
        return display.age(row.expires_at, timezone.now()) if is_held(row) else display.NOTHING


def is_held(lock: RunLock) -> bool:
    return bool(lock.token and lock.expires_at and lock.expires_at > timezone.now())
