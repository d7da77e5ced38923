"""The Celery app of django-cacheback's tasks, in the worker and in those who look up."""

from celery import Celery

from tests.benchmarks.peers.candidates.cacheback_settings import SETTING

app = Celery("cacheback", broker=SETTING.broker)
app.conf.task_default_queue = "cacheback"
app.autodiscover_tasks()
