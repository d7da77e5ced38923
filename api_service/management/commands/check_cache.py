"""Checks every node of the cache now."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from django.core.management.base import CommandParser
from django.db import Error as DatabaseTrouble

from api_service import selectors
from api_service.management.base import ServiceCommand, partly, table
from api_service.services import around, health, monitoring
from api_service.services.cache_service import APICacheService
from api_service.services.health_rules import Severity
from api_service.services.node_facts import NodeFacts, Since


class Command(ServiceCommand):
    help = (
        "Check every node of the cache now, and the cache as the application uses it. A warning is exit code 0. "
        "Works without the database, which only tells what a node was like at the last run."
    )
    partly = "unhealthy"

    def add_arguments(self, parser: CommandParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("--store", action="store_true", help="keep the result as the monitor does")

    def act(self, options: Mapping[str, Any]) -> None:
        checking = health.Checking(APICacheService())
        checking.probed()
        report = checking.report(self._since(checking.at))
        stored = monitoring.store(report, around.read(report.at)).pk if options["store"] else None
        result = {**report.as_json(), "sample": stored}
        self.show(result, as_json=options["json"], text=lambda: _text(report))
        if report.status is Severity.UNHEALTHY:
            raise partly("the cache is unhealthy")

    def _since(self, at: datetime) -> dict[str, Since]:
        try:
            return monitoring.since_of(selectors.latest_sample(), at, datetime.now(UTC))
        except DatabaseTrouble as error:
            self.stderr.write(f"Not compared with the last run, the database does not answer: {error}")
            return {}


def _text(report: health.Report) -> str:
    head = ("NODE", "STATE", "MS", "ITEMS", "MB", "EVICTED", "VERSION")
    lines = [table(head, [_row(node) for node in report.nodes]), ""]
    lines += [f"{name}: {text}" for name, text in report.checks.items()]
    lines += [f"{f.severity}: {f.code} {f.node} {f.value}".rstrip() for f in report.findings]
    return "\n".join([*lines, f"{report.backend}: {report.status} ({report.duration_ms:.0f} ms)"])


def _row(node: NodeFacts) -> tuple[str, ...]:
    if not node.reachable:
        return (node.node, f"DOWN {node.error}", "-", "-", "-", "-", "-")
    size = "-" if node.bytes_used is None else f"{node.bytes_used / 2**20:.1f}"
    latency = "-" if node.latency_ms is None else f"{node.latency_ms:.2f}"
    counts = ("-" if number is None else str(number) for number in (node.items, node.evictions))
    items, evictions = counts
    return (node.node, "up", latency, items, size, evictions, node.version)
