"""A worker's port where something is in the way. A real worker's is in tests/acceptance/test_metrics.py."""

import logging
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
from celery.concurrency.prefork import TaskPool as Children
from celery.concurrency.thread import TaskPool as Threads
from pytest_django import Settings

from api_service.services import metrics
from tests.acceptance.stack import call
from tests.processes import HOST, free_port
from workers import metrics_port


def consumer(pool: type) -> SimpleNamespace:
    return SimpleNamespace(pool=object.__new__(pool))


@pytest.fixture
def port(settings: Settings) -> Iterator[int]:
    settings.WORKER_METRICS_PORT, settings.WORKER_METRICS_HOST = free_port(), HOST
    yield settings.WORKER_METRICS_PORT
    metrics_port._port.close()


def answers(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex((HOST, port)) == 0


def test_without_a_port_in_the_settings_nothing_listens(settings: Settings, port: int) -> None:
    settings.WORKER_METRICS_PORT = 0
    metrics_port._open(consumer(Threads))
    assert not answers(port)


def test_without_a_token_it_is_closed_and_says_what_to_set(settings: Settings, port: int) -> None:
    settings.METRICS_TOKEN = ""
    metrics_port._open(consumer(Threads))
    reply = call(f"http://{HOST}:{port}/metrics", headers={"Authorization": "Bearer "})
    assert (reply.status, b"METRICS_TOKEN" in reply.body) == (403, True)


def test_a_port_that_is_taken_is_said_and_the_worker_goes_on(port: int, caplog: pytest.LogCaptureFixture) -> None:
    with socket.socket() as other, caplog.at_level(logging.WARNING):
        other.bind((HOST, port))
        other.listen()
        metrics_port._open(consumer(Threads))
    assert f"no metrics on port {port}" in caplog.text
    assert "WORKER_METRICS_PORT" in caplog.text


def test_figures_that_would_lack_those_of_the_children_are_not_served(
    port: int, caplog: pytest.LogCaptureFixture
) -> None:
    assert metrics.FOLDER == ""
    with caplog.at_level(logging.ERROR):
        metrics_port._open(consumer(Children))
    assert "PROMETHEUS_MULTIPROC_DIR" in caplog.text
    assert not answers(port)


def test_what_dead_processes_counted_is_dropped_at_a_start_and_what_the_living_count_stays(tmp_path: Path) -> None:
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    for name in (f"counter_{dead.pid}.db", f"gauge_livesum_{dead.pid}.db", f"counter_{os.getpid()}.db"):
        (tmp_path / name).touch()
    script = "import django; django.setup(); from api_service.services import metrics; metrics.forget_the_dead()"
    environment = {**os.environ, "PROMETHEUS_MULTIPROC_DIR": str(tmp_path)}
    subprocess.run([sys.executable, "-c", script], env=environment, check=True, timeout=60)

    left = {path.name for path in tmp_path.glob("*.db")}
    assert f"counter_{os.getpid()}.db" in left
    assert not [name for name in left if str(dead.pid) in name]
