"""What the operations of the cache, of clearing, warming and schedules take and answer."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Literal, TypeAlias

from ninja import Schema
from pydantic import ConfigDict, Field

from api_service.api.schemas import RucNumber, ServiceName
from api_service.services.beat_rules import State as BeatState

MOST_WARMED = 10_000

State: TypeAlias = Literal["waiting", "running", "done", "failed"]


# -- the cache


class NotJudged(Schema):
    """A code of a finding, and the node: `*` for every one, empty where the finding has none."""

    code: str
    node: str


class Health(Schema):
    """The stored result of the last check; `stale` when it is older than three runs of the schedule.

    `unknown` is what could be judged neither way; null in a check by a version that did not keep it.
    """

    status: str
    stale: bool
    taken_at: datetime
    age: float
    backend: str
    checks: dict[str, str]
    findings: list[dict[str, Any]]
    unknown: list[NotJudged] | None
    nodes: list[dict[str, Any]]


class ServiceKeys(Schema):
    """One service at one inventory: `keys`, `bytes` as found, the others since the inventory before."""

    service: str
    taken_at: datetime
    keys: int
    bytes: int
    reads: int
    created: int
    removed: int
    expired: int
    expired_unread: int
    lives: dict[str, int]


class Stats(Schema):
    """`services`: the last complete inventory. `lookups`: of the last 24 hours by outcome. `paid`: today by purpose."""

    taken_at: datetime | None
    services: list[ServiceKeys]
    lookups: dict[str, int]
    hit_ratio: float | None
    paid: dict[str, int]


class Page(Schema):
    next: str | None = Field(description="The `cursor` of the next page; null at the end.")


class Key(Schema):
    """`last_seen_at` is of a key that is gone: an active one was there at the last inventory."""

    key: str
    kind: str
    identifier: str
    node: str
    bytes: int
    state: str
    expires_at: datetime | None
    first_seen_at: datetime
    last_seen_at: datetime | None
    last_read_at: datetime | None
    reads: int


class KeyPage(Page):
    items: list[Key]


class HistoryPage(Page):
    """The newest first."""

    items: list[ServiceKeys]


class Clearing(Schema):
    """`failed`: keys that were found and may still be there."""

    run: int
    state: State
    service: str
    kind: str
    pattern: str
    dry_run: bool
    with_answers: bool
    found: int
    removed: int
    failed: int
    nodes_failed: int
    answers_found: int
    answers_removed: int
    kinds: dict[str, int]
    nodes: dict[str, Any]
    seconds: float
    error: str
    requested_by: str
    started_at: datetime
    finished_at: datetime | None


class ClearingPage(Page):
    """The newest first."""

    items: list[Clearing]


class ClearingRequest(Schema):
    """What to clear. A field that does not exist is refused: a misspelt `pattern` would clear the whole service."""

    model_config = ConfigDict(extra="forbid", strict=True)

    service: ServiceName
    kind: str = Field("", max_length=50)
    pattern: str = Field("", max_length=250, description="Of identifiers; * is any text, ? one character.")
    with_answers: bool = Field(default=False, description="Stored answers too, which would be served again for free.")
    dry_run: bool = Field(default=True, description="Only count. It has to be said that keys shall go.")


class ClearingAccepted(Schema):
    run: int
    dry_run: bool
    url: str
    next_step: str


# -- warming


class WarmRun(Schema):
    """One warm-up. `useful` and `wasted` are known when all that it loaded has ended.

    `requested_by` is the name of the token or the person, empty for the schedule. One that came while another was under
    way has `failed` and loaded nothing: start it again.
    """

    run: int
    state: State
    started_at: datetime
    finished_at: datetime | None
    dry_run: bool
    limit: int
    budget: int
    candidates: int
    from_store: int
    refreshed: int
    paid: int
    failed: int
    skipped: dict[str, int]
    useful: int | None
    wasted: int | None
    error: str
    requested_by: str


class WarmRunPage(Page):
    """The newest first."""

    items: list[WarmRun]


class WarmRequest(Schema):
    """What is left out is what the schedule does: the most frequent RUCs, the limits of the settings."""

    model_config = ConfigDict(extra="forbid", strict=True)

    limit: int | None = Field(None, ge=0, le=1_000_000, description="RUCs at most.")
    budget: int | None = Field(None, ge=0, le=1_000_000, description="Paid queries at most; 0 uses the store only.")
    rucs: list[RucNumber] | None = Field(None, min_length=1, max_length=MOST_WARMED)
    dry_run: bool = False


class TaskAccepted(Schema):
    task: str
    next_step: str


class ReplayedBudget(Schema):
    """Misses without warming, with the policy, and the fewest that are possible; `warms` are paid calls."""

    budget: int
    misses_none: int
    misses_policy: int
    misses_clairvoyant: int
    warms: int
    wasted: int


class Replay(Schema):
    accesses: int
    budgets: list[ReplayedBudget]


# -- schedules


class Schedule(Schema):
    """`rhythm` for people; `age` in seconds, null for one that was never sent; `sent`: how often so far.

    `succeeded_at`: the last run that Beat sent and that succeeded, null for never. `state` says whether it is late
    beyond the margin, and `late_by` by how many seconds: `not_sent` is Beat's trouble, `not_run` that of workers and
    broker, `clock_set_back` that of the clock. It is null, and so is `next_due`, for what is off or has no rhythm.
    """

    name: str
    task: str
    enabled: bool
    rhythm: str
    last_sent_at: datetime | None
    age: float | None
    sent: int
    succeeded_at: datetime | None
    next_due: datetime | None
    state: BeatState | None
    late_by: float


class Schedules(Schema):
    schedules: list[Schedule]


# -- incidents


class Note(Schema):
    model_config = ConfigDict(extra="forbid", strict=True)

    note: str = Field("", max_length=300, pattern=r"^[^\x00]*$", description="Why; kept with it and told with it.")


class Incident(Schema):
    """One trouble on one node. `severity` is the worst it has been, `current` what it is now; `value` as measured."""

    incident: int
    code: str
    node: str
    severity: str
    current: str
    value: Any
    limit: Any
    since: datetime
    opened_at: datetime
    resolved_at: datetime | None
    acknowledged_at: datetime | None
    acknowledged_by: str
    escalated_at: datetime | None
    flapping_since: datetime | None
    muted_until: datetime | None
    muted_by: str


class IncidentPage(Page):
    items: list[Incident]


class Step(Schema):
    """`telling`: pending, told or quiet; `held_by` says why it is told later or not at all."""

    event: str
    at: datetime
    by: str
    note: str
    telling: str
    held_by: str


class IncidentWithCourse(Incident):
    course: list[Step]
