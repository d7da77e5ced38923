"""What goes in and out, as the OpenAPI document shows it. Times are ISO 8601, sizes bytes, durations seconds."""

from __future__ import annotations

from datetime import date, datetime
from typing import Annotated, Any, Literal, TypeAlias

from ninja import Schema
from pydantic import ConfigDict, Field

MOST_RUCS = 1000
MOST_WARMED = 10_000

RucNumber: TypeAlias = Annotated[str, Field(pattern=r"^[0-9]{11}$", examples=["20100038146"])]
DniNumber: TypeAlias = Annotated[str, Field(pattern=r"^[0-9]{8}$", examples=["12345678"])]
ServiceName: TypeAlias = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_-]{0,49}$", examples=["migo"])]
# Larger ones would be none that a database takes
RowNumber: TypeAlias = Annotated[int, Field(ge=1, le=2**63 - 1)]
MaxStale: TypeAlias = Annotated[
    int | None,
    Field(
        ge=0,
        le=999_999_999,
        description="Seconds past its life that an answer may be; 0 for none that is old. Without it the settings say.",
    ),
]
Refresh: TypeAlias = Annotated[
    bool, Field(description="Ask APIMIGO anew, and pay for it, also when the cache has an answer.")
]
State: TypeAlias = Literal["waiting", "running", "done", "failed"]


class Problem(Schema):
    """RFC 9457. `code` is stable; `detail` and `next_step` are for people, in the language of Accept-Language."""

    model_config = ConfigDict(extra="allow")

    type: str
    title: str
    status: int
    detail: str
    code: str = Field(examples=["not_found"])
    next_step: str
    request_id: str


# -- look-ups


class AgeWish(Schema):
    max_stale: MaxStale = None


class FreshnessWish(AgeWish):
    refresh: Refresh = False


class DayRange(Schema):
    """Both days included."""

    start: date
    end: date


class RucRecord(Schema):
    """A taxpayer, with APIMIGO's own fields; there may be more than these."""

    model_config = ConfigDict(extra="allow")

    ruc: str
    nombre_o_razon_social: str | None = None
    estado_del_contribuyente: str | None = None
    condicion_de_domicilio: str | None = None
    direccion: str | None = None
    actualizado_en: str | None = None


class DniRecord(Schema):
    model_config = ConfigDict(extra="allow")

    dni: str
    nombre: str | None = None


class ExchangeRate(Schema):
    """Prices are decimal texts."""

    model_config = ConfigDict(extra="allow")

    fecha: str | None = None
    moneda: str | None = None
    precio_compra: str | None = None
    precio_venta: str | None = None


class ExchangeRates(Schema):
    rates: list[ExchangeRate]


class Remark(Schema):
    code: str
    message: str


class Billing(Schema):
    """Whether an invoice can be made out. `errors` forbid it, `warnings` do not."""

    valid: bool
    errors: list[Remark]
    warnings: list[Remark]


class BillingVerdict(Billing):
    ruc: str
    record: RucRecord | None


class Batch(Schema):
    model_config = ConfigDict(extra="forbid", strict=True)

    rucs: list[Annotated[str, Field(max_length=40)]] = Field(min_length=1, max_length=MOST_RUCS)
    billing: bool = Field(default=False, description="Say of each whether an invoice can be made out.")
    max_stale: MaxStale = None


class Trouble(Schema):
    """Why there is no answer. `permanent`: asking again cannot help; `retry_after` in seconds."""

    code: str
    detail: str
    next_step: str
    permanent: bool
    retry_after: float | None


class CacheNote(Schema):
    """`outcome`: hit, stale, negative, miss, outage; `source`: cache, store, validation, upstream; `age` in seconds."""

    outcome: str
    source: str
    age: float
    stale: bool
    stale_because: str | None


class RucOutcome(Schema):
    """One RUC of a batch. `failed` ones have no answer yet and may be asked for again; the others cost nothing then."""

    ruc: str
    status: Literal["found", "not_found", "malformed", "failed"]
    record: RucRecord | None
    reason: str | None
    problem: Trouble | None
    cache: CacheNote | None
    billing: Billing | None


class BatchSummary(Schema):
    """Of distinct RUCs. A stream that does not end with it was cut off."""

    total: int
    distinct: int
    found: int
    not_found: int
    malformed: int
    failed: int


class BatchResult(BatchSummary):
    """In the order in which they were asked for, each once."""

    results: list[RucOutcome]


# -- the cache


class Health(Schema):
    """The stored result of the last check; `stale` when it is older than three runs of the schedule."""

    status: str
    stale: bool
    taken_at: datetime
    age: float
    backend: str
    checks: dict[str, str]
    findings: list[dict[str, Any]]
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
    """One warm-up. `useful` and `wasted` are known when all that it loaded has ended."""

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
    """`rhythm` for people; `age` in seconds, null for one that was never sent; `sent`: how often so far."""

    name: str
    task: str
    enabled: bool
    rhythm: str
    last_sent_at: datetime | None
    age: float | None
    sent: int


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
