"""The advice of the alerts for the pages of the admin: the same words as in the messages."""

from __future__ import annotations

from django.conf import settings

from api_service.services import advice
from api_service.services.advice import Advice
from workers.alerts.explanations import explain_finding


def advise(code: str, node: str, value: float | str, limit: float | str) -> Advice:
    """A runbook that is only a file in the repository is no address for a browser."""
    known = explain_finding(code, node, value, limit)
    runbook = f"{settings.RUNBOOK_URL}#{code}" if settings.RUNBOOK_URL else ""
    return Advice(known.what, known.meaning, known.cause, known.next_step, runbook)


def register() -> None:
    advice.register(advise)
