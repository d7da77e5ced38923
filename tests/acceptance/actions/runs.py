"""What operators start: a check, an inventory, warm-ups, a refill, a copy."""

from __future__ import annotations

import json
from itertools import count
from typing import Any

from django.db.models import Model

from api_service.models import CopyRun, HealthSample, RefillRun, TrackRun, WarmRun
from tests.acceptance.actions.person import Person
from tests.rucs import REAL, valid_rucs
from tests.waiting import wait_until

COUNTED = "Dry run: of %(all)s RUCs looked at %(due)s would be refreshed. Nothing was changed and nothing was paid."
WARMED = (
    "Of %(all)s RUCs looked at %(free)s were loaded again for free, %(paid_for)s by APIMIGO with %(paid)s paid "
    "queries; %(failed)s failed, %(skipped)s were left alone."
)
# Not asked for before, by no other test
_unknown = count(61_000_000, 10)


def unknown_rucs(number: int) -> list[str]:
    return valid_rucs(number, start=next(_unknown))


def look_up(person: Person, *rucs: str) -> None:
    for ruc in rucs:
        assert person.world.site.process.look_up(ruc).status_code == 200


def finished(person: Person, model: type[Model]) -> dict[str, Any]:
    """The row of the page that the browser has come to, once its run has ended."""
    pk = person.arrives_at(model)

    def ended() -> dict[str, Any]:
        row = person.world.records.get(model, id=pk)
        return row if row["finished_at"] else {}

    return wait_until(ended, 40, message=f"the end of {model._meta.model_name} {pk}")


def check_now(person: Person) -> None:
    newest = person.world.records.newest(HealthSample)
    person.opens(HealthSample)
    person.presses("Check now")
    sample = person.arrives_at(HealthSample)
    assert sample > newest
    person.reads(person.world.records.get(HealthSample, id=sample)["status"])
    person.is_on_record("workers.tasks.monitor_cache_health")


def track_now(person: Person) -> None:
    look_up(person, REAL[0])
    newest = person.world.records.newest(TrackRun)
    person.opens(TrackRun)
    person.presses("Track now")
    run = finished(person, TrackRun)
    assert run["id"] > newest
    assert run["state"] == "done"
    assert run["keys_seen"] >= 1
    person.reads("%(keys)s keys; %(done)s of %(all)s nodes are listed.", keys=run["keys_seen"], done=3, all=3)
    person.is_on_record("workers.tasks.track_keys")


def warm_a_list(person: Person) -> None:
    rucs = unknown_rucs(3)
    person.opens(WarmRun)
    person.presses("Warm now")
    person.fills("RUCs", "\n".join(rucs))
    person.fills("Budget", 5)
    person.presses("Warm now")
    run = finished(person, WarmRun)
    assert (run["state"], run["requested_by"]) == ("done", person.username)
    assert 1 <= run["paid"] <= 5
    assert all(person.world.is_in_cache(ruc) for ruc in rucs)
    counts = {"paid_for": run["refreshed"], "paid": run["paid"], "failed": run["failed"], "skipped": skipped(run)}
    person.reads(WARMED, all=3, free=0, **counts)
    person.is_on_record("workers.tasks.warm_frequent_rucs", rucs[0])


def warm_dry(person: Person) -> None:
    """Of those that are asked for most, as nothing is said."""
    person.opens(WarmRun)
    person.presses("Warm now")
    person.fills("Limit", 7)
    person.field("Dry run").check()
    person.presses("Warm now")
    run = finished(person, WarmRun)
    assert (run["state"], run["dry_run"], run["limit"], run["paid"], run["refreshed"]) == ("done", 1, 7, 0, 0)
    person.reads(COUNTED, all=run["candidates"], due=run["candidates"] - skipped(run))
    person.is_on_record("workers.tasks.warm_frequent_rucs", "limit=7 dry_run=True")


def skipped(run: dict[str, Any]) -> int:
    return sum(json.loads(run["skipped"]).values())


def refill(person: Person) -> None:
    ruc = REAL[0]
    look_up(person, ruc)
    place = person.world.place_of(ruc)
    assert place is not None
    node, key = place
    assert node.ask(f"delete {key}").startswith("DELETED")
    person.opens(RefillRun)
    person.presses("Refill a node")
    person.field("Node").select_option(node.address)
    person.presses("Refill a node")
    run = finished(person, RefillRun)
    assert (run["state"], run["reason"], run["node"]) == ("done", "by_hand", node.address)
    assert person.world.place_of(ruc) == place
    person.is_on_record("workers.tasks.refill_node", f"node={node.address}")


def copy(person: Person) -> None:
    ruc = REAL[1]
    look_up(person, ruc)
    person.world.copies.flush()
    person.opens(CopyRun)
    person.presses("Copy to another cache")
    person.reads_as_it_is(person.text("Overwrite what is there"))
    person.presses("Copy to another cache")
    run = finished(person, CopyRun)
    assert (run["state"], run["requested_by"], run["missing"], run["differing"]) == ("done", person.username, 0, 0)
    assert ruc in person.world.copies.ask("KEYS *")
    person.is_on_record("workers.tasks.copy_cache", "replace=False")
