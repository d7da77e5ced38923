"""Keys and bytes of each service, invalid RUCs by reason, life times."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from api_service.management.base import ServiceCommand, partly, table
from api_service.services import health
from api_service.services.cache_service import APICacheService


class Command(ServiceCommand):
    help = "Count what the cache holds now, service by service. Lists every node's keys: seconds for millions."
    partly = "a node could not be listed, or the cache is unhealthy"

    def act(self, options: Mapping[str, Any]) -> None:
        with self.progress(lambda: "listing the keys of every node"):
            stats = health.stats(APICacheService())
        self.show(stats, as_json=options["json"], text=lambda: _text(stats))
        if stats["nodes_failed"]:
            raise partly(f"not listed: {', '.join(stats['nodes_failed'])}; the numbers lack their keys")
        if stats["status"] == "unhealthy":
            raise partly("the cache is unhealthy")


def _text(stats: health.StatsJSON) -> str:
    services = [(name, str(row["keys"]), str(row["bytes"])) for name, row in sorted(stats["services"].items())]
    ratio = stats["hit_ratio"]
    invalid = stats["invalid_rucs"]
    lines = [
        table(("SERVICE", "KEYS", "BYTES"), services) if services else "No keys of any service.",
        "",
        f"invalid RUCs: {invalid['total_count']}",
        *(f"  {reason}: {count}" for reason, count in invalid["breakdown_by_reason"].items()),
        f"hit ratio since the nodes started: {'unknown' if ratio is None else f'{ratio:.1%}'}",
        "life times: " + ", ".join(f"{name} {text}" for name, text in stats["timeouts"].items()),
        *(f"NOT LISTED {node}: {why}" for node, why in stats["nodes_failed"].items()),
        f"{stats['backend']}: {stats['status']}",
    ]
    return "\n".join(lines)
