"""Reads an access log: one `timestamp,key` a line, in the order of time, plain or gzip. Pure but for the file."""

from __future__ import annotations

import gzip
from array import array
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from io import TextIOWrapper
from pathlib import Path
from typing import Final

GZIP: Final = b"\x1f\x8b"
# A slip in one line must not make a replay of a thousand years
LONGEST_SECONDS: Final = 20 * 366 * 86_400
# Milliseconds taken for seconds, or a year with a digit too many: what reads weigh by their day leaves all numbers
LAST_SECOND: Final = datetime(2100, 1, 1, tzinfo=UTC).timestamp()
HEADER_MAY_BE: Final = ("timestamp", "time", "date")


class BadLog(ValueError):
    """The log cannot be replayed; the text names the line."""


@dataclass
class AccessLog:
    """`times` are wall-clock seconds in ascending order, `keys` the number of each one's name in `names`."""

    times: array[float] = field(default_factory=lambda: array("d"))
    keys: array[int] = field(default_factory=lambda: array("l"))
    names: list[str] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.times)


def read(path: str) -> AccessLog:
    try:
        with _text(path) as lines:
            return parse(lines)
    except (OSError, EOFError, UnicodeDecodeError) as error:
        raise BadLog(f"{path} cannot be read: {error}") from error


@contextmanager
def _text(path: str) -> Iterator[TextIOWrapper]:
    with Path(path).open("rb") as raw:
        packed = raw.peek(len(GZIP)).startswith(GZIP)
        plain = gzip.GzipFile(fileobj=raw) if packed else raw
        yield TextIOWrapper(plain, encoding="utf-8-sig")


def parse(lines: Iterable[str]) -> AccessLog:
    """Blank lines, comments (#) and one header line are passed over; BadLog names the first line that is wrong."""
    log, numbers, clock = AccessLog(), dict[str, int](), _Clock()
    for number, line in enumerate(lines, 1):
        text = line.strip()
        if not text or text.startswith("#") or (not log.times and _is_header(text)):
            continue
        at, key = _entry(text, clock, number)
        if log.times and not log.times[-1] <= at <= log.times[0] + LONGEST_SECONDS:
            raise BadLog(f"line {number}: {_out_of_order(at, log)}")
        if not 0 <= at < LAST_SECOND:
            raise BadLog(f"line {number}: {text[:40]!r} is not of a time from 1970 to 2100")
        log.times.append(at)
        log.keys.append(numbers.setdefault(key, len(numbers)))
    if not log.times:
        raise BadLog("no look-ups in it: expected lines of timestamp,key")
    log.names = list(numbers)
    return log


def _is_header(text: str) -> bool:
    return text.lower().startswith(HEADER_MAY_BE)


def _entry(text: str, clock: _Clock, number: int) -> tuple[float, str]:
    moment, comma, key = text.partition(",")
    key = key.strip()
    if not comma or not key:
        raise BadLog(f"line {number}: {text[:60]!r} is not timestamp,key")
    try:
        return clock.seconds(moment.strip().strip('"')), key
    except (ValueError, OverflowError) as error:
        raise BadLog(f"line {number}: {moment[:40]!r} is neither Unix seconds nor an ISO 8601 time") from error


def _out_of_order(at: float, log: AccessLog) -> str:
    if at < log.times[-1]:
        return "earlier than the line before; sort the log by time first"
    return "more than 20 years after the first line"


class _Clock:
    """Unix seconds are taken as they are. ISO times with a zone are moved to that of the first one: hours are hours
    of people's days, and no hour comes twice when the clocks change."""

    def __init__(self) -> None:
        self._offset: timedelta | None = None

    def seconds(self, text: str) -> float:
        try:
            value = float(text)
        except ValueError:
            return self._of_iso(datetime.fromisoformat(text))
        if not 0 <= value < 1e11:
            raise ValueError(f"{value} are not Unix seconds")
        return value

    def _of_iso(self, moment: datetime) -> float:
        offset = moment.utcoffset()
        if offset is None:
            return moment.replace(tzinfo=UTC).timestamp()
        if self._offset is None:
            self._offset = offset
        return moment.timestamp() + self._offset.total_seconds()
