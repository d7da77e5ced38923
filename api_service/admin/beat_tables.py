"""django-celery-beat's schedules in the look of the other tables."""

from __future__ import annotations

from typing import TYPE_CHECKING

from django.contrib import admin
from django.utils.translation import gettext_lazy as _
from django_celery_beat import admin as theirs
from django_celery_beat.models import ClockedSchedule, CrontabSchedule, IntervalSchedule, PeriodicTask, SolarSchedule

from api_service.admin import crontab_words, display

if TYPE_CHECKING:
    from typing import Any

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
    fields = readonly_fields = ("name", "task_name", "args", "kwargs")

    @admin.display(description=_("task"))
    def task_name(self, row: PeriodicTask) -> str:
        """The package's own name of the column is English in every language."""
        return str(row.task)


@admin.register(ClockedSchedule)
class ClockedAdmin(theirs.ClockedScheduleAdmin, ModelAdmin):  # type: ignore[misc]  # django-celery-beat has no types
    inlines = [TasksInline]


@admin.register(CrontabSchedule)
class CrontabAdmin(theirs.CrontabScheduleAdmin, ModelAdmin):  # type: ignore[misc]  # django-celery-beat has no types
    inlines = [TasksInline]
    list_display = ("__str__", "described")
    fields = ("described", "minute", "hour", "day_of_month", "month_of_year", "day_of_week", "timezone")
    readonly_fields = ("described",)

    @admin.display(description=_("when"))
    def described(self, row: CrontabSchedule) -> str:
        return crontab_words.in_words(row) if row.pk else display.NOTHING


@admin.register(IntervalSchedule)
class IntervalAdmin(theirs.IntervalScheduleAdmin, ModelAdmin):  # type: ignore[misc]  # django-celery-beat has no types
    inlines = [TasksInline]


@admin.register(SolarSchedule)
class SolarAdmin(theirs.SolarScheduleAdmin, ModelAdmin):  # type: ignore[misc]  # django-celery-beat has no types
    inlines = [TasksInline]
