"""What Sentry and a ping service hear of every schedule: a real scheduler, a real worker, a real HTTP server."""

import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from tests.http_catcher import HttpCatcher
from tests.integration.beat.scheduled import OPERATORS_OWN
from tests.project_process import run_project
from workers.schedules import TABLE

# One process for all: on one process of pytest-xdist
pytestmark = [pytest.mark.timeout(240), pytest.mark.xdist_group("told-outside")]

KEY = "/ping-key-that-nobody-may-see"


@dataclass
class Heard:
    catcher: HttpCatcher
    rows: dict[str, dict[str, Any]]
    log: str

    def check_ins(self, name: str) -> list[dict[str, Any]]:
        items = [item.data for item in self.catcher.sentry_items("check_in")]
        return [item for item in items if item["monitor_slug"] == name]

    def pings(self, name: str) -> list[tuple[str, str, str]]:
        """Event, run and text of each, in the order of their arrival."""
        found = []
        for request in self.catcher.received(f"{KEY}/{name}"):
            path, _, rid = request.target.partition("?rid=")
            found.append((path.removeprefix(f"{KEY}/{name}"), rid, request.content.decode()))
        return found


@pytest.fixture(scope="module")
def heard(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Heard]:
    with HttpCatcher() as catcher:
        own = {
            "DATA_DIR": str(folder := tmp_path_factory.mktemp("scheduled")),
            "DATABASE_URL": f"sqlite:///{folder}/db.sqlite3",
            "SENTRY_DSN": catcher.sentry_dsn,
            "HEALTHCHECK_PING_URL": ",".join(f"{name}={catcher.url}{KEY}/{name}" for name in TABLE),
        }
        done = run_project("-m", "tests.integration.beat.scheduled", env={**os.environ, **own}, timeout=220)
        assert done.returncode == 0, done.stderr
        yield Heard(catcher, json.loads(done.stdout), done.stderr)


@pytest.mark.parametrize("name", sorted(TABLE))
def test_sentry_hears_of_the_begin_and_the_end_of_each_run(heard: Heard, name: str) -> None:
    found = heard.check_ins(name)
    assert [item["status"] for item in found] == ["in_progress", "ok", "in_progress", "error"]
    assert found[0]["check_in_id"] == found[1]["check_in_id"] != found[2]["check_in_id"] == found[3]["check_in_id"]
    assert 0 < found[1]["duration"] < 30


@pytest.mark.parametrize("name", sorted(TABLE))
def test_every_check_in_brings_the_margin_and_the_longest_run_time(heard: Heard, name: str) -> None:
    row = TABLE[name]
    for item in heard.check_ins(name):
        config = item["monitor_config"]
        assert (config["checkin_margin"], config["max_runtime"]) == (row.margin, row.max_runtime)
        assert config["failure_issue_threshold"] == row.failures
        assert config["timezone"] == "America/Lima"
        assert config["schedule"]["type"] == "crontab"
        assert len(config["schedule"]["value"].split()) == 5


def test_a_schedule_that_an_operator_added_checks_in_too(heard: Heard) -> None:
    statuses = [item["status"] for item in heard.check_ins(OPERATORS_OWN)]
    assert statuses == ["in_progress", "ok", "in_progress", "error"]


@pytest.mark.parametrize("name", sorted(TABLE))
def test_the_ping_service_hears_of_start_and_success_and_of_start_and_failure(heard: Heard, name: str) -> None:
    (start, ok), (again, failed) = (heard.pings(name)[:2], heard.pings(name)[2:])
    assert [event for event, _, _ in (start, ok, again, failed)] == ["/start", "", "/start", "/fail"]
    assert start[1] == ok[1] != again[1] == failed[1]
    assert " took " in ok[2]
    assert failed[2] == "RuntimeError: broken by the test"


@pytest.mark.parametrize("name", [*sorted(TABLE), OPERATORS_OWN])
def test_a_row_keeps_what_became_of_the_last_runs(heard: Heard, name: str) -> None:
    row = heard.rows[name]
    assert row["succeeded_at"] < row["waiting_since"] <= row["started_at"] <= row["failed_at"]
    assert row["error"] == "RuntimeError: broken by the test"
    assert row["duration"] > 0


def test_a_run_by_hand_is_no_sign_of_life_of_beat(heard: Heard) -> None:
    """`clean_up` ran three times, once by hand."""
    assert heard.log.count("workers.tasks.clean_up") > 0
    assert heard.log.count("Task workers.tasks.clean_up") >= 3
    assert len(heard.pings("clean-up")) == len(heard.check_ins("clean-up")) == 4


def test_the_addresses_to_ping_are_secret(heard: Heard) -> None:
    to_sentry = b"".join(request.content for request in heard.catcher.received("/api/")).decode()
    assert len(to_sentry) > 1000
    assert KEY.strip("/") not in to_sentry
    assert KEY.strip("/") not in heard.log
