"""The page of one RUC in words: sections of a title, rows and maybe a table. Queries nothing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from math import isfinite
from typing import Any

from django.conf import settings
from django.contrib.admin.models import LogEntry
from django.urls import reverse
from django.utils.dateparse import parse_datetime
from django.utils.formats import date_format
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from api_service.admin import display, ruc_words, words
from api_service.admin.display import Tone
from api_service.admin.habits import half_hour_text, verdict
from api_service.admin.ruc_links import linked
from api_service.admin.ruc_marks import Mark
from api_service.models import DailyReads, TrackedKey, WarmedAnswer
from api_service.services import billing, ruc_rules, warm_outlook
from api_service.services.beat_rules import ByItself
from api_service.services.hot_rucs import Hot
from api_service.services.outcomes import CacheRead, Outcome
from api_service.services.ruc_facts import moment_of
from api_service.services.ruc_rules import Next, Place, RucFacts, Shown
from api_service.services.translated import translated
from api_service.services.warm_outlook import Outlook

Text = SafeString | str
HALF_HOURS_SHOWN = 5


@dataclass(frozen=True)
class Section:
    title: str
    rows: Sequence[tuple[str, Text]] = ()
    table: Text = ""


def name_of(shown: Shown | None) -> str:
    return _text(shown, "nombre_o_razon_social")


def next_words(next_: Next) -> SafeString:
    tones = {Next.CACHED: Tone.GOOD, Next.PAID: Tone.WARNING, Next.STALE: Tone.WARNING, Next.STORED: Tone.GOOD}
    return display.toned(tones.get(next_, Tone.QUIET), ruc_words.NEXT_LOOKUP[next_])


def record(shown: Shown | None, *, can_exist: bool) -> Section:
    """What is known of the taxpayer, and whether an invoice can be made out to them."""
    title = _("Taxpayer")
    if shown is None or not isinstance(shown.data, Mapping):
        text = _("Nothing is known of this RUC.")
        if not can_exist:
            text = _("No such RUC can exist: its check digit or its beginning is wrong. It is never asked for.")
        return Section(title, [(_("Record"), text)])
    wrong, doubtful = billing.errors(shown.data), billing.warnings(shown.data)
    fit = display.toned(Tone.BAD, _("no")) if wrong else display.toned(Tone.GOOD, _("yes"))
    return Section(
        title,
        [
            (_("Name"), _text(shown, "nombre_o_razon_social")),
            (_("State"), _text(shown, "estado_del_contribuyente")),
            (_("Condition"), _text(shown, "condicion_de_domicilio")),
            (_("Fit for invoicing"), format_html("{} {}", fit, _remarks(wrong))),
            *([(_("Warnings"), _remarks(doubtful))] if doubtful else []),
            (_("Address"), _text(shown, "direccion") or _text(shown, "direccion_simple")),
            (_("As of, at SUNAT"), _text(shown, "actualizado_en")),
        ],
    )


def freshness(facts: RucFacts, shown: Shown | None, now: datetime) -> Section:
    title = _("How fresh it is")
    rows: list[tuple[str, Text]] = [(_("In the cache"), _cached(facts.answer, now)), (_("In the answer store"), "")]
    rows[1] = (rows[1][0], _stored(facts, now))
    if shown is None:
        return Section(title, [*rows, (_("Ever paid for"), _("not as far as anything here knows"))])
    at = moment_of(shown.born_at)
    source = _("cache") if shown.from_cache else _("answer store")
    rows += [(_("Shown above"), source), (_("Answered"), _exactly(at, now))]
    if isfinite(shown.ends):
        rows += [
            (_("Its life ends"), _exactly(moment_of(shown.ends), now)),
            (_("Shown while APIMIGO fails until"), _exactly(moment_of(shown.stale_until), now)),
        ]
    return Section(title, rows)


def _cached(read: CacheRead, now: datetime) -> Text:
    badge = display.badge(read.outcome.value, words.word(ruc_words.LIES_THERE, read.outcome.value))
    if read.outcome not in {Outcome.HIT, Outcome.STALE} or read.expires_at is None:
        return badge
    return format_html("{} {} {}", badge, _("ends"), _exactly(moment_of(read.expires_at), now))


def _stored(facts: RucFacts, now: datetime) -> Text:
    if facts.stored is None:
        return display.toned(Tone.QUIET, _("nothing there"))
    born = moment_of(facts.stored.born_at)
    fresh = now - born < timedelta(seconds=settings.CACHE_TTL_RUC)
    badge = display.toned(Tone.GOOD, _("inside its life")) if fresh else display.toned(Tone.WARNING, _("old"))
    query = f"?q={facts.ruc}"
    url = reverse("admin:api_service_storedanswer_changelist") + query
    return format_html('{} {} <a href="{}">{}</a>', badge, _exactly(born, now), url, _("Look at it"))


def invalid(facts: RucFacts, mark: Mark | None, now: datetime) -> Section:
    """The list of invalid RUCs: why it is on it, since and until when. `mark`: by hand, as the log has it."""
    title, read = _("List of invalid RUCs"), facts.negative
    if read.outcome is not Outcome.HIT or not isinstance(read.value, Mapping):
        return Section(title, [(_("Listed"), _not_listed(facts, mark, now))])
    reason = str(read.value.get("reason", ""))
    return Section(
        title,
        [
            (_("Listed"), display.toned(Tone.WARNING, _("yes"))),
            (_("Reason"), format_html("<code>{}</code> {}", reason, words.INVALID_REASONS.get(reason, ""))),
            (_("Since"), _moment(read.value.get("added_at"), now)),
            (_("Until"), _moment(read.value.get("expires_at"), now)),
        ],
    )


def _not_listed(facts: RucFacts, mark: Mark | None, now: datetime) -> Text:
    """A mark was somebody's decision. Who or what ended it is not known, but for an answer that is there to be seen."""
    if facts.negative.outcome is Outcome.OUTAGE:
        return display.toned(Tone.BAD, _("its node does not answer"))
    if mark is None or mark.until <= now or ruc_rules.answered_since(facts, mark.made_at.timestamp()):
        return display.toned(Tone.QUIET, _("not listed"))
    ended = display.toned(Tone.WARNING, _("not any more"))
    text = _(
        "{ended} It was marked by hand until {until}. A restart, an eviction, a clearing, a program or a newer answer "
        "has ended that before its time."
    )
    return format_html(text, ended=ended, until=_exactly(mark.until, now))


def reads(days: Sequence[DailyReads], habit: Sequence[tuple[int, float]], now: datetime) -> Section:
    """How often it is asked for, when, and for the last time. Whether the cache had it or not."""
    last = max((row.last_read_at for row in days), default=None)
    return Section(
        _("How often it is read"),
        [
            (_("Last read"), _exactly(last, now) if last else _("not in the last 30 days")),
            (_("Last 14 days"), display.number(_reads_since(days, now, 14))),
            (_("Last 30 days"), display.number(_reads_since(days, now, 30))),
            *([(_("Most often"), _half_hours(habit))] if habit else []),
        ],
        _days_table(days),
    )


def _reads_since(days: Sequence[DailyReads], now: datetime, number: int) -> int:
    first = moment_of(now.timestamp()).date() - timedelta(days=number - 1)
    return sum(row.reads for row in days if row.day >= first)


def _half_hours(habit: Sequence[tuple[int, float]]) -> str:
    return ", ".join(f"{half_hour_text(slot)} ({display.share(share, 1)})" for slot, share in habit[:HALF_HOURS_SHOWN])


def _days_table(days: Sequence[DailyReads]) -> Text:
    if not days:
        return ""
    most = max(row.reads for row in days)
    rows = [
        (date_format(row.day, "SHORT_DATE_FORMAT"), display.number(row.reads), display.bar(row.reads, most))
        for row in days
    ]
    return display.table((_("day"), _("reads"), ""), rows)


def warming(outlook: Outlook | None, warms: Sequence[WarmedAnswer], now: datetime) -> Section:
    """When a run refreshes it or why not, and what became of the last times that one did."""
    rows: list[tuple[str, Text]] = []
    if outlook is None:
        rows.append((_("Next refresh"), _("nobody can say: it cannot exist, or its node does not answer")))
    else:
        rows += _forecast(outlook, now)
    if not warms:
        rows.append((_("Last warmed"), _("not in the last two weeks")))
        return Section(_("Warming"), rows)
    read = sum(row.read_at is not None for row in warms)
    summary = ngettext(
        "%(read)s of the last %(count)s was read", "%(read)s of the last %(count)s were read", len(warms)
    )
    rows.append((_("Paid off"), summary % {"read": read, "count": len(warms)}))
    table = [(_exactly(row.warmed_at, now), verdict(row, now), _chance(row), _run_link(row)) for row in warms]
    return Section(_("Warming"), rows, display.table((_("loaded"), _("read in time"), _("chance"), _("run")), table))


def _forecast(outlook: Outlook, now: datetime) -> list[tuple[str, Text]]:
    expected = _("%(reads)s; refreshed from %(least)s up") % {
        "reads": display.number(outlook.reads, decimals=2),
        "least": display.number(outlook.break_even, decimals=2),
    }
    return [
        (_("Next refresh"), _next_refresh(outlook, now)),
        (_("Reads expected in a new answer's life"), expected),
    ]


def _next_refresh(outlook: Outlook, now: datetime) -> SafeString:
    """What a run would decide is told of one that will come."""
    if outlook.by_itself is not ByItself.YES:
        url = reverse("admin:django_celery_beat_periodictask_changelist")
        badge = display.toned(Tone.WARNING, words.word(ruc_words.NOT_BY_ITSELF, outlook.by_itself))
        return format_html('{} <a href="{}">{}</a>', badge, url, _("Schedules"))
    if outlook.decision != warm_outlook.DUE:
        return display.toned(Tone.QUIET, words.word(ruc_words.FORECASTS, outlook.decision))
    at = moment_of(outlook.at)
    when = (
        _("at the next run") if at <= now else format_html(_("by the first run after {time}"), time=_exactly(at, now))
    )
    return format_html("{} {}", display.toned(Tone.GOOD, words.word(ruc_words.FORECASTS, outlook.decision)), when)


def _chance(row: WarmedAnswer) -> str:
    return display.NOTHING if row.chance is None else display.share(row.chance, 1)


def _run_link(row: WarmedAnswer) -> SafeString:
    url = reverse("admin:api_service_warmrun_change", args=[row.run_id])
    return format_html('<a href="{}">{}</a>', url, f"#{row.run_id}")


def places(facts: RucFacts) -> Section:
    """Each node, what lies on it, and where the cache looks."""
    rows = [
        (place.reads.node, _lies(place, facts.answer_key), _lies(place, facts.negative_key), _note(place))
        for place in facts.places
    ]
    heads = (_("node"), _("answer"), _("invalid"), _("note"))
    keys = format_html("<code>{}</code><br><code>{}</code>", facts.answer_key, facts.negative_key)
    return Section(_("Where it lies"), [(_("Keys on the wire"), keys)], display.table(heads, rows))


def _lies(place: Place, key: str) -> Text:
    if place.reads.error:
        return display.toned(Tone.BAD, _("no answer"))
    read = place.reads.values.get(key)
    if read is None:
        return display.NOTHING
    badge = display.badge(read.outcome.value, words.word(ruc_words.LIES_THERE, read.outcome.value))
    return format_html("{} {}", badge, display.size(place.reads.sizes.get(key)))


def _note(place: Place) -> str:
    notes = [_("place of the answer")] if place.answer_here else []
    notes += [_("place of the mark")] if place.negative_here else []
    notes += [translated(place.reads.error)] if place.reads.error else []
    if place.reads.values and not notes:
        notes = [_("left over: the cache does not look here")]
    return "\n".join(notes) or display.NOTHING


def tracked(rows: Sequence[TrackedKey]) -> Section:
    """Its keys in the table of keys."""
    table = [
        (
            format_html('<a href="{}">{}</a>', reverse("admin:api_service_trackedkey_change", args=[row.pk]), row.key),
            row.node,
            display.badge(row.state, row.get_state_display()),
            display.number(row.reads),
        )
        for row in rows
    ]
    heads = (_("key"), _("node"), _("state"), _("reads"))
    return Section(_("Seen by the inventories"), (), display.table(heads, table))


def done(log: Sequence[LogEntry], now: datetime) -> Section:
    """What people did to it, newest first."""
    rows = [(display.age(row.action_time, now), row.user.get_username(), row.get_change_message()) for row in log]
    return Section(_("Done by hand"), (), display.table((_("time"), _("by"), _("what was done")), rows))


def hot_table(hot: Sequence[Hot], cached: Mapping[str, CacheRead], now: datetime) -> Text:
    rows = [
        (
            linked(one.ruc),
            display.number(one.today),
            display.number(one.yesterday),
            _cached_briefly(cached[one.ruc], now),
            display.age(one.last_read_at, now),
        )
        for one in hot
    ]
    return display.table(("RUC", _("reads today"), _("yesterday"), _("in the cache"), _("last read")), rows)


def _cached_briefly(read: CacheRead, now: datetime) -> Text:
    badge = display.badge(read.outcome.value, words.word(ruc_words.LIES_THERE, read.outcome.value))
    if read.outcome is not Outcome.HIT or read.expires_at is None:
        return badge
    return format_html("{} {}", badge, display.age(moment_of(read.expires_at), now))


def _remarks(remarks: Sequence[Any]) -> str:
    return " ".join(str(remark["message"]) for remark in remarks)


def _text(shown: Shown | None, name: str) -> str:
    value = shown.data.get(name) if shown is not None and isinstance(shown.data, Mapping) else None
    return str(value or "").strip()


def _exactly(at: datetime, now: datetime) -> SafeString:
    """The time of the clock, and how long ago or ahead that is."""
    local = moment_of(at.timestamp())
    return format_html("{} ({})", date_format(local, "SHORT_DATETIME_FORMAT"), display.age(at, now))


def _moment(text: object, now: datetime) -> Text:
    at = parse_datetime(str(text)) if text else None
    return _exactly(at, now) if at else display.NOTHING
