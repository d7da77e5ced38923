"""A token of the API: made, used, revoked."""

from __future__ import annotations

from api_service.models import ApiToken
from tests.acceptance.actions.person import Person
from tests.rucs import REAL
from tests.waiting import wait_until


def make_and_revoke(person: Person) -> None:
    name = f"facturación {person.language}"
    person.opens(ApiToken)
    person.presses("Make a token")
    person.fills("Name", name)
    person.field("look up RUCs, DNIs and exchange rates, which may cost money").check()
    person.fills("Days", 30)
    person.presses("Make a token")
    person.reads("Copy it now: it is shown this once and kept nowhere.")
    text = person.page.locator("#token").input_value()
    row = person.world.records.get(ApiToken, name=name)
    assert text not in str(row)
    assert answers(person, text) == 200
    person.is_on_record(object_id=str(row["id"]), action_flag=1)
    revoke(person, row["id"], text)


def revoke(person: Person, pk: int, text: str) -> None:
    person.opens_row(ApiToken, pk)
    person.presses("Revoke")
    person.reads("Within seconds it opens nothing any more.")
    assert person.world.records.get(ApiToken, id=pk)["revoked_by"] == person.username
    wait_until(lambda: answers(person, text) == 401, 30, message="a revoked token that opens nothing")
    person.is_on_record(object_id=str(pk), action_flag=2)


def answers(person: Person, token: str) -> int:
    headers = {"Authorization": f"Bearer {token}"}
    return person.world.site.process.get(f"/api/v1/rucs/{REAL[0]}", headers=headers).status_code
