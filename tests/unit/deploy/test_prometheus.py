"""Alert rules, the example configuration and the dashboard, checked by Prometheus' own tool and against each other."""

import json
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.processes import require
from tests.unit.deploy.files import ROOT, command, compose, services, text
from tests.unit.docs.documents import anchors

FOLDER = ROOT / "deploy/prometheus"
DASHBOARD = "deploy/grafana/dashboard.json"
WORKERS = ("worker-health", "worker-bulk")
# Of Grafana: what a panel of time series or a single number shows
UNITS = {"short", "s", "percentunit", "reqps", "cpm", "bytes", "bool_on_off"}
WIDTH = 24


def promtool(*arguments: str, folder: Path = FOLDER) -> str:
    done = subprocess.run([require("promtool"), *arguments], cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def rules() -> dict[str, dict[str, Any]]:
    groups = yaml.safe_load(text("deploy/prometheus/alerts.yml"))["groups"]
    return {rule["alert"]: rule for group in groups for rule in group["rules"]}


def rule_tests() -> list[dict[str, Any]]:
    tests: list[dict[str, Any]] = yaml.safe_load(text("deploy/prometheus/alerts_test.yml"))["tests"]
    return tests


def dashboard() -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads(text(DASHBOARD))
    return loaded


def panels() -> list[dict[str, Any]]:
    return [panel for panel in dashboard()["panels"] if panel["type"] != "row"]


# -- alert rules


def test_prometheus_accepts_the_rules_and_the_example() -> None:
    assert f"SUCCESS: {len(rules())} rules found" in promtool("check", "rules", "alerts.yml")
    assert "SUCCESS" in promtool("check", "config", "--syntax-only", "prometheus.yml")


def test_each_alert_fires_when_it_should_and_not_before_nor_in_a_healthy_hour() -> None:
    assert "SUCCESS" in promtool("test", "rules", "alerts_test.yml")


def test_the_tests_of_the_rules_see_a_limit_that_was_moved(tmp_path: Path) -> None:
    moved = re.sub(r"(health_sample\w+\) > 0\)) > 900", r"\1 > 90000", text("deploy/prometheus/alerts.yml"))
    (tmp_path / "alerts.yml").write_text(moved)
    (tmp_path / "alerts_test.yml").write_text(text("deploy/prometheus/alerts_test.yml"))
    with pytest.raises(AssertionError, match="CacheWorkerMonitorSilent"):
        promtool("test", "rules", "alerts_test.yml", folder=tmp_path)


def test_every_alert_has_a_time_at_which_it_fires_and_one_at_which_it_does_not() -> None:
    healthy, *troubles = rule_tests()
    quiet = {case["alertname"] for case in healthy["alert_rule_test"] if case["exp_alerts"] == []}
    fired = {case["alertname"] for test in troubles for case in test["alert_rule_test"] if case["exp_alerts"]}
    assert quiet == fired == set(rules())


def test_every_alert_says_how_bad_it_is_what_is_wrong_and_where_to_read_on() -> None:
    runbook = anchors(text("docs/runbook.md"))
    for name, rule in rules().items():
        document, _, anchor = rule["annotations"]["runbook"].partition("#")
        assert rule["labels"]["severity"] in {"warning", "critical"}, name
        assert rule["annotations"]["summary"], name
        assert document == "docs/runbook.md"
        assert anchor in runbook, name


# -- the example


def jobs() -> dict[str, dict[str, Any]]:
    config = yaml.safe_load(text("deploy/prometheus/prometheus.yml"))
    return {job["job_name"]: job for job in config["scrape_configs"]}


def test_the_example_scrapes_what_the_compose_file_serves() -> None:
    targets = {name: job["static_configs"][0]["targets"] for name, job in jobs().items()}
    ports = {name: services()[name]["environment"]["WORKER_METRICS_PORT"] for name in WORKERS}
    assert targets["cache-worker-workers"] == [f"{name}:{ports[name]}" for name in WORKERS]
    assert targets["cache-worker-web"] == ["web:8000"]
    assert services()["web"]["environment"]["WEB_BIND"].endswith(":8000")
    assert all(job["authorization"]["credentials_file"] for job in jobs().values())


def test_the_name_that_prometheus_asks_for_is_one_that_the_web_answers_to() -> None:
    hosts = compose()["x-app"]["environment"]["ALLOWED_HOSTS"].split(",")
    assert {target.partition(":")[0] for target in jobs()["cache-worker-web"]["static_configs"][0]["targets"]} <= {
        *hosts
    }


@pytest.mark.parametrize("name", WORKERS)
def test_the_figures_of_a_worker_are_in_a_folder_of_its_own_and_not_published(name: str) -> None:
    service = services()[name]
    assert service["environment"]["PROMETHEUS_MULTIPROC_DIR"].startswith("/tmp/")
    assert service["tmpfs"] == ["/tmp"]
    assert "ports" not in service
    assert "worker" in command(name)


# -- the dashboard


def expressions() -> Iterator[tuple[str, str]]:
    for panel in panels():
        yield from ((panel["title"], target["expr"]) for target in panel["targets"])


def test_its_panels_have_a_place_a_title_a_unit_and_a_question() -> None:
    taken: set[tuple[int, int]] = set()
    for panel in dashboard()["panels"]:
        place = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert place["x"] + place["w"] <= WIDTH, panel["title"]
        assert not cells & taken, panel["title"]
        taken |= cells
    assert len({panel["id"] for panel in dashboard()["panels"]}) == len(dashboard()["panels"])
    assert len({panel["title"] for panel in panels()}) == len(panels()) >= 20
    assert {panel["fieldConfig"]["defaults"]["unit"] for panel in panels()} <= UNITS


def test_its_data_source_is_chosen_by_who_looks() -> None:
    variables = {variable["name"]: variable for variable in dashboard()["templating"]["list"]}
    assert variables["datasource"]["type"] == "datasource"
    assert variables["datasource"]["query"] == "prometheus"
    sources = [panel["datasource"] for panel in panels()]
    sources += [target["datasource"] for panel in panels() for target in panel["targets"]]
    assert {source["uid"] for source in sources} == {"${datasource}"}
    used = set(re.findall(r"\$(\w+)", " ".join(expression for _, expression in expressions())))
    assert used - {"__rate_interval"} == variables.keys() - {"datasource"}


def test_prometheus_understands_each_of_its_questions(tmp_path: Path) -> None:
    """As rules of a file: the one check of an expression that needs no server."""
    as_rules = [
        {
            "record": f"panel:{number}",
            "expr": re.sub(r"\$__rate_interval", "5m", re.sub(r"\$(service|node)", ".*", asked)),
        }
        for number, (_title, asked) in enumerate(expressions())
    ]
    (tmp_path / "panels.yml").write_text(yaml.safe_dump({"groups": [{"name": "dashboard", "rules": as_rules}]}))
    assert f"SUCCESS: {len(as_rules)} rules found" in promtool("check", "rules", "panels.yml", folder=tmp_path)
