"""What an operator may change: an alert is tried again, the lock of a dead run is released."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.contrib.admin.models import LogEntry
from django.test import Client
from django.utils import timezone

from api_service.models import Delivery, RunLock
from api_service.services import warming
from tests.integration.admin.conftest import Rows, Staff
from workers.alerts import outbox

DELIVERIES = "/admin/api_service/delivery/"
LOCKS = "/admin/api_service/runlock/"
EN = {"accept-language": "en"}


def retry(client: Client, *rows: Delivery) -> str:
    data = {"action": "retry", "_selected_action": [row.pk for row in rows]}
    return client.post(DELIVERIES, data, follow=True, headers=EN).text


def test_a_failed_message_is_due_again_at_once(rows: Rows, admin_client: Client) -> None:
    row = rows[Delivery]
    assert "1 message is tried again" in retry(admin_client, row)
    row.refresh_from_db()
    assert row.state == Delivery.State.PENDING
    assert list(outbox.due(timezone.now())) == [row]


def test_a_waiting_message_need_not_wait(rows: Rows, admin_client: Client) -> None:
    Delivery.objects.update(state="pending", due_at=timezone.now() + timedelta(hours=2))
    retry(admin_client, rows[Delivery])
    assert outbox.due(timezone.now()).count() == 1


def test_a_message_that_was_sent_is_not_sent_again(rows: Rows, admin_client: Client) -> None:
    Delivery.objects.update(state="sent", sent_at=timezone.now())
    assert "Nothing to try again" in retry(admin_client, rows[Delivery])
    assert Delivery.objects.get().state == Delivery.State.SENT


def test_a_message_on_its_way_keeps_its_lease(rows: Rows, admin_client: Client) -> None:
    Delivery.objects.update(state="pending", leased_until=timezone.now() + timedelta(minutes=2))
    retry(admin_client, rows[Delivery])
    assert outbox.due(timezone.now()).count() == 0


@pytest.mark.parametrize(("allowed", "state"), [(False, "failed"), (True, "pending")])
def test_trying_again_needs_the_change_permission(rows: Rows, staff: Staff, *, allowed: bool, state: str) -> None:
    client = staff("view_delivery", *(["change_delivery"] if allowed else []))
    retry(client, rows[Delivery])
    assert Delivery.objects.get().state == state
    assert ('value="retry"' in client.get(DELIVERIES).text) is allowed


def test_releasing_a_lock_asks_first(rows: Rows, admin_client: Client) -> None:
    lock = rows[RunLock]
    data = {"action": "release", "_selected_action": [lock.pk]}
    question = admin_client.post(LOCKS, data, headers=EN)
    assert warming.LOCK in question.text
    assert RunLock.objects.get().token == lock.token
    answer = admin_client.post(LOCKS, {**data, "confirmed": "1", "token": [lock.token]}, follow=True, headers=EN)
    assert "1 lock was released." in answer.text
    assert RunLock.objects.get().token == ""
    assert LogEntry.objects.get().object_repr == warming.LOCK


def test_a_lock_taken_anew_since_the_question_is_kept(rows: Rows, admin_client: Client) -> None:
    RunLock.objects.update(token="new")
    data = {"action": "release", "_selected_action": [rows[RunLock].pk], "confirmed": "1", "token": ["t" * 32]}
    assert "0 locks were released." in admin_client.post(LOCKS, data, follow=True, headers=EN).text
    assert RunLock.objects.get().token == "new"


def test_a_free_lock_leaves_nothing_to_ask(rows: Rows, admin_client: Client) -> None:
    RunLock.objects.update(token="", expires_at=None)
    data = {"action": "release", "_selected_action": [rows[RunLock].pk]}
    page = admin_client.post(LOCKS, data, headers=EN).text
    assert "there is nothing to release" in page
    assert 'name="confirmed"' not in page


def test_releasing_needs_the_change_permission(rows: Rows, staff: Staff) -> None:
    lock = rows[RunLock]
    data = {"action": "release", "_selected_action": [lock.pk], "confirmed": "1", "token": [lock.token]}
    staff("view_runlock").post(LOCKS, data)
    assert RunLock.objects.get().token == lock.token


def test_no_page_shows_the_token_of_a_lock(rows: Rows, admin_client: Client) -> None:
    lock = rows[RunLock]
    for url in (LOCKS, f"{LOCKS}{lock.pk}/change/"):
        assert lock.token not in admin_client.get(url).text
