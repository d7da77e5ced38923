"""An incident of a node that is down: acknowledged, muted and unmuted, on its page and in the list."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from typing import Any

from api_service.admin.incident_acts import ACTS
from api_service.models import Incident, Transition
from tests.acceptance.actions.person import Person, World, source_of
from tests.site import Site
from tests.waiting import wait_until

MONITOR = "workers.tasks.monitor_cache_health"
# By act: what its step in the incident's course is called, and for how long it is muted then
COURSE = {
    "acknowledge": ("acknowledged", 0),
    "mute_1h": ("muted", 1),
    "mute_8h": ("muted", 8),
    "mute_24h": ("muted", 24),
    "unmute": ("unmuted", 0),
}
ONE, MANY = "%(act)s: %(count)s incident.", "%(act)s: %(count)s incidents."


@contextmanager
def node_down(world: World, number: int) -> Iterator[int]:
    """The incident that tells of it; the node is up and the incident over afterwards."""
    node = world.site.nodes[number]
    if is_open(world, node.address):
        checked(world.site, lambda: not is_open(world, node.address))
    node.stop()
    try:
        yield checked(world.site, lambda: is_open(world, node.address))
    finally:
        node.restart()
        checked(world.site, lambda: not is_open(world, node.address))


def is_open(world: World, address: str) -> int:
    """The primary key; 0 where nothing is open of that node."""
    row = world.records.find(Incident, code="node_down", node=address)
    return int(row["id"]) if row and row["resolved_at"] is None else 0


def checked(site: Site, wanted: Any) -> Any:
    """What a health run leads to: one of the schedule may be under way, beside which another does nothing."""

    def once_more() -> Any:
        task = site.process.trigger(MONITOR)
        wait_until(lambda: site.process.task_state(task) == "SUCCESS", 30, message="a health run")
        return wanted()

    return wait_until(once_more, 60, interval=0.5, message="what a health run leads to")


def acts_on_its_page(person: Person) -> None:
    with node_down(person.world, 0) as incident:
        person.opens_row(Incident, incident)
        for name, act in ACTS.items():
            note = f"cambio de disco, {name}"
            person.fills("Note (optional)", note)
            person.presses(source_of(act.label))
            told(person, incident, name, note)
        person.reads_as_it_is("cambio de disco, unmute")


def acts_in_the_list(person: Person) -> None:
    with node_down(person.world, 1) as incident:
        for name, act in ACTS.items():
            source, note = source_of(act.label), f"turno de noche, {name}"
            person.opens(Incident)
            person.chooses(source, [incident])
            person.fills("Note (optional)", note)
            person.presses(source)
            told(person, incident, name, note)


def told(person: Person, incident: int, name: str, note: str) -> None:
    """On the page, in the incident and its course, and in the log."""
    event, hours = COURSE[name]
    label = person.text(source_of(ACTS[name].label))
    person.reads_as_it_is(person.counted(ONE, MANY, 1, act=label))
    row = person.world.records.get(Incident, id=incident)
    step = person.world.records.get(Transition, incident_id=incident)
    assert (step["event"], step["by"], step["note"]) == (event, person.username, note)
    assert row["acknowledged_by"] == person.username
    assert muted_hours(row, step) == hours
    person.is_on_record(f"incident {incident}", f"act={name} note={note}")


def muted_hours(incident: dict[str, Any], step: dict[str, Any]) -> int:
    """From that step on."""
    if incident["muted_until"] is None:
        return 0
    return round((moment(incident["muted_until"]) - moment(step["at"])) / timedelta(hours=1))


def moment(text: str) -> datetime:
    return datetime.fromisoformat(text)
