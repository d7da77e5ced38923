"""The systemd units: accepted by systemd where it is there, and in step with the Compose file."""

import configparser
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.unit.deploy.files import ROOT, command, queues_of
from workers.management.commands import check_beat
from workers.schedules import QUEUES

FOLDER = ROOT / "deploy/systemd"
LASTING = ("web", "worker-health", "worker-bulk", "beat", "flower")
INSTALLED = "/opt/cache-worker/.venv/bin"
UNITS = sorted(path.name for path in FOLDER.iterdir())


class Unit(configparser.RawConfigParser):
    """A unit file: the case of its keys matters, and the last of repeated ones is enough here."""

    def __init__(self, name: str) -> None:
        super().__init__(strict=False, interpolation=None)
        self.read_string((FOLDER / name).read_text(encoding="utf-8"))

    def optionxform(self, optionstr: str) -> str:
        return optionstr


def service(name: str) -> Unit:
    return Unit(f"cache-worker-{name}.service")


def arguments(name: str) -> list[str]:
    return service(name)["Service"]["ExecStart"].replace("%%", "%").split()[1:]


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd-analyze is not installed")
def test_systemd_accepts_every_unit(tmp_path: Path) -> None:
    programs, units = tmp_path / "bin", tmp_path / "units"
    programs.mkdir()
    units.mkdir()
    for program in ("celery", "gunicorn", "python"):
        (programs / program).write_text("#!/bin/sh\n")
        (programs / program).chmod(0o755)
    for name in UNITS:
        (units / name).write_text((FOLDER / name).read_text().replace(INSTALLED, str(programs)))
    done = subprocess.run(
        ["systemd-analyze", "verify", *(str(units / name) for name in UNITS)],
        env={**os.environ, "SYSTEMD_UNIT_PATH": f"{units}:"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stderr == ""
    assert done.returncode == 0


def _niceness(command: list[str]) -> tuple[str, list[str]]:
    """What `nice` of a container is `Nice=` of a unit."""
    return (command[2], command[3:]) if command[:2] == ["nice", "-n"] else ("0", command)


def test_long_tasks_give_way_to_all_others() -> None:
    niceness = {name: _niceness(command(name))[0] for name in LASTING if name != "web"}
    assert {name for name, nice in niceness.items() if nice != "0"} == {"worker-bulk"}


@pytest.mark.parametrize("name", LASTING)
def test_it_runs_the_same_command_as_the_container(name: str) -> None:
    if name == "web":
        assert arguments(name) == ["--config", "deploy/gunicorn.conf.py", "myproject.wsgi"]
    else:
        where = {"--address=0.0.0.0": "--address=127.0.0.1"}
        nice, program = _niceness(command(name))
        assert service(name)["Service"].get("Nice", "0") == nice
        assert arguments(name) == [where.get(part, part) for part in program[1:]]
    assert service(name)["Service"]["ExecStart"].startswith(INSTALLED)


def test_the_workers_serve_every_queue_exactly_once() -> None:
    served = [queue for name in LASTING for queue in queues_of(arguments(name))]
    assert sorted(served) == sorted(QUEUES)


@pytest.mark.parametrize("name", LASTING)
def test_it_is_restarted_bounded_and_has_few_rights(name: str) -> None:
    section = service(name)["Service"]
    assert section["Restart"] == "on-failure"
    assert section["User"] == "cache-worker"
    assert section["MemoryMax"]
    assert section["EnvironmentFile"] == "/etc/cache-worker/env"
    assert {section[key] for key in ("NoNewPrivileges", "PrivateTmp", "ProtectHome", "PrivateDevices")} == {"yes"}
    assert section["ProtectSystem"] == "strict"
    assert section["CapabilityBoundingSet"] == ""


@pytest.mark.parametrize("name", ["worker-health", "worker-bulk"])
def test_a_worker_may_finish_its_longest_task(name: str) -> None:
    section = service(name)["Service"]
    limits = re.findall(r"[( ]time_limit=(\d+)", (ROOT / "workers/tasks.py").read_text())
    assert section["KillMode"] == "mixed"
    assert int(section["TimeoutStopSec"]) > max(int(limit) for limit in limits)


@pytest.mark.parametrize("name", LASTING)
def test_it_starts_after_the_migrations_and_stops_with_the_target(name: str) -> None:
    unit = service(name)["Unit"]
    assert unit["Requires"] == "cache-worker-migrate.service"
    assert "cache-worker-migrate.service" in unit["After"].split()
    assert unit["PartOf"] == "cache-worker.target"
    assert f"cache-worker-{name}.service" in Unit("cache-worker.target")["Unit"]["Wants"].split()


def test_every_unit_that_is_named_exists() -> None:
    named = {
        unit for name in UNITS for unit in re.findall(r"cache-worker[\w-]*\.(?:service|target|timer)", _text(name))
    }
    assert named <= set(UNITS)
    assert "cache-worker-check-beat.timer" in named


def test_a_beat_that_sends_nothing_is_restarted_where_it_runs() -> None:
    check = service("check-beat")
    assert check["Service"]["ExecStart"].endswith("manage.py check_beat --sent-only")
    assert check["Service"]["SuccessExitStatus"] == str(check_beat.NO_DATABASE)
    assert check["Unit"]["OnFailure"] == "cache-worker-restart-beat.service"
    assert "try-restart cache-worker-beat.service" in service("restart-beat")["Service"]["ExecStart"]


def _text(name: str) -> str:
    return (FOLDER / name).read_text(encoding="utf-8")
