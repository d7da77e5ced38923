"""django-celery-beat's schedules in the look of the other tables."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.contrib import admin
from django.http import HttpRequest
from django.utils import timezone
from django.utils.formats import date_format
from django.utils.translation import gettext_lazy as _
from django_celery_beat import admin as theirs
from django_celery_beat.models import ClockedSchedule, CrontabSchedule, IntervalSchedule, PeriodicTask, SolarSchedule

from api_service.admin import crontab_words, display
from api_service.admin.row_names import NamedRows

if TYPE_CHECKING:
    from django.contrib import admin as plain

    ModelAdmin = plain.ModelAdmin[Any]
    TabularInline = plain.TabularInline[Any, Any]
else:
    # unfold has no types
    from unfold.admin import ModelAdmin, TabularInline

admin.site.unregister([ClockedSchedule, CrontabSchedule, IntervalSchedule, SolarSchedule])


class TasksInline(theirs.PeriodicTaskInline, TabularInline):  # type: ignore[misc]  # django-celery-beat has no types
    """The periodic tasks that go by the schedule on the page."""

    hide_title = True
    # The name of their field is in English only
    fields = ("name", "task_name", "args", "kwargs")
    readonly_fields = fields

    @admin.display(description=_("task"))
    def task_name(self, row: PeriodicTask) -> str:
        return str(row.task)


class ScheduleTable(ModelAdmin):
    list_fullwidth = True
    inlines = [TasksInline]

    def get_inlines(self, request: HttpRequest, obj: Any) -> Any:
        """What is not there yet is used by nothing."""
        return super().get_inlines(request, obj) if obj else []


@admin.register(ClockedSchedule)
class ClockedAdmin(NamedRows, ScheduleTable, theirs.ClockedScheduleAdmin):  # type: ignore[misc]  # no types
    def row_name(self, row: ClockedSchedule) -> str:
        return date_format(timezone.localtime(row.clocked_time), "DATETIME_FORMAT")


@admin.register(CrontabSchedule)
class CrontabAdmin(ScheduleTable, theirs.CrontabScheduleAdmin):  # type: ignore[misc]  # no types
    list_display = ("__str__", "described")
    fields = ("described", "minute", "hour", "day_of_month", "month_of_year", "day_of_week", "timezone")
    readonly_fields = ("described",)

    @admin.display(description=_("when"))
    def described(self, row: CrontabSchedule) -> str:
        return crontab_words.in_words(row) if row.pk else display.NOTHING


@admin.register(IntervalSchedule)
class IntervalAdmin(ScheduleTable, theirs.IntervalScheduleAdmin):  # type: ignore[misc]  # no types
    pass


@admin.register(SolarSchedule)
class SolarAdmin(ScheduleTable, theirs.SolarScheduleAdmin):  # type: ignore[misc]  # no types
    pass
