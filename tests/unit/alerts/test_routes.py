"""Who hears of what."""

import pytest

from api_service.services.health_rules import Severity
from api_service.services.incident_facts import Event
from workers.alerts.routes import BadRoutes, Route, Routing, parse_channels, parse_routes

KNOWN = ("slack", "sentry", "email", "webhook", "apprise")
WARNING, UNHEALTHY = Severity.WARNING, Severity.UNHEALTHY


def takes(
    routing: Routing,
    channel: str,
    code: str = "node_down",
    event: Event = Event.OPENED,
    worst: Severity = UNHEALTHY,
    escalated: bool = False,
) -> bool:
    return routing.takes(channel, code, event, worst, escalated=escalated)


def routing(routes: str = "", escalate_to: str = "") -> Routing:
    return Routing(parse_routes(routes, KNOWN), parse_channels(escalate_to, KNOWN))


def test_the_setting_is_read_as_it_is_documented() -> None:
    assert parse_routes(" slack=warning,webhook = unhealthy : node_* | cache_* ", KNOWN) == (
        Route("slack", WARNING),
        Route("webhook", UNHEALTHY, ("node_*", "cache_*")),
    )
    assert parse_routes("", KNOWN) == ()
    assert parse_channels("", KNOWN) == ()
    assert parse_channels("email, apprise", KNOWN) == ("email", "apprise")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("pigeon=warning", "There is no channel 'pigeon'. Use apprise, email, sentry, slack, webhook."),
        ("slack=red", "'red' in 'slack=red' is no severity. Use warning or unhealthy."),
        ("slack=healthy", "'healthy' in 'slack=healthy' is no severity"),
        ("slack", "'slack' is not channel=severity or channel=severity:code|code."),
        ("slack=warning:", "'slack=warning:' is not channel=severity"),
        ("slack=warning:a||b", "'slack=warning:a||b' is not"),
    ],
)
def test_what_cannot_be_read_is_named_with_what_is_possible(text: str, said: str) -> None:
    with pytest.raises(BadRoutes) as caught:
        parse_routes(text, KNOWN)
    assert said in str(caught.value)


def test_an_unknown_channel_of_escalations_is_named() -> None:
    with pytest.raises(BadRoutes, match="no channel 'fax'"):
        parse_channels("email, fax", KNOWN)


def test_without_a_rule_a_channel_hears_everything_from_warning_up() -> None:
    assert takes(routing(), "slack", worst=WARNING)
    assert not takes(routing(), "slack", worst=Severity.HEALTHY)
    # A rule for one is none for the others
    assert takes(routing("email=unhealthy"), "slack", worst=WARNING)


@pytest.mark.parametrize(
    ("code", "worst", "expected"),
    [
        ("node_down", UNHEALTHY, True),
        ("cache_path_broken", UNHEALTHY, True),
        ("node_slow", WARNING, False),
        ("broker_down", UNHEALTHY, False),
    ],
)
def test_a_rule_goes_by_severity_and_code(code: str, worst: Severity, expected: bool) -> None:
    assert takes(routing("webhook=unhealthy:node_*|cache_*"), "webhook", code, worst=worst) is expected


def test_several_rules_of_a_channel_add_up() -> None:
    both = routing("slack=unhealthy, slack=warning:budget_*")
    assert takes(both, "slack", "budget_low", worst=WARNING)
    assert not takes(both, "slack", "node_slow", worst=WARNING)


def test_a_rule_holds_for_every_addressee_of_its_channel() -> None:
    assert not takes(routing("email=unhealthy"), "email:3", worst=WARNING)
    assert takes(routing("email=unhealthy"), "email:3")


def test_who_heard_that_it_was_unhealthy_hears_that_it_is_over() -> None:
    """The rule goes by the worst that the incident has been, not by how it stands."""
    assert takes(routing("email=unhealthy"), "email", event=Event.RESOLVED, worst=UNHEALTHY)
    assert not takes(routing("email=unhealthy"), "email", event=Event.RESOLVED, worst=WARNING)


def test_a_channel_of_escalations_hears_of_nothing_else() -> None:
    way = routing(escalate_to="email")
    assert not takes(way, "email")
    assert not takes(way, "email", event=Event.RESOLVED)
    assert takes(way, "email", event=Event.ESCALATED, escalated=True)
    assert not takes(way, "email", event=Event.REMINDED, escalated=True)


@pytest.mark.parametrize("event", [Event.ACKNOWLEDGED, Event.RESOLVED])
def test_who_was_woken_hears_who_took_it_on_and_that_it_is_over(event: Event) -> None:
    assert takes(routing(escalate_to="email"), "email:2", event=event, escalated=True)


def test_others_hear_of_the_escalation_too() -> None:
    assert takes(routing(escalate_to="email"), "slack", event=Event.ESCALATED, escalated=True)


def test_a_channel_of_escalations_may_have_rules_beside() -> None:
    way = routing("email=unhealthy", "email")
    assert takes(way, "email", worst=UNHEALTHY)
    assert way.named() == {"email"}
