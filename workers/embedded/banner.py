"""What the person at the terminal reads once everything runs."""

from __future__ import annotations

from dataclasses import dataclass

EXAMPLE_RUC = "20100038146"
HEALTH_TASK = "workers.tasks.monitor_cache_health"


@dataclass(frozen=True)
class Facts:
    """All that the text depends on. A secret is named by the shell expression that reads it, never by its value:
    `flower_login` is `admin:$(cat var/flower_password)` or `$FLOWER_BASIC_AUTH`.
    """

    seconds: float
    pid: int
    megabytes: int
    web: str
    flower: str
    flower_login: str
    api_token: str
    admin: str
    sandbox: str | None
    migo: str
    database: str
    cache: str
    broker: str
    alerts: tuple[str, ...]
    every_minute: bool
    demo: str


def compose(facts: Facts) -> str:
    rows = [*_where(facts), *_what_is_real(facts)]
    width = max(len(name) for name, _ in rows)
    lines = [f"  {name:<{width}}  {text}" for name, text in rows]
    return "\n".join([_headline(facts), "", *lines, "", *_to_try(facts), ""])


def _headline(facts: Facts) -> str:
    return f"Ready in {facts.seconds:.1f} s, {facts.megabytes} MB, process {facts.pid}. Ctrl-C stops it."


def _where(facts: Facts) -> list[tuple[str, str]]:
    return [
        ("Admin", f"{facts.web}/admin/  {facts.admin}"),
        ("Look-ups", f"{facts.web}/api/v1/ruc/<ruc>  token: {_shown(facts.api_token)}"),
        ("Flower", f"{facts.flower}/  {_login(facts.flower_login)}"),
        ("Worker, Beat", "in this process, " + _rhythm(facts)),
    ]


def _what_is_real(facts: Facts) -> list[tuple[str, str]]:
    if facts.sandbox:
        migo = f"SANDBOX at {facts.sandbox}, made-up answers, nothing is paid (MIGO_TOKEN uses the real one)"
    else:
        migo = f"REAL: {facts.migo}, every answer that is not cached is paid"
    return [
        ("APIMIGO", migo),
        ("Database", facts.database),
        ("Cache", facts.cache),
        ("Broker", facts.broker),
        ("Alerts", ", ".join(facts.alerts) or "nobody is told (SLACK_WEBHOOK_URL, SENTRY_DSN, …: see .env.example)"),
    ]


def _to_try(facts: Facts) -> list[str]:
    return [
        "Try, in another terminal:",
        f'  curl -H "Authorization: Bearer {facts.api_token}" {facts.web}/api/v1/ruc/{EXAMPLE_RUC}',
        f'  curl -u "{facts.flower_login}" -d "{{}}" {facts.flower}/api/task/async-apply/{HEALTH_TASK}',
        f"  {facts.demo}",
    ]


def _rhythm(facts: Facts) -> str:
    return "every task each minute, to see it live" if facts.every_minute else "tasks on their schedules"


def _login(expression: str) -> str:
    user, _, password = expression.partition(":")
    return f"user {user}, password: {_shown(password)}" if password else f"user:password as in {expression}"


def _shown(expression: str) -> str:
    """`$(cat file)` is for a command line; on its own a person types `cat file`."""
    return expression.removeprefix("$(").removesuffix(")")
