"""Removes one service's keys from every node."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Any

from django.core.management.base import CommandParser

from api_service.management.base import ServiceCommand, not_done, partly
from api_service.services import inventory
from api_service.services.cache_service import APICacheService


class Command(ServiceCommand):
    help = (
        "Remove exactly one service's keys, on every node, after asking. Answers in the database stay: inside their "
        "life time they are served again for free."
    )
    partly = "some keys or nodes could not be cleared"

    def add_arguments(self, parser: CommandParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("--service", required=True, metavar="NAME", help="such as migo")
        parser.add_argument("--yes", action="store_true", help="do not ask; needed where nobody can be asked")
        parser.add_argument("--dry-run", action="store_true", help="only count")

    def act(self, options: Mapping[str, Any]) -> None:
        service, cache, dry_run = options["service"], APICacheService(), options["dry_run"]
        if not (dry_run or options["yes"] or sys.stdin.isatty()):
            raise not_done("nobody can be asked here: add --yes to clear, or --dry-run to count")
        try:
            prefix = cache.wire_prefix + cache.get_service_cache_key(service, "")
        except ValueError as error:
            raise not_done(str(error)) from error
        counts = self._count(cache, prefix) if dry_run or not options["yes"] else {}
        if not dry_run:
            if not options["yes"] and not self._agreed(service, counts["found"]):
                raise not_done("nothing was removed")
            with self.progress(lambda: f"removing the keys of {service}"):
                counts = cache.clear_service_cache(service)
        result = {"service": service, "dry_run": dry_run, **counts}
        self.show(result, as_json=options["json"], text=lambda: _text(result))
        if counts["failed"] or counts["nodes_failed"]:
            raise partly("not everything was reached: run check_cache, then this again")

    def _count(self, cache: APICacheService, prefix: str) -> dict[str, int]:
        with self.progress(lambda: "counting the keys"):
            found = inventory.listing(cache.adapter, prefix)
        return {"found": len(found.entries), "removed": 0, "failed": 0, "nodes_failed": len(found.failed)}

    def _agreed(self, service: str, found: int) -> bool:
        self.stderr.write(f"{found} keys of {service} will be removed from {APICacheService().backend}.")
        self.stderr.write("Continue? [y/N] ", ending="")
        self.stderr.flush()
        return sys.stdin.readline().strip().lower() in {"y", "yes", "s", "si", "sí"}


def _text(result: Mapping[str, Any]) -> str:
    if not result["found"] and not result["nodes_failed"]:
        return f"No keys of {result['service']} in the cache: nothing to remove."
    verb = "would be removed" if result["dry_run"] else f"found, {result['removed']} removed"
    text = f"{result['service']}: {result['found']} keys {verb}"
    return text + (f"; {result['nodes_failed']} nodes not reached" if result["nodes_failed"] else "")
