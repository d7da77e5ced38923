"""django-celery-beat's table of periodic tasks, with its "Run selected tasks" made safe."""

from __future__ import annotations

import json
import logging

from django.contrib import admin, messages
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils.translation import gettext, ngettext
from django.utils.translation import gettext_lazy as _
from django_celery_beat.admin import PeriodicTaskAdmin
from django_celery_beat.models import PeriodicTask

from api_service.services.task_sending import BrokerDown, send

logger = logging.getLogger(__name__)

admin.site.unregister(PeriodicTask)


@admin.register(PeriodicTask)
class TaskAdmin(PeriodicTaskAdmin):  # type: ignore[misc]  # django-celery-beat has no types
    """Its own action lets everybody who may look start a task, and ends in an error page while the broker is down."""

    @admin.action(description=_("Run selected tasks"), permissions=["change"])
    def run_tasks(self, request: HttpRequest, queryset: QuerySet[PeriodicTask]) -> None:
        try:
            for row in queryset:
                send(row.task, json.loads(row.kwargs), args=json.loads(row.args), queue=row.queue)
                logger.info("%s started by hand by %s", row.name, request.user.get_username())
        except BrokerDown as error:
            logger.warning("tasks started by hand: the broker did not take them: %s", error)
            self.message_user(request, gettext("The task broker does not answer: try again."), messages.ERROR)
            return
        number = len(queryset)
        text = ngettext("%(count)s task is in its queue.", "%(count)s tasks are in their queues.", number)
        self.message_user(request, text % {"count": number}, messages.SUCCESS)
