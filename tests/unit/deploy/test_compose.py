"""docker-compose.yml: its form against the specification, its references against itself and the code."""

import re
import subprocess
import sys

import pytest

from tests.unit.deploy.files import (
    COMPOSE_ONLY,
    NOT_SETTINGS,
    ROOT,
    command,
    compose,
    documented_variables,
    ours,
    queues_of,
    services,
    settings_variables,
    text,
)
from workers.schedules import QUEUES

ONE_SHOT = {"migrate"}
WORKERS = ("worker-health", "worker-bulk")
ALWAYS = sorted(set(services()) - ONE_SHOT)
# Of workers/tasks.py
LONGEST_TASK = 300


def seconds(duration: str) -> int:
    return int(duration.removesuffix("s"))


def test_its_form_follows_the_compose_specification() -> None:
    command = [
        sys.executable,
        "-m",
        "check_jsonschema",
        "--builtin-schema",
        "vendor.compose-spec",
        "docker-compose.yml",
    ]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert {"web", "beat", "flower", "memcached", "redis", "postgres", *WORKERS} <= set(services())


@pytest.mark.parametrize("name", sorted(services()))
def test_every_reference_of_a_service_exists(name: str) -> None:
    service = services()[name]
    volumes = {volume.partition(":")[0] for volume in service.get("volumes", [])}
    assert set(service.get("depends_on", {})) <= set(services())
    assert set(service["networks"]) <= set(compose()["networks"])
    assert volumes <= set(compose()["volumes"])
    assert set(service.get("secrets", [])) <= set(compose().get("secrets", {}))


def test_every_volume_and_network_is_used() -> None:
    mounted = {volume.partition(":")[0] for s in services().values() for volume in s.get("volumes", [])}
    joined = {network for s in services().values() for network in s["networks"]}
    assert mounted == set(compose()["volumes"])
    assert joined == set(compose()["networks"])


@pytest.mark.parametrize("name", sorted(services()))
def test_it_waits_for_health_only_where_health_is_checked(name: str) -> None:
    for other, wait in services()[name].get("depends_on", {}).items():
        if wait["condition"] == "service_healthy":
            assert "healthcheck" in services()[other]
        else:
            assert (wait["condition"], other) == ("service_completed_successfully", "migrate")
    assert "memcached" not in services()[name].get("depends_on", {})


@pytest.mark.parametrize("name", ALWAYS)
def test_every_lasting_service_is_checked_restarted_and_bounded(name: str) -> None:
    service = services()[name]
    assert service["healthcheck"]["test"][0] in {"CMD", "CMD-SHELL"}
    assert seconds(service["healthcheck"]["timeout"]) < seconds(service["healthcheck"]["interval"])
    assert service["restart"] == "unless-stopped"
    assert service["mem_limit"]
    assert service["cpus"]
    assert service["logging"]["options"]["max-size"]


def test_migrations_run_once_and_are_not_repeated() -> None:
    assert services()["migrate"]["restart"] == "no"
    assert "healthcheck" not in services()["migrate"]


@pytest.mark.parametrize("name", sorted(services()))
def test_no_container_can_gain_rights_or_change_its_files(name: str) -> None:
    service = services()[name]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert "privileged" not in service


@pytest.mark.parametrize("name", sorted(services()))
def test_ports_are_for_this_machine_only(name: str) -> None:
    assert all(port.startswith("127.0.0.1:") for port in services()[name].get("ports", []))


def test_the_servers_cannot_be_reached_from_outside_and_reach_nobody() -> None:
    assert compose()["networks"]["inside"] == {"internal": True}
    for name in ("memcached", "redis", "postgres"):
        assert services()[name]["networks"] == ["inside"]
        assert "ports" not in services()[name]


def test_the_workers_serve_every_queue_exactly_once() -> None:
    served = [queue for worker in WORKERS for queue in queues_of(command(worker))]
    assert sorted(served) == sorted(QUEUES)
    assert {name for name in ours() if "worker" in command(name)} == set(WORKERS)


def test_health_checks_and_alerts_have_a_worker_of_their_own() -> None:
    assert queues_of(command("worker-health")) == {"health", "default"}
    assert not queues_of(command("worker-bulk")) & queues_of(command("worker-health"))


@pytest.mark.parametrize("name", WORKERS)
def test_a_worker_is_asked_by_its_own_name_and_may_finish_its_longest_task(name: str) -> None:
    assert f"{name}@%h" in command(name)
    assert f"-d {name}@$$HOSTNAME" in services()[name]["healthcheck"]["test"][1]
    assert seconds(services()[name]["stop_grace_period"]) > LONGEST_TASK
    assert f"time_limit={LONGEST_TASK}" in text("workers/tasks.py")


def test_beat_runs_exactly_once_and_is_judged_by_its_work() -> None:
    beats = [name for name in ours() if "beat" in command(name)]
    assert beats == ["beat"]
    assert services()["beat"]["deploy"]["replicas"] == 1
    assert services()["beat"]["healthcheck"]["test"] == ["CMD", "python", "manage.py", "check_beat", "--sent-only"]
    assert (ROOT / "workers/management/commands/check_beat.py").exists()


def test_flower_does_not_start_without_a_password() -> None:
    assert services()["flower"]["environment"]["FLOWER_BASIC_AUTH"].startswith("${FLOWER_BASIC_AUTH:?")
    assert "--conf=deploy/flowerconfig.py" in command("flower")
    assert "FLOWER_UNAUTHENTICATED_API" not in text("docker-compose.yml")


def test_memcached_has_its_memory_item_size_and_connections_chosen() -> None:
    arguments = command("memcached")
    memory = int(arguments[arguments.index("-m") + 1])
    assert arguments[arguments.index("-I") + 1] == "1m"
    assert int(arguments[arguments.index("-c") + 1]) >= 1024
    assert int(services()["memcached"]["mem_limit"].removesuffix("m")) >= memory + 100


def test_the_broker_keeps_its_tasks() -> None:
    arguments = command("redis")
    assert arguments[arguments.index("--appendonly") + 1] == "yes"
    assert arguments[arguments.index("--maxmemory-policy") + 1] == "noeviction"


def test_every_variable_it_asks_for_is_in_the_example() -> None:
    asked = set(re.findall(r"\$\{([A-Z_]+)", text("docker-compose.yml"))) - COMPOSE_ONLY
    assert asked <= documented_variables()
    assert "POSTGRES_PASSWORD" in asked


def test_every_variable_it_sets_is_read_by_the_settings_or_by_gunicorn() -> None:
    given = {name for service in ours() for name in services()[service]["environment"]}
    by_gunicorn = set(re.findall(r'environ\.get\("(\w+)"', text("deploy/gunicorn.conf.py")))
    assert given <= settings_variables() | by_gunicorn
    assert {"DATABASE_URL", "CACHE_URL", "CELERY_BROKER_URL"} <= given


def test_the_example_names_every_setting_and_nothing_else() -> None:
    assert settings_variables() - documented_variables() == set()
    assert documented_variables() - settings_variables() == NOT_SETTINGS


def test_the_example_holds_no_secret() -> None:
    filled = re.findall(r"^([A-Z_]+)=(.+)$", text(".env.example"), re.MULTILINE)
    assert filled == []
