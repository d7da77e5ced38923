"""Checks a list of RUCs for invoicing: which are fit, which are not and why."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from time import sleep
from typing import Any, cast

from django.core.management.base import CommandParser
from django.utils import timezone

from api_service.management.base import ServiceCommand, not_done, partly, user_name
from api_service.models import BillingRun
from api_service.services import billing_export, billing_rows, billing_runs, billing_upload
from api_service.services.billing_runs import BillingSummary, BillingUnderWay, NoSuchRun
from api_service.services.leases import LeaseLost

# A limit of a minute is waited for in steps in which a person can stop it
LONGEST_SLEEP = 60.0


class Command(ServiceCommand):
    help = (
        "Check every RUC of a CSV or .xlsx for invoicing: cache and stored answers first, the rest is paid for. "
        "The run is on record and goes on with --resume where it was stopped."
    )
    partly = "some RUCs have no answer, or the budget is used up"

    def add_arguments(self, parser: CommandParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("file", nargs="?", metavar="FILE", help="CSV or .xlsx with a column RUC")
        parser.add_argument("--out", metavar="PATH", help="write the result there: .xlsx or .csv")
        parser.add_argument("--budget", type=int, metavar="N", help="paid queries at most, over all parts of the run")
        parser.add_argument("--dry-run", action="store_true", help="only count what would be paid; nothing is kept")
        parser.add_argument("--resume", type=int, metavar="RUN", help="go on with that run instead of a file")

    def act(self, options: Mapping[str, Any]) -> None:
        _refuse_wrong(options)
        try:
            summary = self._summary(options)
        except (billing_upload.BadUpload, BillingUnderWay, NoSuchRun, LeaseLost) as error:
            raise not_done(str(error)) from error
        if options["out"] and not options["dry_run"]:
            _write(summary["run"], Path(options["out"]))
        dry_run = options["dry_run"]
        result = cast(Mapping[str, Any], {**summary, "dry_run": dry_run})
        self.show(result, as_json=options["json"], text=lambda: _planned(summary) if dry_run else _text(summary))
        if not dry_run and summary["state"] != BillingRun.State.DONE:
            raise partly(f"{summary['error'] or summary['state']}\nbilling_check --resume {summary['run']}")

    def _summary(self, options: Mapping[str, Any]) -> BillingSummary:
        if options["dry_run"]:
            return billing_runs.estimate(_lines(options["file"]), Path(options["file"]).name)
        run = _resumed(options) if options["resume"] is not None else _planned_run(options)
        billing_runs.release(run, options["budget"] if options["budget"] is not None else run.budget)
        return self._worked(run)

    def _worked(self, run: BillingRun) -> BillingSummary:
        last = [billing_runs.as_json(run)]
        with self.progress(lambda: _progress(last[-1])):
            while True:
                last.append(billing_runs.carry_out(run, tell=last.append))
                if (seconds := last[-1]["retry_after"]) is None:
                    return last[-1]
                sleep(min(seconds, LONGEST_SLEEP))


def _refuse_wrong(options: Mapping[str, Any]) -> None:
    if (options["file"] is None) == (options["resume"] is None):
        raise not_done("name a file, or a run with --resume")
    if options["dry_run"] and options["resume"] is not None:
        raise not_done("--dry-run counts what a file would cost: a run that was begun has its own count")
    if options["budget"] is not None and options["budget"] < 0:
        raise not_done("--budget is a number of paid queries: 0 or more")
    if options["out"] and Path(options["out"]).suffix not in billing_export.WRITERS:
        raise not_done(f"--out ends in {' or '.join(billing_export.WRITERS)}")


def _lines(path: str) -> list[billing_upload.Line]:
    try:
        return billing_upload.read(Path(path).read_bytes())
    except OSError as error:
        raise not_done(f"{path} cannot be read: {error}") from error


def _planned_run(options: Mapping[str, Any]) -> BillingRun:
    return billing_runs.plan(
        _lines(options["file"]),
        file_name=Path(options["file"]).name,
        via=BillingRun.Via.COMMAND,
        requested_by=user_name(),
        budget=options["budget"],
    )


def _resumed(options: Mapping[str, Any]) -> BillingRun:
    billing_runs.close_abandoned(timezone.now())
    return billing_runs.find(options["resume"])


def _write(number: int, path: Path) -> None:
    write: Callable[[BillingRun], bytes] = billing_export.WRITERS[path.suffix]
    try:
        path.write_bytes(write(billing_runs.find(number)))
    except OSError as error:
        raise partly(f"{path} cannot be written: {error}; the result is run {number} in the admin") from error


def _progress(summary: BillingSummary) -> str:
    return f"run {summary['run']}: {summary['checked']} of {summary['lines']} lines checked, {summary['paid']} paid"


def _planned(summary: BillingSummary) -> str:
    return (
        f"{summary['lines']} lines, {summary['distinct']} RUCs that can exist: {summary['cached']} in the cache, "
        f"{summary['stored']} in the answer store, {summary['to_pay']} would be paid for"
    )


def _text(summary: BillingSummary) -> str:
    reasons = [f"  {billing_rows.code_text(code)}: {number}" for code, number in summary["reasons"].items()]
    counts = (
        f"run {summary['run']}: {summary['state']}; {summary['checked']} of {summary['lines']} lines checked, "
        f"{summary['fit']} fit, {summary['unfit']} not fit, {summary['failed']} without an answer; "
        f"paid queries: {summary['paid']}"
    )
    return "\n".join([counts, *reasons])
