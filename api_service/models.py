"""Machine-kept rows: what is known of keys, answers, money, health, runs, incidents and deliveries.

Times are aware; sizes are bytes; a null time means "not yet" or "never", as each field says.
"""

from __future__ import annotations

from django.db import models
from django.db.models import Q
from django.utils.timezone import localtime
from django.utils.translation import gettext_lazy as _
from django.utils.translation import pgettext_lazy


class TrackedKey(models.Model):
    """One key of ours as the last inventory saw it. Written by `track_keys` and by the read counter."""

    class State(models.TextChoices):
        # With a context: Django's own "active" is that of an account, in another gender
        ACTIVE = "active", pgettext_lazy("key", "active")
        EXPIRED = "expired", _("expired")
        REMOVED = "removed", _("removed")
        UNKNOWN = "unknown", _("unknown")

    key = models.CharField(_("key"), max_length=250, unique=True)
    service = models.CharField(_("service"), max_length=50)
    kind = models.CharField(_("kind"), max_length=50)
    identifier = models.CharField(_("identifier"), max_length=250)
    node = models.CharField(_("node"), max_length=255)
    size = models.PositiveIntegerField(_("bytes"), default=0)
    state = models.CharField(_("state"), max_length=10, choices=State)
    expires_at = models.DateTimeField(_("expires"), null=True, blank=True)
    created_at = models.DateTimeField(_("first seen"))
    seen_at = models.DateTimeField(_("last seen"))
    last_read_at = models.DateTimeField(_("last read"), null=True, blank=True)
    reads = models.PositiveBigIntegerField(_("reads"), default=0)

    class Meta:
        verbose_name = _("tracked key")
        verbose_name_plural = _("tracked keys")
        indexes = [
            models.Index(fields=["service", "kind", "state"]),
            models.Index(fields=["node", "state"]),
            models.Index(fields=["-seen_at"]),
        ]

    def __str__(self) -> str:
        return self.key


class DailyReads(models.Model):
    """How often one identifier was asked for in one day (Lima time), cached or not: what warming goes by."""

    service = models.CharField(_("service"), max_length=50)
    kind = models.CharField(_("kind"), max_length=50)
    identifier = models.CharField(_("identifier"), max_length=250)
    day = models.DateField(_("day"))
    reads = models.PositiveBigIntegerField(_("reads"))
    last_read_at = models.DateTimeField(_("last read"))

    class Meta:
        verbose_name = _("reads of a day")
        verbose_name_plural = _("reads by day")
        constraints = [
            models.UniqueConstraint(fields=["service", "kind", "identifier", "day"], name="one_row_per_identifier_day")
        ]
        indexes = [models.Index(fields=["day", "service", "kind"])]

    def __str__(self) -> str:
        return f"{self.service}:{self.kind}_{self.identifier} {self.day} × {self.reads}"


class LookupHour(models.Model):
    """Look-ups of one hour by outcome (hit, stale, negative, miss, outage)."""

    hour = models.DateTimeField(_("hour"))
    service = models.CharField(_("service"), max_length=50)
    kind = models.CharField(_("kind"), max_length=50)
    outcome = models.CharField(_("outcome"), max_length=20)
    count = models.PositiveBigIntegerField(_("look-ups"))

    class Meta:
        verbose_name = _("look-ups of an hour")
        verbose_name_plural = _("look-ups by hour")
        constraints = [
            models.UniqueConstraint(fields=["hour", "service", "kind", "outcome"], name="one_row_per_outcome_hour")
        ]

    def __str__(self) -> str:
        return f"{localtime(self.hour):%Y-%m-%d %H:00} {self.service} {self.outcome} × {self.count}"


class StoredAnswer(models.Model):
    """The last good answer of a provider: free to serve again while it is inside its life time."""

    service = models.CharField(_("service"), max_length=50)
    kind = models.CharField(_("kind"), max_length=50)
    identifier = models.CharField(_("identifier"), max_length=250)
    # Text, not JSONField: the bytes go to the cache as they are, and jsonb would re-serialise them
    data = models.TextField(_("answer"))
    born_at = models.DateTimeField(_("answered"), db_index=True)

    class Meta:
        verbose_name = _("stored answer")
        verbose_name_plural = _("stored answers")
        constraints = [
            models.UniqueConstraint(fields=["service", "kind", "identifier"], name="one_answer_per_identifier")
        ]

    def __str__(self) -> str:
        return f"{self.service}:{self.kind}_{self.identifier}"


class SpendHour(models.Model):
    """Paid queries of one hour, counted before each call: it never shows less than was spent."""

    hour = models.DateTimeField(_("hour"))
    service = models.CharField(_("service"), max_length=50)
    purpose = models.CharField(_("purpose"), max_length=20)
    queries = models.PositiveBigIntegerField(_("queries"))

    class Meta:
        verbose_name = _("paid queries of an hour")
        verbose_name_plural = _("paid queries by hour")
        constraints = [models.UniqueConstraint(fields=["hour", "service", "purpose"], name="one_row_per_purpose_hour")]

    def __str__(self) -> str:
        return f"{localtime(self.hour):%Y-%m-%d %H:00} {self.service} {self.purpose}: {self.queries}"


class Status(models.TextChoices):
    HEALTHY = "healthy", _("healthy")
    WARNING = "warning", _("warning")
    UNHEALTHY = "unhealthy", _("unhealthy")


class HealthSample(models.Model):
    """One run of `monitor_cache_health`."""

    taken_at = models.DateTimeField(_("taken"), db_index=True)
    status = models.CharField(_("status"), max_length=10, choices=Status)
    backend = models.CharField(_("backend"), max_length=20)
    duration_ms = models.FloatField(_("duration (ms)"))
    # {"connection": "✅ OK", …}: the texts of get_health()
    checks = models.JSONField(_("checks"), default=dict)
    # [{"code", "severity", "node", "value", "limit"}, …]
    findings = models.JSONField(_("findings"), default=list)
    # Each sample is judged once, and none after a newer one; null is "not yet"
    judged_at = models.DateTimeField(_("judged by the alert rules"), null=True, blank=True, db_index=True)

    class Meta:
        verbose_name = _("health sample")
        verbose_name_plural = _("health samples")

    def __str__(self) -> str:
        return f"{localtime(self.taken_at):%Y-%m-%d %H:%M:%S} {self.get_status_display()}"


class NodeSample(models.Model):
    """One node as seen by one health run; counters are since the node's boot, null when it did not answer."""

    sample = models.ForeignKey(HealthSample, models.CASCADE, related_name="nodes", verbose_name=_("sample"))
    node = models.CharField(_("node"), max_length=255)
    reachable = models.BooleanField(_("reachable"))
    error = models.CharField(_("error"), max_length=300, blank=True)
    latency_ms = models.FloatField(_("latency (ms)"), null=True)
    version = models.CharField(_("version"), max_length=50, blank=True)
    pid = models.PositiveBigIntegerField(_("process id"), null=True)
    booted_at = models.DateTimeField(_("booted"), null=True)
    items = models.PositiveBigIntegerField(_("items"), null=True)
    bytes_used = models.PositiveBigIntegerField(_("bytes used"), null=True)
    bytes_limit = models.PositiveBigIntegerField(_("bytes limit"), null=True)
    evictions = models.PositiveBigIntegerField(_("evictions"), null=True)
    hits = models.PositiveBigIntegerField(_("hits"), null=True)
    misses = models.PositiveBigIntegerField(_("misses"), null=True)
    connections = models.PositiveIntegerField(_("connections"), null=True)
    max_connections = models.PositiveIntegerField(_("maximum connections"), null=True)
    restarted = models.BooleanField(_("restarted"), default=False)

    class Meta:
        verbose_name = _("node sample")
        verbose_name_plural = _("node samples")
        indexes = [models.Index(fields=["node", "-id"])]

    def __str__(self) -> str:
        return f"{self.node}: {_('reachable') if self.reachable else self.error}"


class Run(models.Model):
    """What every periodic run records: when, by whom, how it ended."""

    class State(models.TextChoices):
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


class TrackRun(Run):
    """One inventory of every node. A node that failed is named in `nodes`; its rows became "unknown"."""

    keys_seen = models.PositiveBigIntegerField(_("keys"), default=0)
    # {"127.0.0.1:11211": {"ok": true, "keys": 3, "error": ""}, …}
    nodes = models.JSONField(_("nodes"), default=dict)
    # {"session": 12, …}: keys that are not ours, by prefix; never touched
    foreign = models.JSONField(_("foreign keys"), default=dict)

    class Meta(Run.Meta):
        abstract = False
        verbose_name = _("key inventory")
        verbose_name_plural = _("key inventories")


class ServiceSnapshot(models.Model):
    """Keys and bytes of one service at one inventory."""

    run = models.ForeignKey(TrackRun, models.CASCADE, related_name="services", verbose_name=_("inventory"))
    service = models.CharField(_("service"), max_length=50)
    keys = models.PositiveBigIntegerField(_("keys"))
    bytes = models.PositiveBigIntegerField(_("bytes"))

    class Meta:
        verbose_name = _("service snapshot")
        verbose_name_plural = _("service snapshots")

    def __str__(self) -> str:
        return f"{self.service}: {self.keys}"


class WarmRun(Run):
    """One run of `warm_frequent_rucs`: what it looked at, what it refreshed, what it paid."""

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

    class Meta(Run.Meta):
        abstract = False
        verbose_name = _("warm run")
        verbose_name_plural = _("warm runs")


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
