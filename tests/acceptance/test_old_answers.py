"""An old answer as a caller over HTTP sees it, with a real broker, worker and APIMIGO behind it."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests

from tests.acceptance.single_process import SingleProcess
from tests.processes import HOST
from tests.waiting import wait_until

pytestmark = [pytest.mark.timeout(180), pytest.mark.xdist_group("run_all")]

RUC = "20100038146"


@pytest.fixture
def process(tmp_path: Path) -> Iterator[SingleProcess]:
    made = SingleProcess(
        tmp_path, CACHE_TTL_RUC="3", STALE_WHILE_REVALIDATE="60", WARM_LIMIT="0", ANSWER_STORE_SECONDS="2"
    )
    made.start().wait_ready()
    yield made
    made.close()


def cache_said(process: SingleProcess) -> dict[str, Any]:
    answer = process.look_up(RUC)
    assert answer.status_code == 200, answer.text
    said: dict[str, Any] = answer.json()["cache"]
    return said


def switch(process: SingleProcess, **switches: object) -> None:
    url = f"http://{HOST}:{process.sandbox}/_sandbox/switches"
    requests.post(url, json=switches, timeout=10).raise_for_status()


def test_a_worker_renews_what_was_shown_old_and_an_outage_shows_the_old_one(process: SingleProcess) -> None:
    assert cache_said(process)["source"] == "upstream"
    old = wait_until(lambda: (said := cache_said(process))["stale"] and said, timeout=30, message="an old answer")
    assert (old["outcome"], old["stale_because"]) == ("stale", "refreshing")
    renewed = wait_until(lambda: (said := cache_said(process))["outcome"] == "hit" and said, timeout=30)
    assert renewed["age"] < old["age"]
    again = wait_until(lambda: (said := cache_said(process))["stale"] and said, timeout=30, message="old once more")
    assert again["stale_because"] == "refreshing"
    wait_until(lambda: cache_said(process)["outcome"] == "hit", timeout=30, message="renewed once more")

    switch(process, error_rate=1.0)
    strict = f"/api/v1/ruc/{RUC}?max_stale=0"
    token = {"Authorization": f"Bearer {process.secret('api_token')}"}
    wait_until(lambda: process.get(strict, headers=token).status_code == 503, timeout=30, message="an error")
    assert cache_said(process)["stale"] is True
    forced = process.get(f"/api/v1/ruc/{RUC}?refresh=true&max_stale=600", headers=token).json()
    assert (forced["success"], forced["cache"]["stale"]) == (True, True)
    assert process.get(f"/api/v1/ruc/{RUC}?max_stale=soon", headers=token).json()["code"] == "bad_parameter"
