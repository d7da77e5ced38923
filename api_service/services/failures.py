"""Why a look-up failed: what it may be, and as a note for those in other processes who wait for the same. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final, TypeAlias, TypedDict

from django.db import Error as DatabaseTrouble

from api_service.services.budget import BudgetExhausted
from api_service.services.errors import UpstreamError

# What a look-up may end with instead of an answer. The database's: with a cap set, nothing is paid that cannot be
# entered in the ledger. A time-out is another flight's
Trouble: TypeAlias = UpstreamError | BudgetExhausted | DatabaseTrouble | TimeoutError
TROUBLE: Final = (UpstreamError, BudgetExhausted, DatabaseTrouble, TimeoutError)

# A limit that one caller set itself: it forbids nobody else to ask
RUN = "run"


class Note(TypedDict):
    code: str
    message: str
    permanent: bool
    retry_after: float | None
    status: int | None
    period: str
    cap: int


def as_note(failure: Exception) -> Note | None:
    """None for what is this process's own trouble: another may fare better."""
    if isinstance(failure, UpstreamError):
        return Note(
            code=failure.code,
            message=failure.message,
            permanent=failure.permanent,
            retry_after=failure.retry_after,
            status=failure.status,
            period="",
            cap=0,
        )
    if isinstance(failure, BudgetExhausted) and failure.period != RUN:
        return Note(
            code=failure.code,
            message="",
            permanent=False,
            retry_after=failure.retry_after,
            status=None,
            period=failure.period,
            cap=failure.cap,
        )
    return None


def from_note(note: Mapping[str, Any]) -> UpstreamError | BudgetExhausted:
    """The error again; one that this version does not know is an UpstreamError."""
    if note["code"] == BudgetExhausted.code:
        return BudgetExhausted(str(note["period"]), int(note["cap"]), float(note["retry_after"] or 0))
    kinds = {kind.code: kind for kind in _all_kinds(UpstreamError)}
    return kinds.get(note["code"], UpstreamError)(
        str(note["message"]), status=note["status"], retry_after=note["retry_after"], permanent=bool(note["permanent"])
    )


def _all_kinds(root: type[UpstreamError]) -> Iterator[type[UpstreamError]]:
    yield root
    for kind in root.__subclasses__():
        yield from _all_kinds(kind)
