"""What the commands that copy keys share: the other cache by its URL, progress, the end told as text and exit code."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from django.core.exceptions import ImproperlyConfigured
from django.core.management.base import CommandParser

from api_service.caches.urls import passwords
from api_service.management.base import ServiceCommand, not_done, partly, table, user_name
from api_service.models import CopyRun
from api_service.services import copying
from api_service.services.backends import Adapter, adapter_for_url
from api_service.services.cache_service import APICacheService
from api_service.services.copy_checks import CannotCopy, Job
from api_service.services.copy_plan import FAILURES
from api_service.services.copying import CopySummary, CopyUnderWay
from api_service.services.leases import LeaseLost
from api_service.services.redaction import redact, register_secrets

SAMPLE = 1000


class CopyCommand(ServiceCommand):
    """A command with a second cache beside the one in use."""

    partly = "something could not be copied, or did not arrive"

    def add_arguments(self, parser: CommandParser) -> None:
        super().add_arguments(parser)
        to = parser.add_mutually_exclusive_group(required=True)
        to.add_argument("--to", metavar="URL", help="the other cache, as CACHE_URL would name it")
        to.add_argument(
            "--to-env", metavar="NAME", help="its URL is in this environment variable: no password in process lists"
        )
        parser.add_argument("--restart", action="store_true", help="begin anew, also where a copy was interrupted")
        parser.add_argument(
            "--sample", type=int, default=SAMPLE, metavar="N", help=f"values compared afterwards ({SAMPLE})"
        )
        parser.add_argument("--replace", action="store_true", help="overwrite what is there, also newer answers")

    def job(self, options: Mapping[str, Any], purpose: CopyRun.Purpose) -> Job:
        if options["sample"] < 0:
            raise not_done("--sample is a number from 0")
        cache = APICacheService()
        return Job(
            source=cache.adapter,
            target=self._target(options),
            wire_prefix=cache.wire_prefix,
            purpose=purpose,
            replace=options["replace"],
            sample=options["sample"],
            requested_by=user_name(),
        )

    def _target(self, options: Mapping[str, Any]) -> Adapter:
        name = "--to" if options["to"] else options["to_env"]
        url = options["to"] or os.environ.get(options["to_env"] or "", "")
        if not url:
            raise not_done(f"the environment variable {name} is empty")
        register_secrets(passwords(url))
        try:
            return adapter_for_url(url, name)
        except ImproperlyConfigured as error:
            raise not_done(redact(str(error))) from error

    def copy(self, job: Job, options: Mapping[str, Any]) -> CopySummary:
        with self._told() as tell:
            try:
                return copying.copy(job, restart=options["restart"], tell=tell)
            except CannotCopy as error:
                raise not_done(redact(str(error))) from error
            except (CopyUnderWay, LeaseLost) as error:
                raise not_done("another copy is under way: look at it in the admin, or wait for its end") from error
            except KeyboardInterrupt as error:
                raise partly("interrupted: the same command goes on with the nodes that are not done") from error

    @contextmanager
    def _told(self) -> Iterator[copying.Tell]:
        last: list[CopySummary] = []
        with self.progress(lambda: _progress(last[-1]) if last else "asking both caches, waiting for another copy"):
            yield lambda summary: last.__setitem__(slice(None), [summary])


def raise_if_partial(summary: CopySummary) -> None:
    """Exit code 1, with every cause, for a copy that is not whole."""
    causes = [f"{node}: {row['error']}" for node, row in summary["nodes"].items() if row["error"]]
    causes += [f"{count} keys {reason}" for reason, count in summary["skipped"].items() if reason in FAILURES]
    if summary["missing"]:
        causes.append(f"{summary['missing']} keys are not there afterwards: is the target large enough?")
    if differing := summary["verdicts"].get("differs", 0) + summary["verdicts"].get("missing", 0):
        causes.append(f"{differing} of {summary['checked']} compared values are not the same")
    causes += [f"not verified, {node}: {why}" for node, why in summary["unproved"].items()]
    if causes:
        raise partly(redact("\n".join(dict.fromkeys(causes)) + "\nThe same command goes on with what is not done."))


def text_of(summary: CopySummary) -> str:
    rows = [
        (node, str(row["found"]), str(row["copied"]), str(row["already_there"]), _state(row["state"], row["error"]))
        for node, row in summary["nodes"].items()
    ]
    skipped = ", ".join(f"{reason} {count}" for reason, count in summary["skipped"].items()) or "none"
    verdicts = ", ".join(f"{verdict} {count}" for verdict, count in summary["verdicts"].items()) or "none"
    lines = [
        table(("NODE", "FOUND", "COPIED", "THERE ALREADY", "STATE"), rows),
        "",
        f"not copied: {skipped}",
        *(f"  {reason}: {text}" for reason, text in summary["examples"].items()),
        f"not there afterwards: {summary['missing']}",
        f"values compared: {verdicts}",
        (
            f"run {summary['run']}{' (gone on with)' if summary['resumed'] else ''}: "
            f"{summary['source']} to {summary['target']}, {summary['seconds']:.1f} s"
        ),
    ]
    return "\n".join(lines)


def _state(state: str, error: str) -> str:
    return f"{state} {error}".strip()


def _progress(summary: CopySummary) -> str:
    done = sum(row["state"] == "copied" for row in summary["nodes"].values())
    counts = f"{summary['found']} keys found, {summary['copied']} copied, {summary['already_there']} there already"
    proving = ", looking for them in the target" if done == len(summary["nodes"]) else ""
    return f"{counts}, {done} of {len(summary['nodes'])} nodes done{proving}"
