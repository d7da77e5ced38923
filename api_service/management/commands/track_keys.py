"""Records every active key of every node."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

from api_service.management.base import ServiceCommand, not_done, partly, table
from api_service.models import NodeListing, TrackRun
from api_service.services import key_tracking, track_runs
from api_service.services.key_history import ServiceJSON
from api_service.services.leases import renewed_lock
from api_service.services.track_runs import TrackSummary

SERVICE_COLUMNS = ("SERVICE", "KEYS", "BYTES", "READS", "CREATED", "REMOVED", "EXPIRED", "UNREAD")


class Command(ServiceCommand):
    help = "List every node's keys and record those of our services; other applications' are only counted."
    partly = "the inventory was interrupted, or a node not listed to the end"

    def act(self, options: Mapping[str, Any]) -> None:
        with renewed_lock(track_runs.LOCK, track_runs.LEASE_SECONDS) as held:
            if not held:
                raise not_done("another inventory holds the lock: look at its result in the admin, or wait for its end")
            with self.progress(_so_far):
                summary = key_tracking.track_keys()
        self.show(cast(Mapping[str, Any], summary), as_json=options["json"], text=lambda: _text(summary))
        if failed := [node for node, facts in summary["nodes"].items() if not facts["ok"]]:
            raise partly(f"not listed to the end: {', '.join(failed)}")
        if summary["state"] != TrackRun.State.DONE:
            raise partly(summary["error"] or f"run {summary['run']} is {summary['state']}")


def _so_far() -> str:
    """By node; that of a node under way is a few seconds old."""
    rows = NodeListing.objects.filter(run__state=TrackRun.State.RUNNING).order_by("pk")
    return ", ".join(f"{row.node} {row.keys} keys, {row.state}" for row in rows) or "the run begins"


def _text(summary: TrackSummary) -> str:
    services = [_service(name, row) for name, row in sorted(summary["services"].items())]
    nodes = [(name, str(facts["keys"]), facts["error"] or "ok") for name, facts in summary["nodes"].items()]
    foreign = ", ".join(f"{prefix} {count}" for prefix, count in summary["foreign"].items()) or "none"
    return "\n".join(
        [
            table(("NODE", "KEYS", "STATE"), nodes),
            "",
            table(SERVICE_COLUMNS, services) if services else "No keys of any service.",
            f"keys of others, by prefix: {foreign}",
            f"run {summary['run']}: {summary['keys']} keys recorded",
        ]
    )


def _service(name: str, row: ServiceJSON) -> tuple[str, ...]:
    found = (row["keys"], row["bytes"], row["reads"])
    return (name, *map(str, (*found, row["created"], row["removed"], row["expired"], row["expired_unread"])))
