"""Values as people read them. Pure but for translation: `now` is an argument, nothing is queried."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from enum import StrEnum
from math import floor

from django.template.defaultfilters import filesizeformat
from django.utils import timezone
from django.utils.formats import date_format, number_format
from django.utils.html import format_html, format_html_join, strip_tags
from django.utils.safestring import SafeString
from django.utils.timesince import timesince, timeuntil
from django.utils.translation import gettext as _

from api_service.sentences import Piece
from api_service.services.translated import pieces

NOTHING = "–"


class Tone(StrEnum):
    """The colour beside a word; the word alone says the same."""

    GOOD = "good"
    WARNING = "warning"
    BAD = "bad"
    QUIET = "quiet"
    BUSY = "busy"


TONES = {
    "healthy": Tone.GOOD,
    "warning": Tone.WARNING,
    "unhealthy": Tone.BAD,
    "waiting": Tone.BUSY,
    "planned": Tone.WARNING,
    "paused": Tone.WARNING,
    "cancelled": Tone.QUIET,
    "done": Tone.GOOD,
    "copied": Tone.GOOD,
    "running": Tone.BUSY,
    "failed": Tone.BAD,
    "active": Tone.GOOD,
    "expired": Tone.QUIET,
    "removed": Tone.QUIET,
    "unknown": Tone.WARNING,
    "pending": Tone.BUSY,
    "sent": Tone.GOOD,
    "hit": Tone.GOOD,
    "stale": Tone.WARNING,
    "negative": Tone.QUIET,
    "miss": Tone.QUIET,
    "outage": Tone.BAD,
    "opened": Tone.BAD,
    "worse": Tone.BAD,
    "better": Tone.WARNING,
    "escalated": Tone.BAD,
    "reminded": Tone.WARNING,
    "acknowledged": Tone.BUSY,
    "flapping": Tone.WARNING,
    "resolved": Tone.GOOD,
}


def badge(value: str, word: object) -> SafeString:
    """`word` in the colour of the stored `value`."""
    return toned(TONES.get(value, Tone.QUIET), word)


def error(text: str | None) -> SafeString | str:
    """What a row has of an error: our own sentences in the page's language, the rest in English and marked as that."""
    return error_if_any(text) or NOTHING


def error_cell(text: str | None) -> SafeString | str:
    """The same in a table of many columns: as wide on a phone as lines need, which is wider than what is left."""
    return format_html('<div class="cw-why">{}</div>', error_if_any(text)) if text else NOTHING


def error_if_any(text: str | None) -> SafeString:
    return format_html_join("", "{}", ((_piece(one),) for one in pieces(text or "")))


def _piece(piece: Piece) -> SafeString | str:
    return format_html('<span lang="en">{}</span>', piece.text) if piece.is_foreign else piece.text


def toned(tone: Tone, word: object) -> SafeString:
    return format_html('<span class="cw-badge cw-{}">{}</span>', tone.value, word)


def size(number: int | None) -> str:
    return NOTHING if number is None else filesizeformat(number)


def number(value: float | None, unit: str = "", decimals: int | None = None) -> str:
    if value is None:
        return NOTHING
    # Django would cut the decimals off
    rounded = value if decimals is None else round(value, decimals)
    return f"{number_format(rounded, decimals, use_l10n=True, force_grouping=True)}{unit}"


def share(part: float | None, whole: float | None) -> str:
    """In per cent, cut off: 99.97 % is not all."""
    if part is None or not whole:
        return NOTHING
    # 0.57 in floating point is a little less
    thousandths = floor(round(1000 * part / whole, 6))
    return number(thousandths / 10, " %", 0 if part == whole else 1)


def age(moment: datetime | None, now: datetime) -> SafeString | str:
    """`hace 3 minutos`, the exact time on hover."""
    if moment is None:
        return NOTHING
    if now < moment < now + timedelta(minutes=1):
        return _dated(moment, _("in a moment"))
    if moment > now:
        return _dated(moment, _("in %(time)s") % {"time": timeuntil(moment, now, depth=1)})
    recent = now - moment < timedelta(minutes=1)
    return _dated(moment, _("just now") if recent else _("%(time)s ago") % {"time": timesince(moment, now, depth=1)})


def _dated(moment: datetime, words: str) -> SafeString:
    exact = date_format(timezone.localtime(moment), "DATETIME_FORMAT")
    return format_html('<time datetime="{}" title="{}">{}</time>', moment.isoformat(), exact, words)


def period(start: datetime, end: datetime | None) -> str:
    """How long something took or lasted."""
    if end is None:
        return NOTHING
    seconds = (end - start).total_seconds()
    return number(seconds, " s", 1) if seconds < 60 else timesince(start, end, depth=2)


def table(headings: Sequence[object], rows: Iterable[Sequence[object]]) -> SafeString | str:
    """A small table; a dash when there is no row."""
    body = [format_html("<tr>{}</tr>", _cells("td", row)) for row in rows]
    if not body:
        return NOTHING
    return format_html(
        # What scrolls on a phone has to be reached by a key, and then has to say what it is
        '<div class="cw-scroll" tabindex="0" role="group" aria-label="{}"><table class="cw-table">'
        "<thead><tr>{}</tr></thead><tbody>{}</tbody></table></div>",
        ", ".join(strip_tags(str(heading)) for heading in headings),
        _cells("th", headings),
        format_html_join("", "{}", ((row,) for row in body)),
    )


def _cells(tag: str, values: Iterable[object]) -> SafeString:
    opening, closing = SafeString(f"<{tag}>"), SafeString(f"</{tag}>")
    return format_html_join("", "{}{}{}", ((opening, value, closing) for value in values))


def bar(part: float, whole: float) -> SafeString | str:
    """A share as a bar; the number beside it says the same."""
    if not part or not whole:
        return ""
    # Its length is an attribute of a shape: a style would ask the policy of contents for inline styles
    return format_html(
        '<svg class="cw-bar" viewBox="0 0 100 10" preserveAspectRatio="none" aria-hidden="true">'
        '<rect width="{}" height="10"/></svg>',
        round(100 * part / whole),
    )


def spoken(word: object) -> SafeString:
    """For a screen reader, where the eye needs no word."""
    return format_html('<span class="cw-spoken">{}</span>', word)


def counts(values: Iterable[tuple[object, int]]) -> SafeString | str:
    """`already fresh: 12, over the budget: 3`."""
    return format_html_join(", ", "{}:&nbsp;{}", ((name, number(count)) for name, count in values)) or NOTHING
