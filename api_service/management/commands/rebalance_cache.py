"""Adding or removing Memcached nodes: which keys move, and their new places filled before the switch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from django.core.management.base import CommandParser

from api_service.management.base import not_done, partly, table
from api_service.management.copies import CopyCommand, raise_if_partial, text_of
from api_service.models import CopyRun
from api_service.services import copying
from api_service.services.copy_checks import CannotCopy, check
from api_service.services.copy_plan import Load, Shares

NEXT = """Next:
  1. set CACHE_URL={url} for every process
  2. restart web, workers and beat together: two sets of nodes at once would each have answers of their own
Answers that came after this copy are asked for again: run the same command once more right before the restart.
What is left on the old places is read by nobody and ends by itself."""


class Command(CopyCommand):
    help = (
        "Show which keys move when the Memcached nodes of CACHE_URL become those of --to, from the live list of each "
        "node, and with --fill copy them to their new places before the switch. Adding one node to n moves about "
        "1/(n+1) of the keys, removing one only its own."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("--fill", action="store_true", help="copy the keys that move to their new places")

    def act(self, options: Mapping[str, Any]) -> None:
        job = self.job(options, CopyRun.Purpose.MOVE)
        if {job.source.name, job.target.name} != {"memcached"}:
            raise not_done("only Memcached has nodes that keys move between: to or from Redis, use copy_cache")
        try:
            check(job)
        except CannotCopy as error:
            raise not_done(str(error)) from error
        with self.progress(lambda: "listing the keys"):
            shares, skipped, failed = copying.shares(job)
        summary = self.copy(job, options) if options["fill"] else None
        result = {**_as_json(shares), "skipped": skipped, "failed": failed, "fill": summary}
        url = f"memcached://{','.join(job.target.nodes())}"
        parts = [_text(result), *([text_of(summary), NEXT.format(url=url)] if summary else [])]
        self.show(result, as_json=options["json"], text=lambda: "\n\n".join(parts))
        if summary:
            raise_if_partial(summary)
        if failed:
            raise partly("; ".join(f"{node}: {reason}" for node, reason in failed.items()))


def _as_json(shares: Shares) -> dict[str, Any]:
    total, moving = shares.total, shares.moving
    nodes = dict.fromkeys([*shares.now, *shares.then])
    return {
        "nodes": {
            node: {"now": asdict(shares.now.get(node, Load())), "then": asdict(shares.then.get(node, Load()))}
            for node in nodes
        },
        "total": asdict(total),
        "moving": {
            **asdict(moving),
            "share_of_keys": _share(moving.keys, total.keys),
            "share_of_bytes": _share(moving.bytes, total.bytes),
        },
    }


def _share(part: int, whole: int) -> float:
    return round(part / whole, 4) if whole else 0.0


def _text(result: Mapping[str, Any]) -> str:
    rows = [
        (node, *(str(load[when][unit]) for unit in ("keys", "bytes") for when in ("now", "then")))
        for node, load in result["nodes"].items()
    ]
    moving = result["moving"]
    return "\n".join(
        [
            table(("NODE", "KEYS NOW", "THEN", "BYTES NOW", "THEN"), rows),
            "",
            (
                f"{moving['keys']} of {result['total']['keys']} keys move ({moving['share_of_keys']:.1%}), "
                f"{moving['share_of_bytes']:.1%} of the bytes."
            ),
            *(f"{node} could not be listed: {reason}" for node, reason in result["failed"].items()),
        ]
    )
