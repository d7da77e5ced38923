"""One RUC, from the box that leads to it: refreshed, forgotten, marked as invalid and taken off that list again."""

from __future__ import annotations

from api_service.models import StoredAnswer
from tests.acceptance.actions.person import Person
from tests.acceptance.actions.runs import look_up
from tests.rucs import REAL


def opened(person: Person, ruc: str) -> None:
    person.goes("/admin/ruc/")
    person.fills("Look at a RUC", ruc)
    person.presses("Show")


def refresh(person: Person) -> None:
    ruc = REAL[2]
    look_up(person, ruc)
    before = person.world.records.get(StoredAnswer, identifier=ruc)
    opened(person, ruc)
    person.presses("Refresh now")
    person.presses("Refresh now")
    person.reads("APIMIGO has answered: this is the newest record.")
    after = person.world.records.get(StoredAnswer, identifier=ruc)
    assert after["born_at"] > before["born_at"]
    person.is_on_record(f"RUC {ruc}", "refresh: asked")
    person.is_on_record(f"RUC {ruc}", "refresh: found")


def forget(person: Person) -> None:
    ruc = REAL[3]
    look_up(person, ruc)
    assert person.world.is_in_cache(ruc)
    opened(person, ruc)
    person.presses("Forget")
    person.presses("Forget")
    person.reads("It is forgotten: the next look-up asks APIMIGO.")
    assert not person.world.is_in_cache(ruc)
    assert person.world.records.find(StoredAnswer, identifier=ruc) is None
    person.is_on_record(f"RUC {ruc}", "forget")


def mark_and_unmark(person: Person) -> None:
    ruc = REAL[4]
    opened(person, ruc)
    person.presses("Mark as invalid")
    person.fills("Reason", "DADO_DE_BAJA")
    person.fills("Hours", 3)
    person.presses("Mark as invalid")
    person.reads("It is listed as invalid.")
    person.is_on_record(f"RUC {ruc}", "mark: reason=DADO_DE_BAJA hours=3")
    answer = person.world.site.process.look_up(ruc)
    assert "DADO_DE_BAJA" in answer.text
    person.presses("Take off the invalid list")
    person.presses("Take off the invalid list")
    person.reads("It is off the list of invalid RUCs.")
    person.is_on_record(f"RUC {ruc}", "unmark")
    assert person.world.site.process.look_up(ruc).status_code == 200
