"""django-celery-beat's schedules in the look of the other tables."""

from __future__ import annotations

from typing import TYPE_CHECKING

from django.contrib import admin
from django.utils.translation import gettext_lazy as _
from django_celery_beat import admin as theirs
from django_celery_beat.models import ClockedSchedule, CrontabSchedule, IntervalSchedule, PeriodicTask, SolarSchedule

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
    # The name of their field is in English only
    fields = ("name", "task_name", "args", "kwargs")
    readonly_fields = fields

    @admin.display(description=_("task"))
    def task_name(self, row: PeriodicTask) -> str:
        return str(row.task)


@admin.register(ClockedSchedule)
class ClockedAdmin(theirs.ClockedScheduleAdmin, ModelAdmin):  # type: ignore[misc]  # django-celery-beat has no types
    inlines = [TasksInline]


@admin.register(CrontabSchedule)
class CrontabAdmin(theirs.CrontabScheduleAdmin, ModelAdmin):  # type: ignore[misc]  # django-celery-beat has no types
    inlines = [TasksInline]


@admin.register(IntervalSchedule)
class IntervalAdmin(theirs.IntervalScheduleAdmin, ModelAdmin):  # type: ignore[misc]  # django-celery-beat has no types
    inlines = [TasksInline]


@admin.register(SolarSchedule)
class SolarAdmin(theirs.SolarScheduleAdmin, ModelAdmin):  # type: ignore[misc]  # django-celery-beat has no types
    inlines = [TasksInline]
