"""Trouble, and who was told."""

from __future__ import annotations

from django.db import models
from django.db.models import Q
from django.utils.translation import gettext_lazy as _

from api_service.models.health import Status


class Incident(models.Model):
    """Trouble from the run that found it to the run that did not any more. One open row per code and node."""

    code = models.CharField(_("code"), max_length=50)
    node = models.CharField(_("node"), max_length=255, blank=True)
    severity = models.CharField(_("severity"), max_length=10, choices=Status)
    opened_at = models.DateTimeField(_("opened"), db_index=True)
    resolved_at = models.DateTimeField(_("resolved"), null=True, blank=True)
    # All it has had, "current" as long as the last judged sample shows it: a recovery tells what had been broken
    findings = models.JSONField(_("findings"), default=list)

    class Meta:
        verbose_name = _("incident")
        verbose_name_plural = _("incidents")
        constraints = [
            models.UniqueConstraint(
                fields=["code", "node"], condition=Q(resolved_at__isnull=True), name="one_open_incident_per_code_node"
            )
        ]

    def __str__(self) -> str:
        return f"{self.code} {self.node}".strip()


class Delivery(models.Model):
    """Outbox: one message to one channel, written with the state change it tells of.

    Claimed with a lease, sent, marked done after: a sender that dies in between is followed by another.
    """

    class Event(models.TextChoices):
        OPENED = "opened", _("opened")
        WORSE = "worse", _("worse")
        RECOVERED = "recovered", _("recovered")

    class State(models.TextChoices):
        PENDING = "pending", _("pending")
        SENT = "sent", _("sent")
        FAILED = "failed", _("failed")

    incident = models.ForeignKey(Incident, models.CASCADE, related_name="deliveries", verbose_name=_("incident"))
    channel = models.CharField(_("channel"), max_length=50)
    event = models.CharField(_("event"), max_length=10, choices=Event)
    # What the message says, fixed when it was written: severity, findings, since, …
    facts = models.JSONField(_("facts"), default=dict)
    state = models.CharField(_("state"), max_length=10, choices=State, default=State.PENDING)
    attempts = models.PositiveIntegerField(_("attempts"), default=0)
    created_at = models.DateTimeField(_("created"))
    due_at = models.DateTimeField(_("next attempt"))
    leased_until = models.DateTimeField(_("leased until"), null=True, blank=True)
    sent_at = models.DateTimeField(_("sent"), null=True, blank=True)
    error = models.CharField(_("last error"), max_length=300, blank=True)

    class Meta:
        verbose_name = _("delivery")
        verbose_name_plural = _("deliveries")
        indexes = [models.Index(fields=["state", "due_at"])]
        constraints = [
            # A status change is told to a channel once, however often the run that found it is repeated
            models.UniqueConstraint(
                fields=["incident", "channel", "event", "created_at"], name="one_delivery_per_change"
            )
        ]

    def __str__(self) -> str:
        return f"{self.channel}: {self.get_event_display()}, {self.get_state_display()}"
