"""Whether the database answers at all: a health run that cannot store what it sees ends at once, and says so."""

from __future__ import annotations

from django.db import connection

from api_service.services.bounded import TOO_LONG, DatabaseThread, NoAnswerInTime, with_reconnect

_thread = DatabaseThread("database-watch")


def must_answer(seconds: float) -> None:
    """Raises what the database does, NoAnswerInTime after so many seconds of silence; 0 does not ask."""
    if seconds <= 0:
        return
    future = _thread.submit(lambda: with_reconnect(round_trip))
    try:
        future.result(seconds)
    except TimeoutError as error:
        future.cancel()
        raise NoAnswerInTime(TOO_LONG % {"seconds": f"{seconds:g}"}) from error


def round_trip() -> None:
    with connection.cursor() as cursor:
        cursor.execute("SELECT 1")
        cursor.fetchone()
