"""What was asked for, what of it was paid, what the caps still allow, and what was not spent."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any, cast

from django.db.models import Avg, Max, Q, Sum
from django.utils.translation import gettext as _

from api_service.admin import display, spending, words
from api_service.admin.dashboard import links
from api_service.admin.dashboard.periods import Buckets
from api_service.models import HealthSample, LookupHour, NodeSample, SpendHour
from api_service.services.budget_rules import Caps, Period, Purpose, periods
from api_service.services.outcomes import Outcome

# What the cache answers with something that is inside its life
ANSWERED = (Outcome.HIT, Outcome.NEGATIVE)


@dataclass(frozen=True)
class Part:
    """One kind of many: `share` in per cent, for a bar."""

    name: str
    count: str
    share: float
    share_text: str


@dataclass(frozen=True)
class Lookups:
    url: str
    total: str
    answered: str
    parts: tuple[Part, ...]


@dataclass(frozen=True)
class Cap:
    """`spent` of `most` in one period; `warming` says what of it warming has, and may have."""

    name: str
    spent: int
    most: int
    text: str
    warming: str
    is_reached: bool


@dataclass(frozen=True)
class Spend:
    """Paid queries; `account` says what the provider's account still holds, where that is known."""

    url: str
    paid: str
    price: str
    parts: tuple[Part, ...]
    caps: tuple[Cap, ...]
    account: tuple[str, ...]


@dataclass(frozen=True)
class Saved:
    queries: str
    price: str
    share: str


@dataclass(frozen=True)
class Latency:
    url: str
    usual: str
    worst: str


# -- look-ups


def lookups_between(of: Buckets) -> dict[str, int]:
    """Look-ups by outcome, of those that occurred. One query."""
    rows = LookupHour.objects.filter(hour__gte=of.start, hour__lt=of.end).values_list("outcome")
    return dict(rows.annotate(total=Sum("count")))


def lookups(counts: Mapping[str, int]) -> Lookups:
    total, url = sum(counts.values()), links.list_of(LookupHour)
    parts = tuple(_part(words.word(words.OUTCOMES, one), counts.get(one, 0), total) for one in Outcome)
    share = display.share(_answered(counts), total)
    return Lookups(url, display.number(total), share, parts if total else ())


def _answered(counts: Mapping[str, int]) -> int:
    return sum(counts.get(one, 0) for one in ANSWERED)


def _part(name: str, count: int, total: int) -> Part:
    return Part(name, display.number(count), 100 * count / total if total else 0.0, display.share(count, total))


# -- paid queries


@dataclass(frozen=True)
class Ledger:
    """Sums of the shown time by purpose; of each capped period by its name, then by service and purpose."""

    shown: Mapping[str, int]
    capped: Mapping[str, Mapping[tuple[str, str], int]]

    @property
    def paid(self) -> int:
        return sum(self.shown.values())

    @property
    def warmed(self) -> int:
        return self.shown.get(Purpose.WARM, 0)


def ledger(of: Buckets, capped: Sequence[Period]) -> Ledger:
    """One query for the time shown and all periods."""
    since = min([of.start, *(period.since for period in capped)])
    sums = {f"of_{period.name}": Sum("queries", filter=Q(hour__gte=period.since)) for period in capped}
    rows = SpendHour.objects.filter(hour__gte=since).values("service", "purpose")
    summed = rows.annotate(shown=Sum("queries", filter=Q(hour__gte=of.start, hour__lt=of.end)), **sums)
    found = cast("list[dict[str, Any]]", list(summed))
    shown: Counter[str] = Counter()
    for row in found:
        shown[row["purpose"]] += row["shown"] or 0
    return Ledger(shown, {period.name: _of_period(found, f"of_{period.name}") for period in capped})


def _of_period(rows: Sequence[Mapping[str, Any]], column: str) -> dict[tuple[str, str], int]:
    return {(row["service"], row["purpose"]): row[column] or 0 for row in rows}


def spend(
    of: Ledger, services: Collection[str], caps: Caps, local_now: datetime, price: Decimal, account: Sequence[str]
) -> Spend:
    """`price` of a query in soles, 0 where nobody said. `local_now` is in the time in which days begin."""
    return Spend(
        url=links.list_of(SpendHour),
        paid=display.number(of.paid),
        price=soles(of.paid, price),
        parts=tuple(
            _part(words.word(words.PURPOSES, one), of.shown.get(one, 0), of.paid)
            for one in Purpose
            if of.shown.get(one)
        ),
        caps=tuple(_caps(of, services, caps, local_now)),
        account=tuple(account),
    )


def _caps(of: Ledger, services: Collection[str], caps: Caps, local_now: datetime) -> Iterator[Cap]:
    """Each service has the caps for itself; its name is said where there are several."""
    for service in services:
        for period in periods(caps, local_now):
            name = str(spending.PERIODS[period.name])
            sums = of.capped[period.name].items()
            spent = {purpose: number for (of_service, purpose), number in sums if of_service == service}
            yield _cap(f"{name}, {service}" if len(services) > 1 else name, period, spent, caps)


def _cap(name: str, period: Period, spent: Mapping[str, int], caps: Caps) -> Cap:
    total, warm = sum(spent.values()), spent.get(Purpose.WARM, 0)
    text = _("%(spent)s of %(most)s") % {"spent": display.number(total), "most": display.number(period.cap)}
    share = caps.for_purpose(period.cap, Purpose.WARM)
    facts = {"spent": display.number(warm), "most": display.number(share)}
    warming = _("warming: %(spent)s of %(most)s") % facts
    return Cap(name, total, period.cap, text, warming, total >= period.cap)


def account_words(around: Mapping[str, Any]) -> list[str]:
    """What the last health run read of each account, a line each."""
    # A reading that brought nothing has its error where others have their services
    services = ((name, facts) for name, facts in sorted(around.get("providers", {}).items()) if isinstance(facts, dict))
    return [_account(service, account) for service, facts in services if (account := facts.get("account"))]


def _account(service: str, account: Mapping[str, Any]) -> str:
    facts = {"service": service, "left": display.number(account["queries_left"])}
    if account.get("days") is None:
        return _("Account of %(service)s: %(left)s queries left") % facts
    facts["days"] = display.number(account["days"], decimals=1)
    return _("Account of %(service)s: %(left)s queries left, for %(days)s days at this pace") % facts


def saved(counts: Mapping[str, int], warmed: int, price: Decimal) -> Saved:
    """Each look-up that the cache answered would have been a query; `warmed` were paid for that.

    A miss saves nothing: while the provider is refused nobody pays for it either, and has no answer. Nor does an old
    answer: it is followed by a query, or the provider would have answered nothing.
    """
    queries = max(0, _answered(counts) - warmed)
    return Saved(display.number(queries), soles(queries, price), display.share(queries, sum(counts.values())))


def soles(queries: int, price: Decimal) -> str:
    """`S/ 1,234.50`; "" where there is no price."""
    return f"S/\xa0{display.number(float(queries * price), decimals=2)}" if price else ""


# -- latency


def latency(of: Buckets) -> Latency:
    """Of the round trips to the nodes in health runs, each of which notes a median and a worst. One query."""
    rows = NodeSample.objects.filter(sample__taken_at__gte=of.start, sample__taken_at__lt=of.end)
    sums = rows.aggregate(usual=Avg("latency_ms"), worst=Max("latency_worst_ms"))
    return Latency(
        links.list_of(HealthSample),
        display.number(sums["usual"], " ms", 1),
        display.number(sums["worst"], " ms", 1),
    )
