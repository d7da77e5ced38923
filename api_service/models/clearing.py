"""Clearings: who removed which keys, how many, how long it took."""

from __future__ import annotations

from django.db import models
from django.utils.translation import gettext_lazy as _

from api_service.models.runs import Run


class ClearRun(Run):
    """Removal of one service's keys, or of some of them. The audit row, and where an interrupted one goes on."""

    class Via(models.TextChoices):
        ADMIN = "admin", _("admin")
        COMMAND = "command", _("command")
        HTTP = "http", _("HTTP")
        TASK = "task", _("task")

    requested_by = models.CharField(_("requested by"), max_length=150, blank=True)
    via = models.CharField(_("by way of"), max_length=10, choices=Via)
    backend = models.CharField(_("backend"), max_length=20)
    service = models.CharField(_("service"), max_length=50)
    # Empty is every one; the pattern is of identifiers, with * and ?
    kind = models.CharField(_("kind"), max_length=50, blank=True)
    pattern = models.CharField(_("pattern"), max_length=250, blank=True)
    with_answers = models.BooleanField(_("stored answers too"), default=False)
    dry_run = models.BooleanField(_("dry run"), default=False)
    # {"127.0.0.1:11211": {"state": "done", "found": 3, "removed": 3, "error": ""}, …}
    nodes = models.JSONField(_("nodes"), default=dict)
    found = models.PositiveBigIntegerField(_("found"), default=0)
    removed = models.PositiveBigIntegerField(_("removed"), default=0)
    failed = models.PositiveBigIntegerField(_("failed"), default=0)
    answers_found = models.PositiveBigIntegerField(_("stored answers found"), default=0)
    answers_removed = models.PositiveBigIntegerField(_("stored answers removed"), default=0)
    # When it was last put into its queue: the broker drops what no worker takes in time
    queued_at = models.DateTimeField(_("queued"), null=True, blank=True)
    # Of work: one that was resumed took a pause in between
    seconds = models.FloatField(_("seconds"), default=0)

    class Meta(Run.Meta):
        abstract = False
        verbose_name = _("clearing")
        verbose_name_plural = _("clearings")
