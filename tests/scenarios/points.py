"""Where a sender is killed. Apart from the worker that does it: whoever imports that one arms itself."""

# Name → module, function, whether it dies before or after it
POINTS: dict[str, tuple[str, str, str]] = {
    "before the sample is stored": ("api_service.services.monitoring", "store", "before"),
    "before the incident": ("api_service.services.incidents", "apply", "before"),
    "after the incident, before the message is written": ("workers.alerts.telling", "tell", "before"),
    "after the message is written, before it is claimed": ("workers.alerts.telling", "tell", "after"),
    "after it is claimed, before it is sent": ("workers.alerts.dispatch", "_send", "before"),
    "after it is sent, before it is marked": ("workers.alerts.outbox", "mark_sent", "before"),
}
