"""The servers, the catcher and the clean environment that all other tests stand on."""

import gzip
import json
import os
import subprocess
import sys
import threading

import psycopg
import pytest
import requests
from django.conf import settings
from django.contrib.auth.models import User
from django.core.cache import caches
from django.db import connection

from tests import processes
from tests.conftest import UseCacheUrl
from tests.http_catcher import HttpCatcher, parse_envelope
from tests.processes import PORTS, PORTS_OF_A_PROCESS, free_port
from tests.servers import Memcached, Postgres, Redis
from tests.waiting import wait_until


def test_another_process_of_the_tests_is_given_none_of_this_ones_ports() -> None:
    code = "from tests.processes import free_port; print([free_port() for _ in range(99)])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    blocks = [
        {(port - PORTS.start) // PORTS_OF_A_PROCESS for port in ports}
        for ports in ([free_port() for _ in range(99)], json.loads(done.stdout))
    ]
    assert [len(of_one) for of_one in blocks] == [1, 1]
    assert blocks[0] != blocks[1]


def test_a_killed_memcached_comes_back_empty_on_the_same_port(own_memcached: Memcached) -> None:
    address, pid = own_memcached.address, own_memcached.pid
    assert own_memcached.ask("set a 0 0 1\r\nx") == "STORED\r\n"
    own_memcached.kill()
    assert own_memcached.stats() == {}
    own_memcached.restart()
    assert (own_memcached.address, own_memcached.ask("get a")) == (address, "END\r\n")
    assert own_memcached.pid != pid


def test_a_frozen_redis_accepts_connections_and_answers_once_thawed(own_redis: Redis) -> None:
    own_redis.freeze()
    with pytest.raises(TimeoutError):
        own_redis.stats(timeout=0.2)
    own_redis.thaw()
    assert own_redis.stats("server")["process_id"] == str(own_redis.pid)


def test_a_shared_server_is_usable_whatever_the_test_before_did(memcached: Memcached) -> None:
    assert memcached.ask("get left_over") == "END\r\n"
    assert memcached.ask("set left_over 0 0 1\r\nx") == "STORED\r\n"
    memcached.freeze()


def test_a_shared_server_is_thawed_and_emptied(memcached: Memcached) -> None:
    assert memcached.ask("get left_over") == "END\r\n"
    assert memcached.ask("set left_over 0 0 1\r\nx") == "STORED\r\n"
    memcached.kill()


def test_the_nodes_of_a_cluster_are_different_servers(memcached_cluster: list[Memcached]) -> None:
    assert len({node.address for node in memcached_cluster}) == 3
    assert len({node.stats()["pid"] for node in memcached_cluster}) == 3


def test_postgres_gives_every_caller_a_database_of_its_own(postgres: Postgres) -> None:
    urls = [postgres.new_database(), postgres.new_database()]
    assert urls[0] != urls[1]
    with psycopg.connect(urls[0]) as database:
        assert database.execute("SELECT current_database()").fetchone() == (urls[0].rpartition("/")[2],)


def test_a_missing_server_skips_loudly(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("REQUIRE_SERVERS", raising=False)
    with pytest.raises(pytest.skip.Exception, match="NOT TESTED: no-such-server is missing: apt-get install"):
        processes.require("no-such-server")


def test_a_missing_server_fails_where_servers_are_required(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REQUIRE_SERVERS", "1")
    with pytest.raises(pytest.fail.Exception, match="NOT TESTED: no-such-server is missing: apt-get install"):
        processes.require("no-such-server")


def test_the_catcher_keeps_what_it_received_and_answers_by_the_script(http_catcher: HttpCatcher) -> None:
    http_catcher.answer("/services/T000/B000/slack-secret-0001", status=429, headers={"Retry-After": "3"}, times=1)
    with requests.Session() as session:
        replies = [session.post(http_catcher.slack_webhook_url, json={"text": text}) for text in ("a", "b")]
    assert [(reply.status_code, reply.headers.get("Retry-After")) for reply in replies] == [(429, "3"), (200, None)]
    assert http_catcher.slack_messages() == [{"text": "a"}, {"text": "b"}]
    assert b"slack-secret-0001" in http_catcher.all_bytes()


def test_the_catcher_can_be_silent_until_told(http_catcher: HttpCatcher) -> None:
    answer_now = threading.Event()
    http_catcher.answer("/slow", hold=answer_now)
    with pytest.raises(requests.ReadTimeout):
        requests.get(f"{http_catcher.url}/slow", timeout=0.2)
    answer_now.set()
    assert requests.get(f"{http_catcher.url}/slow", timeout=5).text == "ok"


def test_sentry_envelopes_are_decoded_also_when_compressed(http_catcher: HttpCatcher) -> None:
    event = json.dumps({"message": "cache down"}).encode()
    envelope = b'{"event_id":"1"}\n{"type":"event","length":%d}\n%s\n{"type":"check_in"}\n{}\n' % (len(event), event)
    headers = {"Content-Encoding": "gzip"}
    requests.post(f"{http_catcher.url}/api/42/envelope/", data=gzip.compress(envelope), headers=headers, timeout=5)
    assert [item.data for item in http_catcher.sentry_items("event")] == [{"message": "cache down"}]
    assert [item.type for item in parse_envelope(envelope)] == ["event", "check_in"]


def test_waiting_ends_at_the_deadline_and_says_for_what() -> None:
    with pytest.raises(AssertionError, match=r"the moon: not within 0\.05 s"):
        wait_until(lambda: False, timeout=0.05, message="the moon")
    assert wait_until(lambda: "value") == "value"


def test_no_setting_of_the_developer_reaches_the_suite() -> None:
    assert os.environ["DJANGO_SETTINGS_MODULE"] == "myproject.settings"
    ours = ("MIGO_", "SLACK_", "SENTRY_", "CELERY_", "CACHE_")
    # Celery itself sets those of its logging where a test has a worker in this process
    named = [name for name in os.environ if name.startswith(ours) and not name.startswith("CELERY_LOG_")]
    assert named == []


def test_the_default_cache_is_where_the_url_says(use_cache_url: UseCacheUrl, memcached: Memcached) -> None:
    before = type(caches["default"])
    with use_cache_url(memcached.url):
        caches["default"].set("where", "memcached")
        assert caches["default"].get("where") == "memcached"
        assert memcached.url == settings.CACHE_URL
    assert "where" in memcached.ask("lru_crawler metadump hash")
    assert type(caches["default"]) is before


@pytest.mark.django_db
def test_a_test_of_the_database_runs_on_the_chosen_one(request: pytest.FixtureRequest) -> None:
    vendor = {"sqlite": "sqlite", "postgres": "postgresql"}[os.environ.get("TEST_DATABASE", "sqlite")]
    assert connection.vendor == vendor
    assert request.node.get_closest_marker("db") is not None


@pytest.mark.django_db(transaction=True)
def test_threads_of_a_test_share_its_database() -> None:
    def write() -> None:
        try:
            User.objects.create(username="from-a-thread")
        finally:
            connection.close()

    thread = threading.Thread(target=write)
    thread.start()
    thread.join(timeout=10)
    assert User.objects.filter(username="from-a-thread").exists()
    if connection.vendor == "sqlite":
        with connection.cursor() as cursor:
            assert cursor.execute("PRAGMA journal_mode").fetchone() == ("wal",)
