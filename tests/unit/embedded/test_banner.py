"""What the terminal says, from facts alone."""

import re
from dataclasses import replace

from workers.embedded.banner import Facts, compose

SANDBOX = Facts(
    seconds=3.21,
    pid=42,
    megabytes=98,
    web="http://127.0.0.1:8000",
    flower="http://127.0.0.1:5555",
    flower_login="admin:$(cat var/flower_password)",
    api_token="$(cat var/api_token)",
    admin="user admin, password above",
    sandbox="http://127.0.0.1:8899",
    migo="http://127.0.0.1:8899/api/v1",
    database="SQLite var/db.sqlite3 (WAL)",
    cache="memory of this process",
    broker="memory of this process",
    alerts=(),
    every_minute=True,
    demo=".venv/bin/python manage.py demo_traffic",
)
REAL = replace(
    SANDBOX,
    sandbox=None,
    migo="https://api.migo.pe/api/v2",
    flower_login="$FLOWER_BASIC_AUTH",
    api_token="$API_TOKEN",
    alerts=("slack", "email"),
    every_minute=False,
)


def test_the_sandbox_is_called_one_and_nothing_is_called_paid() -> None:
    text = compose(SANDBOX)
    assert "SANDBOX at http://127.0.0.1:8899" in text
    assert "nothing is paid" in text
    assert "REAL" not in text
    assert "every task each minute" in text


def test_the_real_vendor_is_called_real_and_paid() -> None:
    text = compose(REAL)
    assert "REAL: https://api.migo.pe/api/v2" in text
    assert "is paid" in text
    assert "SANDBOX" not in text
    assert "each minute" not in text


def test_it_tells_which_alerts_leave_and_how_to_turn_the_others_on() -> None:
    assert re.search(r"Alerts +slack, email\n", compose(REAL))
    assert re.search(r"Alerts +nobody is told \(SLACK_WEBHOOK_URL", compose(SANDBOX))


def test_its_three_commands_can_be_pasted() -> None:
    commands = compose(SANDBOX).partition("another terminal:\n")[2].strip().splitlines()
    assert len(commands) == 3
    assert '"Authorization: Bearer $(cat var/api_token)" http://127.0.0.1:8000/api/v1/ruc/20100038146' in commands[0]
    assert '-u "admin:$(cat var/flower_password)"' in commands[1]
    assert commands[2].strip() == ".venv/bin/python manage.py demo_traffic"


def test_secrets_of_ones_own_are_named_by_their_variable() -> None:
    text = compose(REAL)
    assert '-u "$FLOWER_BASIC_AUTH"' in text
    assert "Bearer $API_TOKEN" in text
    assert "user:password as in $FLOWER_BASIC_AUTH" in text
    assert "token: cat var/api_token" in compose(SANDBOX)
