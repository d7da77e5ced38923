"""Fills a node again from the answer store, for nothing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from django.core.management.base import CommandParser

from api_service.management.base import ServiceCommand, not_done, partly, table
from api_service.models import RefillRun
from api_service.services import refill
from api_service.services.cache_service import APICacheService
from api_service.services.refill import RefillSummary


class Command(ServiceCommand):
    help = (
        "Write the stored answers that belong to a node and still hold into it, hottest first, for what is left of "
        "their life. Nothing is paid, and nothing that is there is replaced."
    )
    partly = "a node could not be filled to the end, or refused answers"

    def add_arguments(self, parser: CommandParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("node", nargs="?", metavar="NODE", help="host:port, as CACHE_URL has it")
        parser.add_argument("--all", action="store_true", help="every node, one after the other")
        parser.add_argument("--dry-run", action="store_true", help="only count the answers that belong to the node")

    def act(self, options: Mapping[str, Any]) -> None:
        nodes = _nodes(options["node"], every=options["all"])
        summaries = [self._refill(node, dry_run=options["dry_run"]) for node in nodes]
        self.show({"nodes": summaries}, as_json=options["json"], text=lambda: _text(summaries))
        wrong = [row for row in summaries if row["state"] == RefillRun.State.FAILED or row["refused"]]
        if wrong:
            raise partly("; ".join(f"{row['node']}: {row['error']}" for row in wrong))

    def _refill(self, node: str, *, dry_run: bool) -> RefillSummary:
        if dry_run:
            return refill.candidates(node)
        with self.progress(lambda: _progress(node)):
            summary = refill.refill(node, requested_by="manage.py")
        if summary["state"] == refill.ALREADY_RUNNING:
            raise not_done(f"{node} is being filled: look at the result in the admin, or wait for its end")
        return summary


def _nodes(node: str | None, *, every: bool) -> Sequence[str]:
    if bool(node) == every:
        raise not_done("name one node, or give --all")
    nodes = APICacheService().adapter.nodes() if every else [node or ""]
    try:
        for name in nodes:
            refill.check_node(name)
    except ValueError as error:
        raise not_done(str(error)) from error
    return nodes


def _progress(node: str) -> str:
    run = RefillRun.objects.filter(node=node, state=RefillRun.State.RUNNING).order_by("-pk").first()
    if run is None or not run.candidates:
        return f"{node}: choosing the answers"
    return f"{node}: {run.written} written, {run.already_there} there already of {run.candidates}"


def _text(summaries: Sequence[RefillSummary]) -> str:
    head = ("node", "candidates", "written", "already there", "refused", "state")
    rows = [
        (
            row["node"],
            *(str(row[count]) for count in ("candidates", "written", "already_there", "refused")),
            row["state"],
        )
        for row in summaries
    ]
    return table(head, rows)
