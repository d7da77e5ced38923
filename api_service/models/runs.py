"""What the runs of the tasks did, and the locks that keep two of a kind apart."""

from __future__ import annotations

from django.db import models
from django.utils.timezone import localtime
from django.utils.translation import gettext_lazy as _


class Run(models.Model):
    """What every periodic run records: when, by whom, how it ended."""

    class State(models.TextChoices):
        WAITING = "waiting", _("waiting")
        RUNNING = "running", _("running")
        DONE = "done", _("done")
        FAILED = "failed", _("failed")

    started_at = models.DateTimeField(_("started"), db_index=True)
    finished_at = models.DateTimeField(_("finished"), null=True, blank=True)
    state = models.CharField(_("state"), max_length=10, choices=State, default=State.RUNNING)
    error = models.CharField(_("error"), max_length=300, blank=True)

    class Meta:
        abstract = True

    def __str__(self) -> str:
        return f"{localtime(self.started_at):%Y-%m-%d %H:%M:%S} {self.State(self.state).label}"


class WarmRun(Run):
    """One run of `warm_frequent_rucs`: what it looked at, what it refreshed, what it paid."""

    # Empty for the schedule's
    # The default of the database is for the workers of the release before, while they still run
    requested_by = models.CharField(_("requested by"), max_length=150, blank=True, db_default="")
    dry_run = models.BooleanField(_("dry run"), default=False)
    limit = models.PositiveIntegerField(_("limit"))
    budget = models.PositiveIntegerField(_("budget"))
    candidates = models.PositiveIntegerField(_("candidates"), default=0)
    from_store = models.PositiveIntegerField(_("refreshed from the store"), default=0)
    paid = models.PositiveIntegerField(_("paid queries"), default=0)
    refreshed = models.PositiveIntegerField(_("refreshed by APIMIGO"), default=0)
    failed = models.PositiveIntegerField(_("failed"), default=0)
    # {"fresh": 12, "over_budget": 3, …}
    skipped = models.JSONField(_("skipped"), default=dict)
    # Reads expected of a RUC below which it was left alone, as the runs before have taught
    break_even = models.FloatField(_("break-even"), null=True, blank=True)
    # Of what it loaded, once all of that has ended; null until then
    useful = models.PositiveIntegerField(_("read in time"), null=True, blank=True)
    wasted = models.PositiveIntegerField(_("not read in time"), null=True, blank=True)

    class Meta(Run.Meta):
        abstract = False
        verbose_name = _("warm run")
        verbose_name_plural = _("warm runs")


class RunLock(models.Model):
    """A named lock with owner and deadline in the database: it works while the cache is down."""

    name = models.CharField(_("name"), max_length=100, unique=True)
    token = models.CharField(_("token"), max_length=40, blank=True)
    expires_at = models.DateTimeField(_("expires"), null=True, blank=True)

    class Meta:
        verbose_name = _("run lock")
        verbose_name_plural = _("run locks")

    def __str__(self) -> str:
        return self.name
