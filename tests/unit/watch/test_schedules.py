"""What Sentry is told of each schedule fits what the schedule and its task really do."""

import pytest
from celery.schedules import crontab

from myproject.celery import app
from workers.schedules import TABLE
from workers.watch.checkins import monitor_config

ROWS = sorted(TABLE)


@pytest.mark.parametrize("name", ROWS)
def test_a_run_that_may_still_begin_is_not_missed_yet(name: str) -> None:
    row = TABLE[name]
    assert row.margin * 60 > row.expires


@pytest.mark.parametrize("name", ROWS)
def test_sentry_waits_longer_than_the_task_may_run(name: str) -> None:
    app.loader.import_default_modules()
    row = TABLE[name]
    limit = app.tasks[row.task].time_limit
    assert limit is not None
    assert row.max_runtime * 60 > limit


@pytest.mark.parametrize(
    ("when", "expression"),
    [
        (crontab(), "* * * * *"),
        (crontab(minute="2-59/5"), "2-59/5 * * * *"),
        (crontab(hour=3, minute=17), "17 3 * * *"),
        (crontab(minute=0, hour=4, day_of_month=1, month_of_year="1-6", day_of_week="mon"), "0 4 1 1-6 mon"),
    ],
)
def test_the_schedule_is_written_as_crontabs_are(when: crontab, expression: str) -> None:
    config = monitor_config(TABLE["clean-up"], when, "America/Lima")
    assert config["schedule"] == {"type": "crontab", "value": expression}
    assert config["timezone"] == "America/Lima"
