"""A batch that claims call by call what it asks for: right before each is paid for, until it is over."""

from collections.abc import Collection, Sequence
from unittest.mock import patch

import pytest

from api_service.services.migo_wire import Version
from api_service.services.providers import SpendLater
from tests.integration.upstream.conftest import ClientOf
from tests.integration.upstream.test_fetch_many import errors, rucs
from tests.integration.upstream.test_migo_client import Ledger
from tests.sandbox_fixture import RunningSandbox


class Held:
    """Claims all but `others`; `held` are those of calls that are not over."""

    def __init__(self, others: Collection[str] = ()) -> None:
        self.others = others
        self.held: set[str] = set()

    def take(self, identifiers: Sequence[str], /) -> Sequence[str]:
        mine = [one for one in identifiers if one not in self.others]
        self.held.update(mine)
        return mine

    def give_up(self, identifiers: Sequence[str], /) -> None:
        self.held.difference_update(identifiers)


def test_what_somebody_else_asks_for_is_neither_asked_nor_paid_for(
    client_of: ClientOf, version: Version, sandbox: RunningSandbox
) -> None:
    asked, ledger, kept = rucs(24), Ledger(), list[str]()
    claims = Held(asked[:10])
    results = client_of(version).fetch_many("ruc", asked, spend=ledger, answered=kept.extend, claims=claims)

    # What was answered was handed over
    assert (results, sorted(kept)) == ({}, sorted(asked[10:]))
    assert sum(queries for queries, _ in ledger.calls) == sandbox.billed == 14
    assert claims.held == set()


def test_an_answer_is_handed_over_under_its_claim_and_a_failure_gives_it_up(
    client_of: ClientOf, version: Version, sandbox: RunningSandbox
) -> None:
    sandbox.switch(script=["refused:Plan"] if version == "v2" else ["429:60"])
    asked, claims, under_claim = rucs(208 if version == "v1" else 16), Held(), list[bool]()
    results = client_of(version).fetch_many(
        "ruc", asked, answered=lambda answers: under_claim.append(set(answers) <= claims.held), claims=claims
    )

    assert errors(list(results.values()))
    assert all(under_claim)
    assert claims.held == set()


def test_nothing_is_claimed_while_a_place_is_waited_for(client_of: ClientOf, sandbox: RunningSandbox) -> None:
    claims, held, ledger = Held(), list[set[str]](), Ledger()

    def spend(queries: int, *, retry: bool) -> None:
        if len(held) < 2:
            held.append(set(claims.held))
            raise SpendLater(0.05)
        ledger(queries, retry=retry)

    def take(identifiers: Sequence[str], /) -> Sequence[str]:
        assert claims.held == set()
        return Held.take(claims, identifiers)

    with patch.object(claims, "take", take):
        client_of("v1").fetch_many("ruc", rucs(10), spend=spend, claims=claims)
    assert [len(one) for one in held] == [10, 10]
    assert (ledger.calls, claims.held) == ([(10, False)], set())


def test_claims_that_forbid_a_call_end_the_batch(
    client_of: ClientOf, version: Version, sandbox: RunningSandbox
) -> None:
    claims = Held()

    def take(identifiers: Sequence[str], /) -> Sequence[str]:
        raise PermissionError

    with patch.object(claims, "take", take), pytest.raises(PermissionError):
        client_of(version).fetch_many("ruc", rucs(10), claims=claims)
    assert sandbox.log == []
