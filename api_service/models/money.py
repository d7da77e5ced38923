"""What the machine knows of a paid service: whether it is asked at all, how fast, and what the account still holds."""

from __future__ import annotations

from django.db import models
from django.utils.timezone import localtime
from django.utils.translation import gettext_lazy as _


class CircuitState(models.TextChoices):
    CLOSED = "closed", _("closed")
    OPEN = "open", _("open")
    HALF_OPEN = "half_open", _("half open")


class UpstreamCircuit(models.Model):
    """The circuit breaker of one service, as all processes share it; the rules are in `circuit_rules`."""

    service = models.CharField(_("service"), max_length=50, unique=True)
    state = models.CharField(_("state"), max_length=10, choices=CircuitState, default=CircuitState.CLOSED)
    # Of the window that began at `window_at`
    calls = models.PositiveIntegerField(_("calls"), default=0)
    failures = models.PositiveIntegerField(_("failures"), default=0)
    window_at = models.DateTimeField(_("counted since"), null=True)
    open_until = models.DateTimeField(_("left alone until"), null=True)
    reason = models.CharField(_("reason"), max_length=300, blank=True)
    # {token: Unix seconds by which the probe must have told}
    probes = models.JSONField(_("probes"), default=dict)
    changed_at = models.DateTimeField(_("changed"), null=True)

    class Meta:
        verbose_name = _("circuit breaker")
        verbose_name_plural = _("circuit breakers")

    def __str__(self) -> str:
        return f"{self.service}: {CircuitState(self.state).label}"


class CircuitChange(models.Model):
    """One transition of a circuit breaker, and why."""

    service = models.CharField(_("service"), max_length=50)
    at = models.DateTimeField(_("at"), db_index=True)
    state = models.CharField(_("state"), max_length=10, choices=CircuitState)
    open_until = models.DateTimeField(_("left alone until"), null=True)
    reason = models.CharField(_("reason"), max_length=300, blank=True)

    class Meta:
        verbose_name = _("change of a circuit breaker")
        verbose_name_plural = _("changes of circuit breakers")

    def __str__(self) -> str:
        return f"{localtime(self.at):%Y-%m-%d %H:%M:%S} {self.service}: {CircuitState(self.state).label}"


class UpstreamCalls(models.Model):
    """Attempts at a paid service in five minutes, by how they ended: "answered", or the code of the failure."""

    since = models.DateTimeField(_("since"))
    service = models.CharField(_("service"), max_length=50)
    outcome = models.CharField(_("outcome"), max_length=50)
    calls = models.PositiveBigIntegerField(_("calls"))

    class Meta:
        verbose_name = _("calls of a service")
        verbose_name_plural = _("calls of a service")
        constraints = [
            models.UniqueConstraint(fields=["since", "service", "outcome"], name="one_row_per_upstream_outcome")
        ]

    def __str__(self) -> str:
        return f"{localtime(self.since):%Y-%m-%d %H:%M} {self.service} {self.outcome} × {self.calls}"


class RateWindow(models.Model):
    """Paid queries of the last minute of one service, second by second: its lock is what makes the limit exact."""

    service = models.CharField(_("service"), max_length=50, unique=True)
    # {Unix second as text: queries}
    taken = models.JSONField(_("paid queries by second"), default=dict)

    class Meta:
        verbose_name = _("paid queries of the last minute")
        verbose_name_plural = _("paid queries of the last minute")

    def __str__(self) -> str:
        return self.service


class AccountReading(models.Model):
    """What a service said is left of the plan, beside what our ledger says was spent since the reading before."""

    service = models.CharField(_("service"), max_length=50)
    taken_at = models.DateTimeField(_("read"), db_index=True)
    queries_left = models.BigIntegerField(_("queries left"))
    # Of the hour of `taken_at`, until then: what the ledger has beyond it was spent afterwards
    spent_in_hour = models.PositiveBigIntegerField(_("paid queries of that hour until then"))
    # Null at the first reading, which has none before it
    spent = models.BigIntegerField(_("paid queries since the reading before"), null=True)
    # Less than 0: the account lost fewer than we counted, or was topped up
    divergence = models.BigIntegerField(_("taken from the account beyond our count"), null=True)

    class Meta:
        verbose_name = _("account reading")
        verbose_name_plural = _("account readings")

    def __str__(self) -> str:
        return f"{localtime(self.taken_at):%Y-%m-%d %H:%M} {self.service}: {self.queries_left}"
