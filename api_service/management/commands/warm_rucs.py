"""Loads frequent RUCs, or named ones, again before they expire."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

from django.core.management.base import CommandParser

from api_service.management.base import ServiceCommand, not_done, partly, read_lines, user_name
from api_service.models import WarmRun
from api_service.services import warming
from api_service.services.ruc import normalise
from api_service.services.warm_refresh import Request
from api_service.services.warming import WarmSummary


class Command(ServiceCommand):
    help = (
        "Load the most frequent RUCs, or the given ones, into the cache: from the store for free, else paid for. "
        "What is fresh is left alone."
    )
    partly = "some could not be loaded"

    def add_arguments(self, parser: CommandParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("rucs", nargs="*", metavar="RUC", help="these instead of the most frequent ones")
        parser.add_argument("--file", metavar="PATH", help="more RUCs, one a line; - reads stdin")
        parser.add_argument("--limit", type=int, help="RUCs at most (WARM_LIMIT)")
        parser.add_argument("--budget", type=int, help="paid queries at most (WARM_BUDGET); 0 uses the store only")
        parser.add_argument("--dry-run", action="store_true", help="only say what would be done")

    def act(self, options: Mapping[str, Any]) -> None:
        asked = _request(options)
        with self.progress(_progress):
            summary = warming.run(asked)
        if summary is None:
            raise not_done("another warm run holds the lock: look at its result in the admin, or wait for its end")
        self.show(cast(Mapping[str, Any], summary), as_json=options["json"], text=lambda: _text(summary))
        if summary["failed"] or summary["error"]:
            raise partly(summary["error"] or f"{summary['failed']} RUCs could not be loaded")


def _request(options: Mapping[str, Any]) -> Request:
    rucs = [*options["rucs"], *(read_lines(options["file"]) if options["file"] else ())]
    if options["file"] and not rucs:
        raise not_done(f"{options['file']} names no RUC")
    try:
        return warming.request(
            options["limit"],
            options["budget"],
            [normalise(ruc) for ruc in rucs] or None,
            dry_run=options["dry_run"],
            requested_by=user_name(),
        )
    except ValueError as error:
        raise not_done(str(error)) from error


def _progress() -> str:
    run = WarmRun.objects.filter(state=WarmRun.State.RUNNING).order_by("-pk").first()
    if run is None:
        return "choosing the RUCs"
    return f"{run.from_store} from the store, {run.refreshed} refreshed, {run.failed} failed of {run.candidates}"


def _text(summary: WarmSummary) -> str:
    skipped = ", ".join(f"{reason} {count}" for reason, count in summary["skipped"].items()) or "none"
    would = "would be" if summary["dry_run"] else "were"
    return (
        f"candidates: {summary['candidates']}, of which {summary['due']} {would} due; skipped: {skipped}\n"
        f"from the store: {summary['from_store']}, refreshed by APIMIGO: {summary['refreshed']}, "
        f"paid queries: {summary['paid']}, failed: {summary['failed']}\n"
        f"run {summary['run']}: {summary['state']}"
    )
