"""A process of which Sentry is told, with secrets everywhere: `python -m tests.integration.alerts.reporter`.

The secrets come from outside: Sentry also receives the lines of source around a failure.
"""

import json
import logging
import os

import django
import sentry_sdk

SECRET = os.environ["MIGO_TOKEN"]
# Not a setting, so nothing knows them by value
BEARER, PASSWORD = os.environ["OTHER_BEARER"], os.environ["OTHER_PASSWORD"]
RECORD = "a record"


def fail_with_secrets() -> None:
    local_copy = f"{SECRET} and {RECORD}"
    raise RuntimeError(f"APIMIGO refused token={SECRET}; {len(local_copy)}")


def report() -> None:
    from django.conf import settings

    from api_service.services.upstream import Patience, Request, accept_success, door

    logging.getLogger("before").warning("asked with %s", SECRET)
    door().call(Request("POST", settings.SLACK_WEBHOOK_URL, json={"text": "hello"}), Patience(), accept_success)
    sentry_sdk.set_context("call", {"Authorization": f"Bearer {BEARER}", "url": f"https://x.pe/?token={SECRET}"})
    sentry_sdk.set_extra("nested", [{"password": PASSWORD}, {"note": SECRET}])
    try:
        fail_with_secrets()
    except RuntimeError:
        logging.getLogger("api_service").exception("look-up failed for %s", SECRET)


def publish() -> dict[str, object]:
    """The headers of a task message as the broker holds them."""
    from celery import shared_task

    from myproject.celery import app

    @shared_task(name="tests.nothing")
    def nothing() -> None: ...

    nothing.apply_async(queue="looked-at")
    with app.connection_for_read() as connection:
        message = connection.SimpleQueue("looked-at").get(timeout=10)
    return dict(message.headers)


def main() -> None:
    django.setup()
    with sentry_sdk.start_transaction(op="test", name=f"/api/{SECRET}"):
        report()
        headers = publish()
    sentry_sdk.flush(timeout=10)
    print(json.dumps(headers, default=str))


if __name__ == "__main__":
    main()
