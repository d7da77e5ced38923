"""Lists of RUCs that were uploaded to be checked for invoicing, line by line."""

from __future__ import annotations

from django.db import models
from django.utils.translation import gettext_lazy as _


class BillingRun(models.Model):
    """One uploaded list: who asked, what it may cost, how far it is. Its rows say what is done, so it can go on."""

    class State(models.TextChoices):
        PLANNED = "planned", _("to be confirmed")
        WAITING = "waiting", _("waiting")
        RUNNING = "running", _("running")
        PAUSED = "paused", _("waiting for budget")
        DONE = "done", _("done")
        FAILED = "failed", _("failed")
        CANCELLED = "cancelled", _("cancelled")

    class Via(models.TextChoices):
        ADMIN = "admin", _("admin")
        COMMAND = "command", _("command")

    uploaded_at = models.DateTimeField(_("uploaded"), db_index=True)
    requested_by = models.CharField(_("requested by"), max_length=150, blank=True)
    via = models.CharField(_("by way of"), max_length=10, choices=Via)
    file_name = models.CharField(_("file"), max_length=150)
    state = models.CharField(_("state"), max_length=10, choices=State, default=State.PLANNED)
    # When it was last put into its queue: the broker drops what no worker takes in time
    queued_at = models.DateTimeField(_("queued"), null=True, blank=True)
    started_at = models.DateTimeField(_("started"), null=True, blank=True)
    finished_at = models.DateTimeField(_("finished"), null=True, blank=True)
    # Lines; the RUCs among them that can exist, each counted once
    lines = models.PositiveIntegerField(_("lines"))
    distinct = models.PositiveIntegerField(_("distinct RUCs"))
    # Of those, as it was when the list came: known for nothing, and to be paid for
    cached = models.PositiveIntegerField(_("in the cache"), default=0)
    stored = models.PositiveIntegerField(_("in the answer store"), default=0)
    to_pay = models.PositiveIntegerField(_("to be paid"), default=0)
    # Paid queries at most, over all its parts; null is no limit but the service's own
    budget = models.PositiveIntegerField(_("budget"), null=True, blank=True)
    paid = models.PositiveIntegerField(_("paid queries"), default=0)
    # Of the batch under way: one that was killed amid it counts as paid, or its budget would be spent twice
    paying = models.PositiveIntegerField(_("being paid"), default=0)
    # Lines with a verdict, and those that have none because nobody could answer
    checked = models.PositiveIntegerField(_("checked"), default=0)
    fit = models.PositiveIntegerField(_("fit"), default=0)
    unfit = models.PositiveIntegerField(_("not fit"), default=0)
    failed = models.PositiveIntegerField(_("without an answer"), default=0)
    # Lines by reason: {"not_active": 3, "upstream_timeout": 1}
    reasons = models.JSONField(_("reasons"), default=dict, blank=True)
    error = models.CharField(_("error"), max_length=300, blank=True)

    class Meta:
        verbose_name = _("billing run")
        verbose_name_plural = _("billing runs")

    def __str__(self) -> str:
        return f"{self.pk} {self.file_name}"


class BillingRow(models.Model):
    """One line of it. `fit` is null until somebody could say; then `reasons` say why not."""

    class State(models.TextChoices):
        PENDING = "pending", _("pending")
        DONE = "done", _("done")
        FAILED = "failed", _("failed")

    run = models.ForeignKey(BillingRun, models.CASCADE, verbose_name=_("billing run"))
    line = models.PositiveIntegerField(_("line"))
    given = models.CharField(_("as given"), max_length=100, blank=True)
    # Empty where the line has none that can exist
    ruc = models.CharField("RUC", max_length=11, blank=True)
    state = models.CharField(_("state"), max_length=10, choices=State, default=State.PENDING)
    fit = models.BooleanField(_("fit for invoicing"), null=True, blank=True)
    # Codes: the words are those of who reads them
    reasons = models.JSONField(_("reasons"), default=list, blank=True)
    warnings = models.JSONField(_("warnings"), default=list, blank=True)
    name = models.CharField(_("name"), max_length=250, blank=True)
    taxpayer_state = models.CharField(_("state of the taxpayer"), max_length=60, blank=True)
    taxpayer_condition = models.CharField(_("condition of the address"), max_length=60, blank=True)
    source = models.CharField(_("source"), max_length=12, blank=True)
    checked_at = models.DateTimeField(_("checked"), null=True, blank=True)

    class Meta:
        verbose_name = _("billing row")
        verbose_name_plural = _("billing rows")
        constraints = (models.UniqueConstraint(fields=("run", "line"), name="billing_row_line"),)
        indexes = (
            models.Index(fields=("run", "state", "line"), name="billing_row_next"),
            models.Index(fields=("run", "ruc"), name="billing_row_ruc"),
        )

    def __str__(self) -> str:
        return f"{self.line}: {self.given}"
