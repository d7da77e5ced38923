"""Tables of the keys, the reads, the answers and the money."""

# ruff: noqa: ARG002 - the signatures are Django's

from __future__ import annotations

import json
from collections.abc import Iterable
from datetime import datetime
from typing import Any

from django.contrib import admin
from django.contrib.admin.views.main import ChangeList
from django.db.models import Max, QuerySet
from django.db.models.functions import Length
from django.http import HttpRequest
from django.utils import timezone
from django.utils.formats import date_format
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from api_service.admin import display, words
from api_service.admin.base import TableAdmin
from api_service.admin.filters import (
    ByKindOfKeys,
    ByNodeOfKeys,
    ByService,
    ByServiceOfKeys,
    chosen,
    key_prefix,
    starting_with,
)
from api_service.admin.identifiers import FoundByIdentifier, LinkedIdentifier
from api_service.admin.row_names import NamedRows
from api_service.models import (
    DailyReads,
    LookupHour,
    LookupTime,
    NodeListing,
    Run,
    SpendHour,
    StoredAnswer,
    TrackedKey,
)
from api_service.services import latencies, ruc
from api_service.services.cache_service import INVALID_KEY, RUC_KEY

KEYS_OF_A_RUC = (RUC_KEY, INVALID_KEY)


class KeyList(ChangeList):
    """A page of keys that knows when their nodes were last listed."""

    def get_results(self, request: HttpRequest) -> None:
        super().get_results(request)
        self.result_list = with_listings(self.result_list)


def with_listings(rows: Iterable[TrackedKey]) -> list[TrackedKey]:
    """The rows with `node_listed_at`, when their node was last listed to the end. One query for all of them."""
    found = list(rows)
    complete = NodeListing.objects.filter(node__in={row.node for row in found}, state=Run.State.DONE)
    listed = dict(complete.order_by().values_list("node").annotate(newest=Max("listed_at")))
    for row in found:
        row.node_listed_at = listed.get(row.node)  # type: ignore[attr-defined]
    return found


@admin.register(TrackedKey)
class TrackedKeyAdmin(LinkedIdentifier, TableAdmin[TrackedKey]):
    list_display = ("key", "state_badge", "node", "expires", "reads_text", "read", "size_text", "seen")
    list_filter = (ByServiceOfKeys, ByKindOfKeys, "state", ByNodeOfKeys)
    # Each is the order of an index that holds every column of the filter: no page needs a sort, and none reads a row
    # that it does not show
    ordering = ("key", "node")
    ordering_of_filter = (("node", ("state", "key", "id")), ("state__exact", ("key", "id")))
    search_fields = ("key__startswith",)
    search_help_text = _("A RUC or its beginning, or the beginning of a key: migo:invalid_20")
    fields = (
        *("key", "service", "kind", "identifier_link", "node", "state_badge", "size_text"),
        *("expires", "first_seen", "seen", "read", "reads_text", "fetched_text"),
    )

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[ChangeList]:
        return KeyList

    def get_object(self, request: HttpRequest, object_id: str, from_field: str | None = None) -> TrackedKey | None:
        row = super().get_object(request, object_id, from_field)
        return row and with_listings([row])[0]

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[TrackedKey], search_term: str
    ) -> tuple[QuerySet[TrackedKey], bool]:
        """One range of the index, or two keys. Of two ranges SQLite walks the larger, and a union is sorted."""
        term, prefix = search_term.strip(), key_prefix(request)
        if ruc.is_eleven_digits(term):
            return queryset.filter(key__in=[key + term for key in KEYS_OF_A_RUC if key.startswith(prefix)]), False
        searched = RUC_KEY + term if term.isdigit() else term
        narrow, wide = sorted((searched, prefix), key=len, reverse=True)
        if not narrow.startswith(wide):
            return queryset.none(), False
        return (queryset.filter(starting_with("key", narrow)) if narrow else queryset), False

    @admin.display(description=_("state"))
    def state_badge(self, row: TrackedKey) -> SafeString:
        return display.badge(row.state, row.get_state_display())

    @admin.display(description=_("size"))
    def size_text(self, row: TrackedKey) -> str:
        return display.size(row.size)

    @admin.display(description=_("expires"))
    def expires(self, row: TrackedKey) -> str:
        return display.age(row.expires_at, timezone.now())

    @admin.display(description=_("first seen"))
    def first_seen(self, row: TrackedKey) -> str:
        return display.age(row.created_at, timezone.now())

    @admin.display(description=_("last seen"))
    def seen(self, row: TrackedKey) -> str:
        """A row that did not change is not written: what is not known to be gone was seen with its node."""
        listed: datetime | None = getattr(row, "node_listed_at", None)
        gone = row.state in (TrackedKey.State.EXPIRED, TrackedKey.State.REMOVED)
        return display.age(row.seen_at if gone or listed is None else max(row.seen_at, listed), timezone.now())

    @admin.display(description=_("last read"))
    def read(self, row: TrackedKey) -> str:
        return display.age(row.last_read_at, timezone.now())

    @admin.display(description=_("reads"))
    def reads_text(self, row: TrackedKey) -> str:
        return display.number(row.reads)

    @admin.display(description=_("read according to the node"))
    def fetched_text(self, row: TrackedKey) -> str:
        return {True: gettext("yes, since it was set"), False: gettext("no"), None: display.NOTHING}[row.fetched]


@admin.register(DailyReads)
class DailyReadsAdmin(FoundByIdentifier, TableAdmin[DailyReads]):
    list_display = ("identifier_link", "day", "reads_text", "read", "service", "kind")
    list_display_links = ("day",)
    list_filter = (ByService,)
    ordering = ("-day", "-reads", "-id")
    ordering_of_filter = (("service", ("service", "kind", "identifier", "day")),)
    fields = ("service", "kind", "identifier_link", "day", "reads_text", "read")

    @admin.display(description=_("reads"))
    def reads_text(self, row: DailyReads) -> str:
        return display.number(row.reads)

    @admin.display(description=_("last read"))
    def read(self, row: DailyReads) -> str:
        return display.age(row.last_read_at, timezone.now())


@admin.register(LookupHour)
class LookupHourAdmin(NamedRows, TableAdmin[LookupHour]):
    list_display = ("hour_text", "outcome_badge", "count_text", "service", "kind")
    list_filter = (chosen("outcome", _("outcome"), words.OUTCOMES),)
    ordering = ("-hour", "service", "kind", "outcome")
    fields = ("hour_text", "service", "kind", "outcome_badge", "count_text")

    def row_name(self, row: LookupHour) -> str:
        return f"{_hour(row.hour)} {row.service}: {words.word(words.OUTCOMES, row.outcome)}"

    @admin.display(description=_("hour"))
    def hour_text(self, row: LookupHour) -> str:
        return _hour(row.hour)

    @admin.display(description=_("outcome"))
    def outcome_badge(self, row: LookupHour) -> SafeString:
        return display.badge(row.outcome, words.word(words.OUTCOMES, row.outcome))

    @admin.display(description=_("look-ups"))
    def count_text(self, row: LookupHour) -> str:
        return display.number(row.count)


@admin.register(LookupTime)
class LookupTimeAdmin(TableAdmin[LookupTime]):
    list_display = ("hour_text", "way_text", "within", "count_text", "service")
    list_filter = (chosen("way", _("answered by"), words.WAYS),)
    ordering = ("-hour", "service", "way", "bound")
    fields = ("hour_text", "service", "way_text", "within", "count_text")

    @admin.display(description=_("hour"))
    def hour_text(self, row: LookupTime) -> str:
        return _hour(row.hour)

    @admin.display(description=_("answered by"))
    def way_text(self, row: LookupTime) -> str:
        return words.word(words.WAYS, row.way)

    @admin.display(description=_("within"))
    def within(self, row: LookupTime) -> str:
        """The step: from the end of the one before to its own."""
        if row.bound == latencies.LONGER:
            return gettext("longer")
        milliseconds, rest = divmod(row.bound, 1000)
        return display.number(row.bound / 1000 if rest else milliseconds, " ms")

    @admin.display(description=_("look-ups"))
    def count_text(self, row: LookupTime) -> str:
        return display.number(row.count)


@admin.register(StoredAnswer)
class StoredAnswerAdmin(FoundByIdentifier, TableAdmin[StoredAnswer]):
    list_display = ("identifier_link", "answered", "size_text", "service", "kind")
    list_display_links = ("answered",)
    list_filter = (ByService,)
    ordering = ("-born_at", "-id")
    ordering_of_filter = (("service", ("service", "kind", "identifier")),)
    fields = ("service", "kind", "identifier_link", "answered", "answer")

    def get_queryset(self, request: HttpRequest) -> QuerySet[StoredAnswer]:
        """The list needs the size of an answer, not the answer."""
        rows: QuerySet[StoredAnswer] = super().get_queryset(request)
        return rows.defer("data").annotate(characters=Length("data"))

    @admin.display(description=_("answered"))
    def answered(self, row: StoredAnswer) -> str:
        return display.age(row.born_at, timezone.now())

    @admin.display(description=_("size"))
    def size_text(self, row: StoredAnswer) -> str:
        return display.size(getattr(row, "characters", None))

    @admin.display(description=_("answer"))
    def answer(self, row: StoredAnswer) -> SafeString | str:
        return display.table((_("field"), _("value")), _fields_of(row.data))


@admin.register(SpendHour)
class SpendHourAdmin(NamedRows, TableAdmin[SpendHour]):
    list_display = ("hour_text", "purpose_text", "queries_text", "service")
    list_filter = (chosen("purpose", _("purpose"), words.PURPOSES),)
    ordering = ("-hour", "service", "purpose")
    fields = ("hour_text", "service", "purpose_text", "queries_text")

    def row_name(self, row: SpendHour) -> str:
        return f"{_hour(row.hour)} {row.service}: {self.purpose_text(row)}"

    @admin.display(description=_("hour"))
    def hour_text(self, row: SpendHour) -> str:
        return _hour(row.hour)

    @admin.display(description=_("purpose"))
    def purpose_text(self, row: SpendHour) -> str:
        return words.word(words.PURPOSES, row.purpose)

    @admin.display(description=_("paid queries"))
    def queries_text(self, row: SpendHour) -> str:
        return display.number(row.queries)


def _hour(hour: datetime) -> str:
    return date_format(timezone.localtime(hour), "SHORT_DATETIME_FORMAT")


def _fields_of(data: str) -> list[tuple[object, object]]:
    """The answer's fields; one that is no JSON object is shown as the text it is."""
    try:
        decoded = json.loads(data)
    except ValueError:
        return [("", data)]
    if not isinstance(decoded, dict):
        return [("", data)]
    return [(format_html("<code>{}</code>", name), _plain(value)) for name, value in decoded.items()]


def _plain(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, indent=1)
