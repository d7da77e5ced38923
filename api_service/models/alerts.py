"""Trouble, its history, and who was told.

Finding (health run) → `FindingState` (N of M) → `Incident` with its `Transition` rows → `Notice` (what is told at once)
→ one `Delivery` a channel (outbox). Each arrow is one transaction; what a kill leaves behind the next run goes on with.
"""

from __future__ import annotations

from django.db import models
from django.db.models import Q
from django.utils.translation import gettext_lazy as _

from api_service.models.health import Status


class FindingState(models.Model):
    """What the last runs saw of one possible trouble: it counts after N bad of M, and is over after K good."""

    code = models.CharField(_("code"), max_length=50)
    node = models.CharField(_("node"), max_length=255, blank=True)
    # One sign a run, the newest last: "1" seen, "0" not seen. A run that could not tell adds none
    recent = models.CharField(_("recent runs"), max_length=40, blank=True)
    counts = models.BooleanField(_("counts"), default=False)
    # First bad run of the present trouble; null while all is well
    since = models.DateTimeField(_("since"), null=True, blank=True)
    severity = models.CharField(_("severity"), max_length=10, choices=Status, blank=True)
    value = models.JSONField(_("value"), default=str)
    limit = models.JSONField(_("limit"), default=str)
    # Unix seconds at which `counts` changed, the newest last: too many of them are flapping
    changes = models.JSONField(_("changes"), default=list)
    seen_at = models.DateTimeField(_("last run"))

    class Meta:
        verbose_name = _("finding")
        verbose_name_plural = _("findings")
        constraints = [models.UniqueConstraint(fields=["code", "node"], name="one_state_per_finding")]

    def __str__(self) -> str:
        return f"{self.code} {self.node}".strip()


class Incident(models.Model):
    """One trouble from the run that made it count to the run that ended it. One open row per code and node."""

    code = models.CharField(_("code"), max_length=50)
    node = models.CharField(_("node"), max_length=255, blank=True)
    # The worst it has been, and what it is now: healthy once it is over
    severity = models.CharField(_("severity"), max_length=10, choices=Status)
    current = models.CharField(_("severity now"), max_length=10, choices=Status)
    # As last measured while it was open
    value = models.JSONField(_("value"), default=str)
    limit = models.JSONField(_("limit"), default=str)
    # First bad run, before it counted
    since = models.DateTimeField(_("since"))
    opened_at = models.DateTimeField(_("opened"), db_index=True)
    resolved_at = models.DateTimeField(_("resolved"), null=True, blank=True)
    acknowledged_at = models.DateTimeField(_("acknowledged"), null=True, blank=True)
    acknowledged_by = models.CharField(_("acknowledged by"), max_length=150, blank=True)
    # Nothing is told of it before that, but its end
    muted_until = models.DateTimeField(_("muted until"), null=True, blank=True)
    muted_by = models.CharField(_("muted by"), max_length=150, blank=True)
    escalated_at = models.DateTimeField(_("escalated"), null=True, blank=True)
    reminded_at = models.DateTimeField(_("last reminder"), null=True, blank=True)
    # It comes and goes: told once, then quiet until it keeps still
    flapping_since = models.DateTimeField(_("flapping since"), null=True, blank=True)

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


class Notice(models.Model):
    """What is told together: all transitions of one moment, so that a rack that dies is one message a channel."""

    created_at = models.DateTimeField(_("created"), db_index=True)
    severity = models.CharField(_("severity"), max_length=10, choices=Status)

    class Meta:
        verbose_name = _("notice")
        verbose_name_plural = _("notices")

    def __str__(self) -> str:
        return f"#{self.pk} {self.get_severity_display()}"


class Transition(models.Model):
    """One step in an incident's life, written in the transaction that makes it. The next run tells untold ones."""

    class Event(models.TextChoices):
        OPENED = "opened", _("opened")
        WORSE = "worse", _("worse")
        BETTER = "better", _("better")
        ESCALATED = "escalated", _("escalated")
        REMINDED = "reminded", _("still open")
        ACKNOWLEDGED = "acknowledged", _("acknowledged")
        MUTED = "muted", _("muted")
        UNMUTED = "unmuted", _("not muted any more")
        FLAPPING = "flapping", _("comes and goes")
        SETTLED = "settled", _("does not come and go any more")
        RESOLVED = "resolved", _("resolved")

    class Telling(models.TextChoices):
        PENDING = "pending", _("to be told")
        TOLD = "told", _("told")
        # Nobody needs to hear of it: too small a step, over before a window ended, or damped
        QUIET = "quiet", _("not told")

    incident = models.ForeignKey(Incident, models.CASCADE, related_name="transitions", verbose_name=_("incident"))
    event = models.CharField(_("event"), max_length=12, choices=Event)
    at = models.DateTimeField(_("time"))
    # A person's name, "" for the monitor
    by = models.CharField(_("by"), max_length=150, blank=True)
    note = models.CharField(_("note"), max_length=300, blank=True)
    # What a message says of it, fixed now: see api_service.services.incident_facts
    facts = models.JSONField(_("facts"), default=dict)
    telling = models.CharField(_("telling"), max_length=8, choices=Telling, default=Telling.PENDING)
    # Why it is told later or not at all: "maintenance", "muted", "flapping", …
    held_by = models.CharField(_("held back by"), max_length=20, blank=True)
    notice = models.ForeignKey(
        Notice, models.SET_NULL, null=True, blank=True, related_name="transitions", verbose_name=_("notice")
    )

    class Meta:
        verbose_name = _("transition")
        verbose_name_plural = _("transitions")
        indexes = [
            models.Index(fields=["incident", "id"]),
            models.Index(fields=["id"], condition=Q(telling="pending"), name="transitions_to_tell"),
        ]

    def __str__(self) -> str:
        return f"{self.incident_id}: {self.get_event_display()}"


class Delivery(models.Model):
    """Outbox: one message to one channel, written with the notice it is of.

    Claimed with a lease, sent, marked done after: a sender that dies in between is followed by another.
    """

    class State(models.TextChoices):
        PENDING = "pending", _("pending")
        SENT = "sent", _("sent")
        FAILED = "failed", _("failed")

    notice = models.ForeignKey(Notice, models.CASCADE, related_name="deliveries", verbose_name=_("notice"))
    channel = models.CharField(_("channel"), max_length=50)
    # What the message says, fixed when it was written; and what of it has arrived
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
        constraints = [models.UniqueConstraint(fields=["notice", "channel"], name="one_delivery_per_notice_channel")]

    def __str__(self) -> str:
        return f"{self.channel}: {self.get_state_display()}"


class ChannelState(models.Model):
    """A channel that refused for good is off until somebody turns it on. Its address is a setting, never a row."""

    name = models.CharField(_("channel"), max_length=50, unique=True)
    disabled_at = models.DateTimeField(_("disabled"), null=True, blank=True)
    reason = models.CharField(_("reason"), max_length=300, blank=True)
    # Whether the workers have what it needs; kept by them, as the web may have other settings
    configured = models.BooleanField(_("configured"), default=False)
    # 429: nothing is sent to it before that
    resting_until = models.DateTimeField(_("resting until"), null=True, blank=True)
    # When it last took a message, tests included, and when and why it last did not
    succeeded_at = models.DateTimeField(_("last success"), null=True, blank=True)
    failed_at = models.DateTimeField(_("last failure"), null=True, blank=True)
    error = models.CharField(_("last error"), max_length=300, blank=True)

    class Meta:
        verbose_name = _("alert channel")
        verbose_name_plural = _("alert channels")
        # Who may not switch a channel may still try it
        permissions = [("test_channelstate", "Can send a test alert")]

    def __str__(self) -> str:
        return self.name


class MaintenanceWindow(models.Model):
    """Planned work: measuring goes on, nobody is told, and what is still wrong at its end is told then."""

    class Repeats(models.TextChoices):
        ONCE = "once", _("once")
        WEEKLY = "weekly", _("every week")

    name = models.CharField(_("name"), max_length=100)
    repeats = models.CharField(_("repeats"), max_length=6, choices=Repeats, default=Repeats.ONCE)
    # Of a weekly one: its first time; day of the week and time of day are taken from it, in Lima's time
    starts_at = models.DateTimeField(_("start"))
    minutes = models.PositiveIntegerField(_("minutes"))
    # Both empty: everything. A service covers findings that name it; a node those of that node
    service = models.CharField(_("service"), max_length=50, blank=True)
    node = models.CharField(_("node"), max_length=255, blank=True)
    enabled = models.BooleanField(_("enabled"), default=True)
    created_by = models.CharField(_("created by"), max_length=150, blank=True)

    class Meta:
        verbose_name = _("maintenance window")
        verbose_name_plural = _("maintenance windows")

    def __str__(self) -> str:
        return self.name
