"""Machine-kept rows: what is known of keys, answers, money, health, runs, incidents and deliveries.

Times are aware; sizes are bytes; a null time means "not yet" or "never", as each field says.
"""

from api_service.models.alerts import Delivery, Incident
from api_service.models.answers import SpendHour, StoredAnswer
from api_service.models.health import HealthSample, NodeSample, Status
from api_service.models.keys import DailyReads, LookupHour, TrackedKey
from api_service.models.runs import Run, RunLock, ServiceSnapshot, TrackRun, WarmRun

__all__ = [
    "DailyReads",
    "Delivery",
    "HealthSample",
    "Incident",
    "LookupHour",
    "NodeSample",
    "Run",
    "RunLock",
    "ServiceSnapshot",
    "SpendHour",
    "Status",
    "StoredAnswer",
    "TrackRun",
    "TrackedKey",
    "WarmRun",
]
