"""Copies every live key to another cache: from Memcached to Redis or back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from django.core.management.base import CommandParser

from api_service.management.base import not_done, partly, table
from api_service.management.copies import CopyCommand, raise_if_partial, text_of
from api_service.models import CopyRun
from api_service.services import copying
from api_service.services.copy_checks import CannotCopy, Job, check
from api_service.services.redaction import redact

NEXT = """Next: once more right before the switch, as newer answers win; then set CACHE_URL to the other cache for every
process, restart them together, and repeat what was cleared since the first copy."""


class Command(CopyCommand):
    help = (
        "Copy every live key of our services, with what is left of its life, to another cache: to Redis, to "
        "Memcached, or to other Memcached nodes. Keys that are there stay unless the answer here is newer. Then all "
        "keys are looked for in the target and a sample of values is compared. An interrupted copy goes on when the "
        "same command is given again."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("--dry-run", action="store_true", help="only count")

    def act(self, options: Mapping[str, Any]) -> None:
        job = self.job(options, CopyRun.Purpose.COPY)
        if options["dry_run"]:
            self._count(job, as_json=options["json"])
            return
        summary = self.copy(job, options)
        self.show(summary, as_json=options["json"], text=lambda: f"{text_of(summary)}\n{NEXT}")
        raise_if_partial(summary)

    def _count(self, job: Job, *, as_json: bool) -> None:
        try:
            check(job)
        except CannotCopy as error:
            raise not_done(redact(str(error))) from error
        with self.progress(lambda: "listing the keys"):
            shares, skipped, failed = copying.shares(job)
        result = {
            "dry_run": True,
            "found": shares.total.keys,
            "bytes": shares.total.bytes,
            "nodes": {node: asdict(load) for node, load in shares.now.items()},
            "target_nodes": {node: asdict(load) for node, load in shares.then.items()},
            "skipped": skipped,
            "failed": failed,
        }
        self.show(result, as_json=as_json, text=lambda: _text(result))
        if failed:
            raise partly("; ".join(f"{node}: {reason}" for node, reason in failed.items()))


def _text(result: Mapping[str, Any]) -> str:
    def rows(name: str) -> list[tuple[str, ...]]:
        return [(node, str(load["keys"]), str(load["bytes"])) for node, load in result[name].items()]

    return "\n".join(
        [
            table(("FROM", "KEYS", "BYTES"), rows("nodes")),
            "",
            table(("TO", "KEYS", "BYTES"), rows("target_nodes")),
            "",
            f"{result['found']} keys would be copied.",
        ]
    )
