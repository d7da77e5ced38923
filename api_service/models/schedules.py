"""What became of the runs that Beat sends: Beat's own table says when it sent one, not that anybody ran it."""

from __future__ import annotations

from django.db import models
from django.utils.translation import gettext_lazy as _


class ScheduleRun(models.Model):
    """The last runs of one schedule. Runs started by hand leave no trace here: they prove nothing of Beat."""

    # That of django-celery-beat's row; no foreign key, as Beat may make that row anew
    name = models.CharField(_("schedule"), max_length=200, unique=True)
    task = models.CharField(_("task"), max_length=200)
    # Since when the schedule is on; kept until it is first sent, and what it is late against until then
    on_since = models.DateTimeField(_("on since"), null=True, blank=True)
    # When the first was sent of those after the last success; null while every one sent has succeeded
    waiting_since = models.DateTimeField(_("waiting since"), null=True, blank=True)
    started_at = models.DateTimeField(_("last start"), null=True, blank=True)
    succeeded_at = models.DateTimeField(_("last success"), null=True, blank=True)
    failed_at = models.DateTimeField(_("last failure"), null=True, blank=True)
    # Seconds, of the last run that ended
    duration = models.FloatField(_("duration (s)"), null=True, blank=True)
    # Of the last failure, until a run succeeds
    error = models.CharField(_("error"), max_length=300, blank=True)

    class Meta:
        verbose_name = _("run of a schedule")
        verbose_name_plural = _("runs of schedules")

    def __str__(self) -> str:
        return self.name
