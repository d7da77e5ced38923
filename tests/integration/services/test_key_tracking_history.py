"""What each service's history says, run after run, and how it is thinned with age."""

from datetime import timedelta

import pytest
from django.db.models import Sum
from django.utils import timezone
from pytest_django.fixtures import Settings

from api_service.models import LookupHour, NodeListing, ServiceSnapshot, TrackedKey, TrackRun
from api_service.services import key_history, retention, tracking
from api_service.services.cache_service import APICacheService
from api_service.services.key_history import FLOWS, ServiceJSON
from api_service.services.key_tracking import track_keys
from api_service.services.outcomes import Outcome
from tests.conftest import UseCacheUrl
from tests.integration.services.conftest import ended, url_of
from tests.servers import Memcached

pytestmark = pytest.mark.django_db


def flows(service: str = "migo") -> ServiceJSON:
    return track_keys()["services"][service]


def look_up(times: int, outcome: Outcome = Outcome.HIT, service: str = "migo") -> None:
    for number in range(times):
        tracking.count(service, "ruc", str(number), outcome)


def test_each_run_says_what_happened_since_the_one_before(cache: APICacheService) -> None:
    cache.set_many({f"migo:ruc_{number}": 1 for number in range(20)}, 600)
    cache.set("migo:ruc_ends", 1, 600)
    first = flows()
    ended(cache, "migo:ruc_ends")
    for number in range(3):
        cache.delete(f"migo:ruc_{number}")
    cache.set("migo:ruc_new", 1, 600)
    second = flows()

    assert (first["keys"], first["created"], first["removed"], first["expired"]) == (21, 21, 0, 0)
    assert (second["keys"], second["created"], second["removed"], second["expired"]) == (18, 1, 3, 1)
    assert sum(second["lives"].values()) == 18
    row = ServiceSnapshot.objects.latest("pk")
    assert key_history.as_json(row) == second
    assert set(second["lives"]) == {"15min"}


def test_what_expired_without_ever_having_been_read_is_counted(cache: APICacheService) -> None:
    cache.set_many({"migo:ruc_1": 1, "migo:ruc_2": 1}, 600)
    cache.set("migo:ruc_3", 1, 600)
    cache.get("migo:ruc_1")
    track_keys()
    ended(cache, "migo:ruc_1", "migo:ruc_2")
    second = flows()

    assert (second["expired"], second["expired_unread"]) == (2, 1)


def test_a_service_without_keys_is_told_once_and_then_no_more(cache: APICacheService) -> None:
    cache.set("sunat:ruc_1", 1, 600)
    cache.set("migo:ruc_1", 1, 600)
    track_keys()
    cache.delete("sunat:ruc_1")
    second, third = track_keys(), track_keys()

    assert (second["services"]["sunat"]["keys"], second["services"]["sunat"]["removed"]) == (0, 1)
    assert set(third["services"]) == {"migo"}


def test_look_ups_of_a_service_without_keys_are_in_its_history(cache: APICacheService) -> None:
    look_up(4, Outcome.MISS)
    counted = flows()

    assert (counted["keys"], counted["reads"]) == (0, 4)


def test_every_look_up_is_in_one_run_and_only_one(cache: APICacheService) -> None:
    cache.set("migo:ruc_1", 1, 600)
    reads = []
    for times in (3, 0, 5, 1):
        look_up(times)
        look_up(times, Outcome.MISS)
        reads.append(flows()["reads"])

    assert reads == [6, 0, 10, 2]
    assert ServiceSnapshot.objects.aggregate(Sum("reads"))["reads__sum"] == 18


def test_what_happened_in_an_interrupted_run_is_in_the_next_one(cache: APICacheService) -> None:
    cache.set("migo:ruc_1", 1, 600)
    track_keys()
    look_up(2)
    left = TrackRun.objects.create(started_at=timezone.now())
    counts = {"keys": 5, "bytes": 9, "created": 4, "removed": 3, "expired": 2, "expired_unread": 1, "lives": {}}
    NodeListing.objects.create(run=left, node="a", state="done", services={"migo": counts})
    NodeListing.objects.create(run=left, node="b", state="running")
    found = flows()

    assert (found["keys"], found["reads"]) == (1, 2)
    assert (found["created"], found["removed"], found["expired"], found["expired_unread"]) == (4, 3, 2, 1)
    assert flows()["created"] == 0


def test_the_first_run_after_an_upgrade_counts_from_the_last_one_before(cache: APICacheService) -> None:
    now = timezone.now()
    for days, count in ((30, 1000), (0, 3)):
        LookupHour.objects.create(
            hour=now - timedelta(days=days), service="migo", kind="ruc", outcome="hit", count=count
        )
    TrackRun.objects.create(started_at=now - timedelta(hours=1), state="done")

    assert flows()["reads"] == 3


def test_the_keys_of_a_node_that_left_are_removed_ones(
    own_cluster_cache: APICacheService, own_cluster: list[Memcached], use_cache_url: UseCacheUrl, settings: Settings
) -> None:
    own_cluster_cache.set_many({f"migo:ruc_{number}": 1 for number in range(60)}, 600)
    track_keys()
    on_it = TrackedKey.objects.filter(node=own_cluster[2].address).count()
    use_cache_url(url_of(*own_cluster[:2]))
    second, third = track_keys(), track_keys()

    assert (second["services"]["migo"]["keys"], second["services"]["migo"]["removed"]) == (60 - on_it, on_it)
    assert set(second["nodes"]) == {node.address for node in own_cluster[:2]}
    assert third["services"]["migo"]["removed"] == 0
    assert NodeListing.objects.filter(retired=True).count() == 1


# -- thinning


@pytest.fixture
def year(settings: Settings) -> dict[str, int]:
    """Three runs an hour for the last 3 days, and for two hours of the days 95 and 500 ago. Sums of the flows."""
    now = timezone.now()
    ages = [timedelta(minutes=20 * number) for number in range(3 * 72)]
    ages += [timedelta(days=day, minutes=20 * number) for day in (95, 500) for number in range(6)]
    for age in reversed(ages):
        run = TrackRun.objects.create(started_at=now - age, state="done", lookups={"since": "x"})
        TrackRun.objects.create(started_at=now - age, state="failed")
        for number, service in enumerate(("migo", "sunat"), 1):
            ServiceSnapshot.objects.create(
                run=run, service=service, keys=run.pk, bytes=1, lives={"1h": 1}, **dict.fromkeys(FLOWS, number)
            )
    return sums()


def sums() -> dict[str, int]:
    kept = ServiceSnapshot.objects.filter(run__started_at__gt=timezone.now() - timedelta(days=400))
    return kept.aggregate(**{name: Sum(name) for name in FLOWS})


def test_old_history_has_fewer_rows_and_the_same_sums(year: dict[str, int]) -> None:
    now = timezone.now()
    newest = ServiceSnapshot.objects.latest("run__started_at")
    dropped = retention.prune(now)["history"]
    rows = ServiceSnapshot.objects.filter(service="migo").order_by("run__started_at")
    of_age = [(now - row.run.started_at) / timedelta(days=1) for row in rows]

    assert sums() == year
    assert sum(age < 2 for age in of_age) == 144
    assert sum(2 <= age < 90 for age in of_age) in {24, 25}
    assert sum(90 <= age < 400 for age in of_age) in {1, 2}
    assert max(of_age) < 400
    assert dropped >= 2 * (72 - 25 + 4)
    assert ServiceSnapshot.objects.latest("run__started_at") == newest
    kept = rows.filter(run__started_at__lt=now - timedelta(days=90)).latest("run__started_at")
    assert (kept.keys, kept.lives) == (kept.run_id, {"1h": 1})


def test_thinning_twice_changes_nothing(year: dict[str, int]) -> None:
    now = timezone.now()
    retention.prune(now)
    before = list(ServiceSnapshot.objects.order_by("pk").values_list("pk", *FLOWS))

    assert set(retention.prune(now).values()) == {0}
    assert list(ServiceSnapshot.objects.order_by("pk").values_list("pk", *FLOWS)) == before


def test_runs_stay_as_long_as_their_history_and_others_for_ninety_days(year: dict[str, int]) -> None:
    now = timezone.now()
    retention.prune(now)
    old = TrackRun.objects.filter(started_at__lt=now - timedelta(days=90))

    assert set(old.values_list("pk", flat=True)) == set(
        ServiceSnapshot.objects.filter(run__in=old).values_list("run", flat=True)
    )
    assert TrackRun.objects.filter(state="failed").count() == 3 * 72


def test_the_run_that_the_next_one_goes_on_from_is_never_dropped(cache: APICacheService) -> None:
    look_up(5)
    track_keys()
    TrackRun.objects.update(started_at=timezone.now() - timedelta(days=1000))
    retention.prune(timezone.now())
    look_up(2)

    assert flows()["reads"] == 2


def test_gone_keys_are_dropped_batch_by_batch_by_the_age_that_the_settings_say(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retention, "BATCH", 4)
    settings.TRACK_GONE_DAYS = 2
    now = timezone.now()
    for days in (1, 3):
        rows = [
            TrackedKey(key=f"{state}-{days}-{number}", state=state, created_at=now, seen_at=now - timedelta(days=days))
            for number in range(5)
            for state in ("active", "unknown", "expired", "removed")
        ]
        TrackedKey.objects.bulk_create(rows)

    assert retention.prune(now)["keys"] == 10
    assert TrackedKey.objects.filter(seen_at__lt=now - timedelta(days=2), state__in=["expired", "removed"]).count() == 0
    assert TrackedKey.objects.count() == 30
