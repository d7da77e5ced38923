"""django-celery-beat's table of periodic tasks: what became of each, and its "Run selected tasks" made safe."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from django.contrib import admin, messages
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils import timezone
from django.utils.safestring import SafeString
from django.utils.translation import gettext, ngettext
from django.utils.translation import gettext_lazy as _
from django_celery_beat.admin import PeriodicTaskAdmin, PeriodicTaskForm
from django_celery_beat.models import CrontabSchedule, PeriodicTask

from api_service.admin import audit, crontab_words, display, schedules, styling
from api_service.admin.row_names import NamedRows
from api_service.services import beat_watch, schedule_runs
from api_service.services.task_sending import BrokerDown, send

if TYPE_CHECKING:
    from django.contrib.admin import ModelAdmin
else:
    # unfold has no types
    from unfold.admin import ModelAdmin

logger = logging.getLogger(__name__)

Switch = Callable[[HttpRequest, QuerySet[PeriodicTask]], None]

admin.site.unregister(PeriodicTask)


class TaskForm(PeriodicTaskForm):  # type: ignore[misc]  # django-celery-beat has no types
    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        styling.dress(self, "regtask", "task")


class ByTask(admin.AllValuesFieldListFilter):
    """By the code's name of the task, of which the field's own name is in English only."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.title = gettext("task")


@admin.register(PeriodicTask)
class TaskAdmin(NamedRows, PeriodicTaskAdmin, ModelAdmin):  # type: ignore[misc,type-arg]  # django-celery-beat has no types
    """Its own action lets everybody who may look start a task, and ends in an error page while the broker is down."""

    form = TaskForm
    # Its own has a script in the page, which no policy of ours lets run, and which knows Django's mark-up only
    change_form_template = "api_service/admin/periodic_task.html"
    list_fullwidth = True
    list_display = ("name", "enabled", "state", "sent", "succeeded", "took", "when")
    list_filter = ("enabled", "one_off", ("task", ByTask), "start_time", "last_run_at")

    def row_name(self, row: PeriodicTask) -> str:
        return str(row.name)

    def get_fieldsets(self, request: HttpRequest, obj: PeriodicTask | None = None) -> Any:
        """Without the saved crontab in words, where the page's script says it of the chosen one."""
        hidden = {"crontab_translation"} if self.has_change_permission(request, obj) else set()
        fieldsets = super().get_fieldsets(request, obj)
        return [
            (name, {**said, "fields": [each for each in said["fields"] if each not in hidden]})
            for name, said in fieldsets
        ]

    def render_change_form(self, request: HttpRequest, context: dict[str, Any], *args: Any, **kwargs: Any) -> Any:
        said = {str(row.pk): crontab_words.in_words(row) for row in CrontabSchedule.objects.all()}
        return super().render_change_form(request, {**context, "readable_crontabs": said}, *args, **kwargs)

    def get_queryset(self, request: HttpRequest) -> QuerySet[PeriodicTask]:
        return beat_watch.with_runs(super().get_queryset(request))

    @admin.display(description=_("when"))
    def crontab_translation(self, row: PeriodicTask) -> str:
        return crontab_words.in_words(row.crontab) if row.crontab else display.NOTHING

    @admin.display(description=_("state"))
    def state(self, row: PeriodicTask) -> SafeString | str:
        """What is off, or has no rhythm, is never late."""
        now = timezone.now()
        watched = beat_watch.verdict(row, now, beat_watch.margin())
        return display.NOTHING if watched is None else schedules.badge(watched, now)

    @admin.display(description=_("when"))
    def when(self, row: PeriodicTask) -> str:
        if (at := row.crontab) is None:
            return str(row.scheduler)
        return f"{at.minute} {at.hour} {at.day_of_month} {at.month_of_year} {at.day_of_week}"

    @admin.display(description=_("sent"), ordering="last_run_at")
    def sent(self, row: PeriodicTask) -> SafeString | str:
        return display.age(row.last_run_at, timezone.now())

    @admin.display(description=_("last success"), ordering="run_succeeded_at")
    def succeeded(self, row: PeriodicTask) -> SafeString | str:
        return display.age(row.run_succeeded_at, timezone.now())

    @admin.display(description=_("duration"), ordering="run_duration")
    def took(self, row: PeriodicTask) -> str:
        return display.number(row.run_duration, " s", 1)

    def get_actions(self, request: HttpRequest) -> dict[str, Any]:
        """All of them change what runs; django-celery-beat's own would be for everybody who may look."""
        return super().get_actions(request) if self.has_change_permission(request) else {}

    @admin.action(description=_("Enable selected tasks"), permissions=["change"])
    def enable_tasks(self, request: HttpRequest, queryset: QuerySet[PeriodicTask]) -> None:
        self._switch(request, queryset, super().enable_tasks)

    @admin.action(description=_("Disable selected tasks"), permissions=["change"])
    def disable_tasks(self, request: HttpRequest, queryset: QuerySet[PeriodicTask]) -> None:
        self._switch(request, queryset, super().disable_tasks)

    @admin.action(description=_("Toggle activity of selected tasks"), permissions=["change"])
    def toggle_tasks(self, request: HttpRequest, queryset: QuerySet[PeriodicTask]) -> None:
        self._switch(request, queryset, super().toggle_tasks)

    def _switch(self, request: HttpRequest, chosen: QuerySet[PeriodicTask], act: Switch) -> None:
        """One UPDATE switches them all: no row's `save` is called, and nobody is told but by what follows.

        `chosen` is of the filtered list, which a switched row may leave: the rows are taken by their keys.
        """
        before: dict[int, bool] = dict(chosen.values_list("pk", "enabled"))
        rows: QuerySet[PeriodicTask] = PeriodicTask.objects.filter(pk__in=before)
        act(request, rows)
        for row in rows.all():
            if row.enabled != before[row.pk]:
                audit.note(request, row.name, {"enabled": row.enabled}, PeriodicTask, row.pk)
            if row.last_run_at is None:
                schedule_runs.switched(row.name, row.task, timezone.now(), on=row.enabled)

    @admin.action(description=_("Run selected tasks"), permissions=["change"])
    def run_tasks(self, request: HttpRequest, queryset: QuerySet[PeriodicTask]) -> None:
        try:
            for row in queryset:
                send(row.task, json.loads(row.kwargs), args=json.loads(row.args), queue=row.queue)
                logger.info("%s started by hand by %s", row.name, request.user.get_username())
                audit.note(request, row.task, f"{row.args} {row.kwargs}", PeriodicTask, row.pk)
        except BrokerDown as error:
            logger.warning("tasks started by hand: the broker did not take them: %s", error)
            self.message_user(request, gettext("The task broker does not answer: try again."), messages.ERROR)
            return
        number = len(queryset)
        text = ngettext("%(count)s task is in its queue.", "%(count)s tasks are in their queues.", number)
        self.message_user(request, text % {"count": number}, messages.SUCCESS)
