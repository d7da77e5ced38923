"""Dockerfile and .dockerignore: what gets into the image, and who runs it."""

import re

from tests.unit.deploy.files import ROOT, command, ours, text


def instructions() -> list[tuple[str, str]]:
    joined = re.sub(r"\\\n", " ", text("Dockerfile"))
    lines = (line for line in joined.splitlines() if line and not line.startswith("#"))
    return [(name, rest.strip()) for name, _, rest in (line.partition(" ") for line in lines)]


def last(name: str) -> str:
    return [rest for instruction, rest in instructions() if instruction == name][-1]


def test_it_does_not_run_as_root() -> None:
    names = [name for name, _ in instructions()]
    assert last("USER") == "app"
    assert names.index("USER") > max(at for at, name in enumerate(names) if name == "RUN")
    assert "useradd --uid 10001" in text("Dockerfile")


def test_only_packages_of_the_lock_are_installed_by_their_hashes() -> None:
    installs = [rest for name, rest in instructions() if name == "RUN" and "pip install" in rest]
    assert len(installs) == 1
    assert "--require-hashes" in installs[0]
    assert "-r requirements.lock" in installs[0]
    assert "--hash=sha256:" in text("requirements.lock")


def test_it_is_built_in_two_stages_on_a_supported_python() -> None:
    stages = [rest for name, rest in instructions() if name == "FROM"]
    assert stages == ["python:3.12-slim AS build", "python:3.12-slim"]
    assert "COPY --from=build" in text("Dockerfile")


def test_no_secret_gets_into_a_layer() -> None:
    written = [rest for name, rest in instructions() if name in {"ENV", "ARG"}]
    assert not [rest for rest in written if re.search(r"SECRET|TOKEN|PASSWORD|DSN|WEBHOOK", rest)]
    collect = next(rest for name, rest in instructions() if name == "RUN" and "collectstatic" in rest)
    assert "DATA_DIR=/tmp/build" in collect
    assert collect.endswith("rm -r /tmp/build")


def test_only_what_runs_gets_into_the_build() -> None:
    lines = [line for line in text(".dockerignore").splitlines() if line and not line.startswith("#")]
    let_in = {line.removeprefix("!") for line in lines if line.startswith("!")}
    assert lines[0] == "*"
    assert all((ROOT / path).exists() for path in let_in)
    assert not let_in & {".env", ".git", "tests", "var"}
    assert {"api_service", "workers", "myproject", "manage.py", "requirements.lock"} <= let_in


def test_every_file_that_a_command_names_is_in_the_image() -> None:
    commands = [part for service in ours() for part in command(service)] + re.findall(r'"([^"]+)"', last("CMD"))
    files = {part.partition("=")[2] or part for part in commands if part.endswith(".py")}
    assert files == {"manage.py", "deploy/flowerconfig.py", "deploy/gunicorn.conf.py"}
    assert all(f"!{file}" in text(".dockerignore").splitlines() for file in files)
