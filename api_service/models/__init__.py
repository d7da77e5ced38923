"""Machine-kept rows: what is known of keys, answers, money, health, runs, incidents and deliveries.

Times are aware; sizes are bytes; a null time means "not yet" or "never", as each field says.
"""

from api_service.models.alerts import (
    ChannelState,
    Delivery,
    FindingState,
    Incident,
    MaintenanceWindow,
    Notice,
    Transition,
)
from api_service.models.answers import SpendHour, StoredAnswer
from api_service.models.billing import BillingRow, BillingRun
from api_service.models.clearing import ClearRun
from api_service.models.copying import CopyRun
from api_service.models.habits import ReadHabit, ReadHabitBin, WarmedAnswer
from api_service.models.health import HealthSample, NodeSample, OperationReads, Status
from api_service.models.inventory import NodeListing, ServiceSnapshot, TrackRun
from api_service.models.keys import DailyReads, LookupHour, LookupTime, TrackedKey
from api_service.models.money import (
    AccountReading,
    CircuitChange,
    CircuitState,
    RateWindow,
    UpstreamCalls,
    UpstreamCircuit,
)
from api_service.models.refill import RefillRun
from api_service.models.runs import Run, RunLock, WarmRun
from api_service.models.schedules import ScheduleRun
from api_service.models.stale import StaleServed
from api_service.models.tokens import ApiToken

__all__ = [
    "AccountReading",
    "ApiToken",
    "BillingRow",
    "BillingRun",
    "ChannelState",
    "CircuitChange",
    "CircuitState",
    "ClearRun",
    "CopyRun",
    "DailyReads",
    "Delivery",
    "FindingState",
    "HealthSample",
    "Incident",
    "LookupHour",
    "LookupTime",
    "MaintenanceWindow",
    "NodeListing",
    "NodeSample",
    "Notice",
    "OperationReads",
    "RateWindow",
    "ReadHabit",
    "ReadHabitBin",
    "RefillRun",
    "Run",
    "RunLock",
    "ScheduleRun",
    "ServiceSnapshot",
    "SpendHour",
    "StaleServed",
    "Status",
    "StoredAnswer",
    "TrackRun",
    "TrackedKey",
    "Transition",
    "UpstreamCalls",
    "UpstreamCircuit",
    "WarmRun",
    "WarmedAnswer",
]
