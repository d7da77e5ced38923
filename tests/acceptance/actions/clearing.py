"""A service is cleared: counted first, then for good; and what a node that was down has left undone is resumed."""

from __future__ import annotations

from api_service.models import ClearRun
from tests.acceptance.actions.person import Person
from tests.acceptance.actions.runs import finished, look_up
from tests.rucs import REAL

ONE = "Counted only: %(keys)s key would be removed, nothing was."
MANY = "Counted only: %(keys)s keys would be removed, nothing was."
CLEARED, KEPT = REAL[0], REAL[1]


def counted(person: Person, pattern: str) -> None:
    person.opens(ClearRun)
    person.presses("Clear a service")
    person.fills("Service", "migo")
    person.fills("Kind", "ruc")
    person.fills("Identifiers like", pattern)
    person.presses("Count first")
    assert finished(person, ClearRun)["state"] == "done"


def count_and_clear(person: Person) -> None:
    look_up(person, CLEARED, KEPT)
    counted(person, f"{CLEARED[:6]}*")
    found = person.world.records.newest(ClearRun)
    keys = person.world.records.get(ClearRun, id=found)["found"]
    person.reads_as_it_is(person.counted(ONE, MANY, keys, keys=keys))
    assert person.world.is_in_cache(CLEARED)
    person.is_on_record(said=f"count service=migo kind=ruc pattern={CLEARED[:6]}*")
    person.presses("Clear now")
    run = finished(person, ClearRun)
    assert (run["state"], run["requested_by"], run["dry_run"]) == ("done", person.username, 0)
    assert run["removed"] >= 1
    assert not person.world.is_in_cache(CLEARED)
    assert person.world.is_in_cache(KEPT)
    person.is_on_record(f"clearing {run['id']}", "clear service=migo")


def resume(person: Person) -> None:
    """The node comes back with a key that the others have lost meanwhile."""
    look_up(person, CLEARED)
    place = person.world.place_of(CLEARED)
    assert place is not None
    node, key = place
    counted(person, CLEARED)
    node.stop()
    try:
        person.presses("Clear now")
        assert finished(person, ClearRun)["state"] == "failed"
    finally:
        node.restart()
    assert node.ask(f"set {key} 0 0 2\r\n{{}}").startswith("STORED")
    person.presses("Resume")
    run = finished(person, ClearRun)
    assert (run["state"], run["removed"]) == ("done", 1)
    assert not person.world.is_in_cache(CLEARED)
    person.is_on_record(f"clearing {run['id']}", "resume service=migo")
